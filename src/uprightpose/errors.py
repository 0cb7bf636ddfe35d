"""What a user can mend: bad files, boxes, recipes."""

from numbers import Integral


class InputError(ValueError):
    """Input that cannot be used: says what was expected, what was found and what to do.

    The command line prints its message on one line and exits with code 2.
    """


def reason(error: BaseException) -> str:
    r"""Return the first line of what an error says, or its name if it says nothing.

    Example:
        >>> reason(ValueError("no card\nat all")), reason(AssertionError())
        ('no card', 'AssertionError')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def check_amount(name: str, value: object, unit: str) -> None:
    """Refuse what is no whole number of at least 1.

    Args:
        name: of the option.
        value: whatever was given.
        unit: what it counts.

    Raises:
        InputError: if it is another.

    Example:
        >>> check_amount("batch", 2.5, "people at a time")
        Traceback (most recent call last):
        uprightpose.errors.InputError: batch: expected a whole number, 1 or more people at a time, \
found 2.5
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < 1:  # type: ignore[operator]
        raise InputError(f"{name}: expected a whole number, 1 or more {unit}, found {value!r}")


def install(extra: str) -> str:
    """Return how to get the packages of an extra: the project is on no registry.

    Example:
        >>> install("data")
        "pip install -e '.[data]' in the project's folder"
    """
    return f"pip install -e '.[{extra}]' in the project's folder"
