"""What is wrong with a joint: jitter, inversion, swap or miss (Ronchi and Perona, ICCV 2017).

Their types are those of many people per picture, by the keypoint similarity of COCO. Adapted to
one person and to PCK's ball of radius ``r``, the protocol's threshold in reference lengths:

- *good*: within ``r`` of the true joint, so that its share is the PCK;
- *inversion*: within ``r`` of the mirror twin, the same joint of the person's other side;
- *swap*: within ``r`` of any other joint of the **same** person. Theirs is the joint of *another*
  person; LSP labels one, so this one is ours, after the chain neighbor of SPEC 5.3;
- *jitter*: within ``2 r`` of the true joint. Their similarities of 0.85 (good) and 0.5 (jitter)
  are distances in the ratio 2.07;
- *miss*: none of these.

The first that holds in this order is the type. As with theirs the nearest joint decides: whoever
is within ``r`` of another joint and not of its own is nearer to the other. Between inversion and
swap the twin goes first.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from uprightpose.metrics import Column, column_scores, normalized_distances
from uprightpose.protocols import Protocol
from uprightpose.tables import squared_references

TYPES = ("good", "jitter", "inversion", "swap", "miss")
"""From harmless to lost."""

JITTER = 2
"""Radii up to which a joint that is near nothing else is jitter."""

NOT_COUNTED = -1

Shares = dict[str, dict[str, float]]
"""Type -> title of a column -> percent of its joints."""


def error_types(
    predicted: Float[ndarray, "n k 2"],
    truth: Float[ndarray, "n k 2"],
    protocol: Protocol,
    lengths: Float[ndarray, " n"] | None = None,
) -> Int[ndarray, "n k"]:
    """Return the type of each predicted joint as its place in :data:`TYPES`.

    Args:
        predicted: joints in pixels, any frame; a missing one (NaN) is a miss.
        truth: joints in the same frame and labels; NaN where absent: such a joint is not counted,
            and nothing is near it.
        protocol: any but ``coco``; only joints that it counts are near or have a type.
        lengths: head sizes in pixels, for protocols whose norm is the head.

    Returns:
        ``(n, k)``; :data:`NOT_COUNTED` where the protocol counts nothing.

    Raises:
        ValueError: if the shapes are not ``(n, k, 2)`` of the protocol's skeleton or head
            sizes are needed and not given.

    SPEC 3.1, 5.3.

    Example:
        A right wrist on the left one.

        >>> from uprightpose.protocols import PROTOCOLS
        >>> truth = np.arange(28.0).reshape(1, 14, 2) ** 2
        >>> predicted = truth.copy()
        >>> predicted[0, 6] = truth[0, 11]
        >>> TYPES[error_types(predicted, truth, PROTOCOLS["lsp"])[0, 6]]
        'inversion'
    """
    squared = squared_references(predicted, truth, protocol, lengths)
    radius = _radius(protocol)
    inside = np.less_equal if protocol.closed else np.less
    joints, mirror = list(protocol.joints), list(protocol.skeleton.mirror)
    own = normalized_distances(predicted, truth, squared)
    twin = inside(normalized_distances(predicted, truth[:, mirror], squared), radius)
    other = np.zeros(own.shape, dtype=bool)  # near any joint: its own and its twin go first below
    for joint in joints:
        place = np.repeat(predicted[:, [joint]], len(joints), axis=1)
        distances = normalized_distances(place, truth[:, joints], squared)
        other[:, joint] = inside(distances, radius).any(axis=1)
    uncounted = np.isnan(own)
    uncounted[:, np.setdiff1d(np.arange(own.shape[1]), joints)] = True
    types: Int[ndarray, "n k"] = np.select(
        [uncounted, inside(own, radius), twin, other, inside(own, JITTER * radius)],
        [NOT_COUNTED, *map(TYPES.index, ("good", "inversion", "swap", "jitter"))],
        default=TYPES.index("miss"),
    )
    return types


def type_shares(types: Int[ndarray, "n k"], protocol: Protocol) -> Shares:
    """Return the share of each type, in each column and by the column's own rule, in percent.

    Args:
        types: of :func:`error_types`.
        protocol: the same; its columns of the threshold, the last of which is of all joints.

    Returns:
        NaN where nothing is counted. The shares of a column add up to 100.

    Example:
        >>> from uprightpose.protocols import PROTOCOLS
        >>> types = np.zeros((1, 14), dtype=int)
        >>> types[0, 6] = TYPES.index("miss")
        >>> shares = type_shares(types, PROTOCOLS["lsp"])
        >>> shares["miss"]["Wrist"], shares["good"]["Wrist"], shares["good"]["Ankle"]
        (50.0, 50.0, 100.0)
    """
    columns = _columns(protocol)
    shares = {}
    for code, name in enumerate(TYPES):
        # who is of this type is at its place, who is not is far away: PCK counts the rest
        distances = np.where(types == NOT_COUNTED, np.nan, np.where(types == code, 0.0, np.inf))
        score = column_scores(distances, columns, closed=True)
        percents = score(np.ones((1, len(types))))[0].tolist()
        shares[name] = {one.title: each for one, each in zip(columns, percents, strict=True)}
    return shares


def overall_shares(shares: Shares) -> dict[str, float]:
    """Return the percent of each type among all joints, the last column.

    Example:
        >>> overall_shares({"good": {"Head": 100.0, "Total": 80.0}})
        {'good': 80.0}
    """
    return {name: list(columns.values())[-1] for name, columns in shares.items()}


def _radius(protocol: Protocol) -> float:
    if isinstance(protocol.threshold, tuple):
        raise ValueError(f"expected a protocol of one radius, found {protocol.name}")
    return protocol.threshold


def _columns(protocol: Protocol) -> tuple[Column, ...]:
    return tuple(one for one in protocol.columns if one.limits == (_radius(protocol),))
