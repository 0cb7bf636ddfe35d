"""What a user can mend: bad files, boxes, recipes."""


class InputError(ValueError):
    """Input that cannot be used: says what was expected, what was found and what to do.

    The command line prints its message on one line and exits with code 2.
    """
