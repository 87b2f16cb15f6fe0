"""What the scripts share: reading the command line, and ending when the user can mend what is wrong."""

import contextlib
import io
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import NoReturn, TypeVar

import tyro
from rich.console import Console

from cnnkit.errors import UserError

BAD_INPUT = 2
SOME_FAILED = 1
INTERRUPTED = 130

T = TypeVar("T")


def console() -> Console:
    """Where scripts print: the terminal as it is, or, into a pipe or a file, wide enough for every table."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=120)


def parse(kind: type[T], arguments: Sequence[str], *, description: str | None, default: T | None = None) -> T:
    """The command line as a `kind`; --help prints and ends the program.

    Raises: UserError: the command line is wrong; one sentence in the place of tyro's panel.
    """
    panel = io.StringIO()
    try:
        with contextlib.redirect_stderr(panel):
            if default is None:
                return tyro.cli(kind, args=list(arguments), description=description)
            return tyro.cli(kind, args=list(arguments), description=description, default=default)
    except SystemExit as end:
        if not end.code:
            raise
        raise UserError(_sentence(panel.getvalue())) from None


def _sentence(panel: str) -> str:
    """What a panel of tyro's says, without its frame, its help texts and pydantic's own remarks."""
    # Without its title, the first line. Where the output's encoding has no box-drawing characters, there is no frame.
    text = " ".join(line.strip(" │╰╯") for line in panel.splitlines()[1:])
    text = re.sub(r"^ *[─-]{5,} *", "", text)
    invalid = re.search(r"Error parsing (\S+): \d+ validation errors? for \w+ (.*?) \[type=", text)
    if invalid and invalid[2].startswith("Value error, "):
        return f"--{invalid[1]}: {invalid[2].removeprefix('Value error, ')}"
    if invalid:
        field, _, message = invalid[2].partition(" ")
        return f"--{invalid[1]}.{field.replace('_', '-')}: {message[0].lower()}{message[1:]}; see --help"
    required = re.search(r"Missing from .*?: (--\S+)", text)
    if required:
        return f"{required[1]} is required; see --help"
    message = re.split(r"[─-]{5,}|Perhaps you meant:|Argument helptext:", text)[0].strip().rstrip(".")
    options = re.findall(r"--[a-z][\w.-]*", text)
    near = get_close_matches(options[0], options[1:], n=1, cutoff=0.7) if options else []
    hint = f"did you mean {near[0]}?" if near and near[0] != options[0] else "see --help"
    return f"{message[0].lower()}{message[1:]}; {hint}" if message else "the command line cannot be read; see --help"


def known(kind: str, name: str, names: Sequence[str]) -> str:
    """`name` if it is one of `names`. Raises: UserError: with the nearest name."""
    if name in names:
        return name
    near = get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names)}"
    raise UserError(f"no {kind} {name!r}: {hint}")


def share_of_points(option: str, points: float) -> float:
    """Percentage points as a share, 0 to 1. Raises: UserError: they are no difference between two accuracies."""
    if not 0 < points < 100:
        raise UserError(f"{option} {points:g}: give percentage points, above 0 and below 100")
    return points / 100


def refuse(sentence: str) -> NoReturn:
    """Says what is wrong in one sentence and ends the program with exit code 2."""
    one_line = " ".join(sentence.split())
    Console(stderr=True).print(f"error: {one_line}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(BAD_INPUT)


def run_script(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Calls `main` with the command line's arguments and ends with its exit code; a `UserError` is a plain sentence."""
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        refuse(str(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has gone, `| head` for example
        sys.stderr.close()
        sys.exit(INTERRUPTED)
