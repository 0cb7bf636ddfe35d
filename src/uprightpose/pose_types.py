"""Pose types: clusters of whole poses, for the baselines of Table 1 (SPEC 1.14)."""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.cluster.vq import kmeans, vq

from uprightpose.skeletons import LSP, Skeleton

TYPES = 3
"""'Three clusters of LSP poses' (Sec. 4.2)."""

RESTARTS = 20
"""Of k-means, from other people each time; the best is kept."""


def pose_clusters(
    joints: Float[ndarray, "n k 2"],
    count: int = TYPES,
    seed: int = 0,
    *,
    skeleton: Skeleton = LSP,
) -> Float[ndarray, "t k 2"]:
    """Cluster poses by k-means, whatever their place and size.

    Args:
        joints: in any unit; people with absent joints (NaN) are left out.
        count: of clusters.
        seed: of the starts.
        skeleton: whose torso the joints have.

    Returns:
        Mean poses as :func:`standardize` gives them, that of most people first.

    Raises:
        ValueError: if fewer than ``count`` different poses are complete.

    Example:
        >>> poses = np.random.default_rng(0).normal(size=(50, 14, 2))
        >>> pose_clusters(poses).shape
        (3, 14, 2)
    """
    poses = standardize(joints, skeleton)
    points = poses[np.isfinite(poses).all(axis=(1, 2))].reshape(-1, 2 * joints.shape[1])
    different = points[np.sort(np.unique(points, axis=0, return_index=True)[1])]
    if len(different) < count:
        raise ValueError(f"expected {count} complete poses that differ, found {len(different)}")
    random = np.random.default_rng(seed)
    starts = (random.choice(different, count, replace=False) for _ in range(RESTARTS))
    books = (kmeans(points, start, thresh=1e-9)[0] for start in starts)
    whole = (book for book in books if len(book) == count)  # k-means may lose a cluster
    best = min(whole, key=lambda book: np.square(vq(points, book)[1]).sum())
    people = np.bincount(vq(points, best)[0], minlength=count)
    centers: ndarray = best[np.argsort(-people, kind="stable")].reshape(count, -1, 2)
    return centers


def nearest_type(
    joints: Float[ndarray, "n k 2"],
    centers: Float[ndarray, "t k 2"],
    *,
    skeleton: Skeleton = LSP,
) -> Int[ndarray, " n"]:
    """Return each person's type: the nearest center, by the joints that are present.

    Args:
        joints: in any unit; NaN where absent. Without any joint the type is 0, the largest.
        centers: of :func:`pose_clusters`.
        skeleton: whose torso the joints have.
    """
    offsets = standardize(joints, skeleton)[:, None] - centers
    types: ndarray = np.nansum(offsets**2, axis=(2, 3)).argmin(axis=1)
    return types


def standardize(
    joints: Float[ndarray, "n k 2"], skeleton: Skeleton = LSP
) -> Float[ndarray, "n k 2"]:
    """Return joints minus the torso center, divided by their RMS distance from it.

    The torso center is the mean of the torso joints that are present, or of all joints if
    none of the torso is. Absent joints stay NaN.
    """
    known = np.isfinite(joints).all(axis=2, keepdims=True)
    torso = known & np.isin(np.arange(joints.shape[1]), skeleton.torso)[:, None]
    used = np.where(torso.any(axis=1, keepdims=True), torso, known)
    offsets = joints - _mean(joints, used)
    spread = np.sqrt(_mean((offsets**2).sum(axis=2, keepdims=True), known))
    poses: ndarray = offsets / np.maximum(spread, np.finfo(np.float64).tiny)
    return poses


def _mean(values: Float[ndarray, "n k d"], used: ndarray) -> Float[ndarray, "n 1 d"]:
    """Return the mean of the joints that are used; 0 if there are none."""
    total = np.where(used, values, 0.0).sum(axis=1, keepdims=True)
    mean: ndarray = total / np.maximum(used.sum(axis=1, keepdims=True), 1)
    return mean
