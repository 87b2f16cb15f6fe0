"""What the scripts share: reading the command line, and ending when the user can mend what is wrong."""

import contextlib
import csv
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import tyro
from rich.console import Console

from ablations.text import printable, wrapped
from cnnkit.errors import UserError

BAD_INPUT = 2
SOME_FAILED = 1
OUT_OF_TIME = 3
INTERRUPTED = 130

T = TypeVar("T")


class OutputLost(OSError):
    """Standard output can no longer be written, on a full disk for example."""


class _Stdout(io.TextIOWrapper):
    """Standard output that replaces what its encoding has no characters for, and says when it is lost."""

    def write(self, text: str) -> int:
        with _output():
            return super().write(text)

    def flush(self) -> None:
        with _output():
            super().flush()


@contextlib.contextmanager
def _output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputLost(error.errno, error.strerror) from error


class _Output(Console):
    """A console whose reader may go, `| head` for example: the program ends then, and says it was interrupted."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError

    def print(self, *objects: Any, **how: Any) -> None:
        """As rich's; but of sentences (no `markup`) every character is seen, and none is obeyed. Those that may be as long as
        they are (`soft_wrap`) are broken between words on a terminal, which itself would break them anywhere; what is longer
        than a line, such as a path, stays whole, so that it can be copied.
        """
        if how.get("markup") is False:  # sentences, in which names and errors of others stand
            objects = tuple(
                "\n".join(map(printable, text.split("\n"))) if isinstance(text, str) else text for text in objects
            )
        if how.get("soft_wrap") and self.is_terminal:
            objects = tuple(wrapped(text, self.width) if isinstance(text, str) else text for text in objects)
        super().print(*objects, **how)


def console() -> Console:
    """Where scripts print: the terminal as it is, or, into a pipe or a file, wide enough for every table. `:one:` in a name is no
    emoji.
    """
    if sys.stdout.isatty():
        return _Output(highlight=False, emoji=False)
    return _Output(highlight=False, emoji=False, width=120)


def folders_of_code(code: Path | None) -> tuple[str, ...]:
    """Where scripts that read a study look for networks of the user's own: in `code`, and in the current folder.

    Raises: UserError: `code` is no folder.
    """
    if code is not None and not code.is_dir():
        raise UserError(f"--code {code} is no folder; give the one that the network's module lies in")
    return tuple(str(folder.resolve()) for folder in (code, Path.cwd()) if folder is not None)


def parse(kind: type[T], arguments: Sequence[str], *, description: str | None, default: T | None = None) -> T:
    """The command line as a `kind`; --help prints and ends the program.

    Raises: UserError: the command line is wrong; one sentence in the place of tyro's panel.
    """
    _check_words(arguments)
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


def _check_words(arguments: Sequence[str]) -> None:
    """Raises: UserError: an option is given twice, or a word is no text."""
    given: set[str] = set()
    for word in arguments:
        if any("\ud800" <= char <= "\udfff" for char in word):
            raise UserError(f"{word!r} is not text in this terminal's encoding; rename the file or folder")
        if not word.startswith("--"):
            continue
        option = word.partition("=")[0].replace("_", "-")
        option = re.sub(r"^--(.*\.)?no-", r"--\1", option)  # --no-dry-run and --dry-run are one
        if option in given and option != "--":
            raise UserError(f"{option} is given more than once; give it once")
        given.add(option)


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
    positional = re.search(r"Missing from .*?: [A-Z|{}]+ +(.*?)\.? \(required\)", text)
    if positional:
        return f"an argument is missing: {positional[1][0].lower()}{positional[1][1:]}; see --help"
    message = re.split(r"[─-]{5,}|Perhaps you meant:|Argument helptext:", text)[0].strip().rstrip(".")
    options = re.findall(r"--[a-z][\w.-]*", text)
    near = get_close_matches(options[0], options[1:], n=1, cutoff=0.7) if options else []
    hint = f"did you mean {near[0]}?" if near and near[0] != options[0] else "see --help"
    return f"{message[0].lower()}{message[1:]}; {hint}" if message else "the command line cannot be read; see --help"


def known(kind: str, name: str, names: Sequence[str]) -> str:
    """`name` if it is one of `names`. Raises: UserError: with the nearest name."""
    if name in names:
        return name
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names)}"
    raise UserError(f"no {kind} {name!r}: {hint}")


def names_of(option: str, text: str) -> tuple[str, ...]:
    """Names that are separated by commas; one that holds a comma stands in double quotes. Raises: UserError: there is none."""
    names = tuple(
        dict.fromkeys(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []) if name.strip())
    )
    if not names:
        raise UserError(f"{option} {text!r}: give a name, or several, separated by commas")
    return names


def share_of_points(option: str, points: float) -> float:
    """Percentage points as a share, 0 to 1. Raises: UserError: they are no difference between two accuracies."""
    if not 0 < points < 100:
        raise UserError(f"{option} {points:g}: give percentage points, above 0 and below 100")
    return points / 100


def refuse(sentence: str) -> NoReturn:
    """Says what is wrong in one sentence and ends the program with exit code 2."""
    one_line = printable(" ".join(sentence.split()))
    with contextlib.suppress(OSError):
        _Output(stderr=True).print(f"error: {one_line}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(BAD_INPUT)


def run_script(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Calls `main` with the command line's arguments and ends with its exit code; a `UserError` is a plain sentence."""
    _prepare_streams()
    if sys.flags.optimize > 1:
        refuse(
            "Python's option -OO (PYTHONOPTIMIZE=2) takes out the texts that questions and help are made of; leave it away"
        )
    if main.__module__ == "__main__":  # the other scripts, beside this one, are in the way of the user's modules
        folder = str(Path(sys.argv[0]).resolve().parent)
        sys.path[:] = [path for path in sys.path if path != folder]
    try:
        _check_folder()
        code = main(sys.argv[1:])
        sys.stdout.flush()
        sys.exit(code)
    except UserError as error:
        refuse(str(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has gone
        _drop_output()
        sys.exit(INTERRUPTED)
    except OutputLost as error:
        _drop_output()
        refuse(f"the output cannot be written: {error.strerror}; what is finished is kept in the results folder")


def _prepare_streams() -> None:
    """Output that was closed goes nowhere, and no character is an error."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 -- open until the program ends
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    out = sys.stdout
    if type(out) is io.TextIOWrapper:
        kind, by_line = out.encoding, out.line_buffering
        sys.stdout = _Stdout(out.detach(), encoding=kind, errors="replace", line_buffering=by_line)


def _check_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise UserError("the current folder no longer exists; change to another one") from error


def _drop_output() -> None:
    """What is still to be written goes nowhere, so that Python does not complain when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
