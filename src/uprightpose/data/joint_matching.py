"""The same people in two joint files: by the names of their pictures, else by their order."""

import re
from dataclasses import replace
from pathlib import Path

from uprightpose.data.joint_files import JointTable
from uprightpose.errors import InputError

LSP_TEST = range(1001, 2001)
"""The numbers of the LSP test pictures (SPEC 4.1)."""


def match_people(predicted: JointTable, truth: JointTable) -> JointTable:
    """Return the predictions in the order of the true people.

    Where both files name the pictures and each picture has one true person they are matched
    by name, else they must be as many and in the same order.

    Raises:
        InputError: if they do not fit.
    """
    if predicted.images and truth.images:
        return _match_names(predicted, truth)
    if len(predicted.joints) != len(truth.joints):
        raise InputError(
            f"expected as many people in both files, found {len(predicted.joints)} in "
            f"{predicted.path} and {len(truth.joints)} in {truth.path}: give the same people"
        )
    return predicted


def lsp_test(table: JointTable) -> JointTable:
    """Return the people of the LSP test pictures 1001-2000 (SPEC 3.1).

    Pictures are found by number where the file has names, else by position in a file
    of all 2000 or of just these 1000 people.

    Raises:
        InputError: if the file does not hold them.

    Example:
        >>> import numpy as np
        >>> everyone = np.arange(2000.0)[:, None, None] + np.zeros((2000, 14, 2))
        >>> lsp_test(JointTable(Path("joints.mat"), everyone)).joints[0, 0]
        array([1000., 1000.])
    """
    count = len(table.joints)
    numbers = _numbers(table.images or ())
    if numbers is not None:
        place = {number: row for row, number in enumerate(numbers)}
        absent = [number for number in LSP_TEST if number not in place]
        if absent:
            raise InputError(
                f"expected pictures im1001 to im2000, found {len(LSP_TEST) - len(absent)} of them "
                f"in {table.path} (im{absent[0]:04d} is missing): predict all test pictures"
            )
        return _rows(table, [place[number] for number in LSP_TEST])
    if count not in (len(LSP_TEST), LSP_TEST.stop - 1):
        raise InputError(
            f"expected joints of all 2000 LSP people or of the test people 1001-2000, "
            f"found {count} people in {table.path}: give the file of one of these sets"
        )
    return _rows(table, list(range(count - len(LSP_TEST), count)))


def _match_names(predicted: JointTable, truth: JointTable) -> JointTable:
    theirs, ours = ([Path(name).name for name in t.images or ()] for t in (predicted, truth))
    if theirs == ours:
        return predicted
    for names, table in ((theirs, predicted), (ours, truth)):
        if len(set(names)) < len(names):
            raise InputError(
                f"expected one person per picture or the same people in both files, found "
                f"several of {_repeated(names)} in {table.path}: give an array in the truth's order"
            )
    place = {name: row for row, name in enumerate(theirs)}
    absent = [name for name in ours if name not in place]
    if absent:
        raise InputError(
            f"expected every picture of {truth.path}, found {len(absent)} of them missing in "
            f"{predicted.path}, e.g. {absent[0]}: predict all pictures"
        )
    return _rows(predicted, [place[name] for name in ours])


def _repeated(names: list[str]) -> str:
    return next(name for i, name in enumerate(names) if name in names[:i])


def _rows(table: JointTable, rows: list[int]) -> JointTable:
    """Return the table of some of its people, in this order."""
    return replace(
        table,
        joints=table.joints[rows],
        images=tuple(table.images[row] for row in rows) if table.images else None,
        lengths=None if table.lengths is None else table.lengths[rows],
    )


def _numbers(names: tuple[str, ...]) -> list[int] | None:
    """Return the numbers of pictures named like ``im0001.jpg``, or ``None`` if one is not."""
    matches = [re.fullmatch(r"im(\d+)\.\w+", Path(name).name) for name in names]
    numbers = [int(match[1]) for match in matches if match]
    whole = len(numbers) == len(names) == len(set(numbers))
    return numbers if whole and numbers else None
