"""What the scripts share: how they end when the user can mend what is wrong."""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from rich.console import Console

from cnnkit.errors import UserError

BAD_INPUT = 2
SOME_FAILED = 1
INTERRUPTED = 130

T = TypeVar("T")


def refuse(sentence: str) -> NoReturn:
    """Says what is wrong in one sentence and ends the program with exit code 2."""
    Console(stderr=True).print(f"error: {sentence}", markup=False, highlight=False, soft_wrap=True)
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
