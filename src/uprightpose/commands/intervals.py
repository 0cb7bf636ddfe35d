"""The option ``--intervals`` of the commands that report numbers."""

from jsonargparse import ArgumentParser

from uprightpose.errors import InputError


def add_intervals(parser: ArgumentParser) -> None:
    """Declare ``--intervals``."""
    from uprightpose.statistics import DRAWS

    parser.add_argument(
        "--intervals",
        type=str,
        default=str(DRAWS),
        metavar="N|off",
        help="bootstrap draws of people for the intervals of 95 percent, or off",
    )


def read_draws(text: str) -> int:
    """Read a number of bootstrap draws; ``off`` is 0.

    Example:
        >>> read_draws("off"), read_draws("500")
        (0, 500)
    """
    if text == "off":
        return 0
    if not text.isdecimal() or int(text) == 0:
        raise InputError(f"--intervals: expected a number of draws from 1, or off, found {text}")
    return int(text)
