"""The one exception that means "the user can mend this"."""


class UserError(Exception):
    """Bad input: its text is one sentence that says what is wrong, where, and what to do.

    Scripts print the text and end with exit code 2, without a traceback.
    """
