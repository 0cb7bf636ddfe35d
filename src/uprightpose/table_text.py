"""Tables and differences as aligned text and as plain numbers for JSON."""

import math
from collections.abc import Mapping

from uprightpose.protocols import REFERENCES
from uprightpose.tables import Difference, Table


def format_tables(
    tables: Mapping[str, Table], difference: Mapping[str, Difference] | None = None
) -> str:
    """Lay out tables as aligned text: a line each, and two more where there are intervals.

    Args:
        tables: name -> table, all of one protocol.
        difference: of the first from the second, appended with its interval and p.

    Example:
        >>> import numpy as np
        >>> from uprightpose.protocols import PROTOCOLS
        >>> from uprightpose.tables import pck_table
        >>> truth = np.arange(28.0).reshape(1, 14, 2) ** 2
        >>> text = format_tables({"PCK": pck_table(truth, truth, PROTOCOLS["lsp"], "pc")})
        >>> [line[:24] for line in text.splitlines()]
        ['     People    Head  Sho', 'PCK       1  100.00    1']
    """
    lines = [["", "People", *next(iter(tables.values())).scores]]
    for name, table in tables.items():
        lines.append([name, str(table.people), *map(_cell, table.scores.values())])
        bounds = zip(*(table.intervals or {}).values(), strict=True)
        for side, values in zip(("from", "to"), bounds, strict=False):
            lines.append([f"  {side}", "", *map(_cell, values)])
    if difference:
        lines += _difference_lines(" - ".join(list(tables)[:2]), difference)
    return _align(lines)


def format_shares(shares: Mapping[str, Mapping[str, float]]) -> str:
    """Lay out the percent of each type as aligned text: a line per row.

    Args:
        shares: name -> type -> percent, the same types in each.

    Example:
        >>> print(format_shares({"detector": {"good": 73.4, "miss": 26.6}}))
                   good    miss
        detector  73.40   26.60
    """
    lines = [["", *next(iter(shares.values()))]]
    return _align(lines + [[name, *map(_cell, one.values())] for name, one in shares.items()])


def as_json(table: Table) -> dict[str, object]:
    """Return the table as plain numbers, not rounded; what has no value is ``None``.

    Example:
        >>> import numpy as np
        >>> from uprightpose.protocols import PROTOCOLS
        >>> from uprightpose.tables import pck_table
        >>> truth = np.arange(28.0).reshape(1, 14, 2) ** 2
        >>> as_json(pck_table(truth, truth, PROTOCOLS["lsp"], "pc"))["reference_length"]
        'left shoulder - right hip'
    """
    return {
        "protocol": table.protocol.name,
        "labels": table.labels,
        "reference_length": REFERENCES[table.protocol.norm],
        "threshold": table.protocol.threshold,
        "threshold_included": table.protocol.closed,
        "people": table.people,
        "images": table.images,
        "joints": table.joints,
        "scores": {title: _or_none(score) for title, score in table.scores.items()},
        "intervals": table.intervals
        and {title: [_or_none(bound) for bound in pair] for title, pair in table.intervals.items()},
    }


def difference_json(difference: Mapping[str, Difference]) -> dict[str, dict[str, float | None]]:
    """Return differences as plain numbers; what has no value is ``None``."""
    return {
        title: {name: _or_none(number) for name, number in one._asdict().items()}
        for title, one in difference.items()
    }


def _difference_lines(name: str, difference: Mapping[str, Difference]) -> list[list[str]]:
    rows = list(zip(*difference.values(), strict=True))
    lines = [[name, "", *(_cell(value, "+.2f") for value in rows[0])]]
    if any(not math.isnan(p) for p in rows[3]):
        lines += [
            [f"  {side}", "", *(_cell(v, "+.2f") for v in row)]
            for side, row in zip(("from", "to"), rows[1:3], strict=True)
        ]
        lines += [
            [f"  {kind}", "", *(_cell(v, ".4f") for v in row)]
            for kind, row in zip(("p", "p Holm"), rows[3:], strict=True)
        ]
    return lines


def _align(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    widths = [widths[0], widths[1], *(max(6, width) for width in widths[2:])]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    )


def _cell(number: float, digits: str = ".2f") -> str:
    return "-" if math.isnan(number) else format(number, digits)


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else number
