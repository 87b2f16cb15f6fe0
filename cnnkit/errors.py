"""The one exception that means "the user can mend this"."""


class UserError(Exception):
    """Bad input: its text is one sentence that says what is wrong, where, and what to do.

    Scripts print the text and end with exit code 2, without a traceback.
    """


def brief(error: BaseException) -> str:
    """An error of somebody else's code in one line: its type and the first line of its text."""
    try:
        text = (str(error).splitlines() or [""])[0]
    except Exception:  # an exception whose own text fails
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
