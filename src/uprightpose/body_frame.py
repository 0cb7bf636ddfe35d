"""The body frame: how score maps get into it, and what is expected of maps and canvases."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from uprightpose.errors import InputError
from uprightpose.frames import middle
from uprightpose.normalize import Rotation, body_rotation, rotate_maps
from uprightpose.score_maps import decode
from uprightpose.skeletons import Skeleton


def upright_maps(
    score_maps: Float[Tensor, "b c h w"],
    skeleton: Skeleton,
    canvas: float,
    *,
    background: bool,
    in_place: bool = False,
    blur: float = 1.0,
    subcell: bool = True,
    rotation: Rotation | None = None,
) -> tuple[Float[Tensor, "b c _ _"], Rotation]:
    """Turn image maps into the body frame: neck above the torso center, center in the middle.

    Where the maps support no angle the whole picture is kept upright as it is, its middle
    in the canvas's middle. ``in_place`` leaves the center where it is, on the map's own
    canvas. A given ``rotation``, in cells of the image maps, is taken in the place of
    :func:`read_rotation`, such as the true one; without ``in_place`` its target does not count.
    """
    larger = canvas_size((score_maps.shape[-2], score_maps.shape[-1]), canvas)
    if rotation is None:
        rotation = read_rotation(score_maps, skeleton, blur=blur, subcell=subcell)
    if not in_place:
        rotation = rotation.placed(middle(larger))
    return rotate_maps(score_maps, rotation, larger, background=background), rotation


def read_rotation(
    score_maps: Float[Tensor, "b c h w"],
    skeleton: Skeleton,
    *,
    blur: float = 1.0,
    subcell: bool = True,
) -> Rotation:
    """Return the turn about the torso's center that the maps ask for, in place (SPEC 1.7, 1.8)."""
    found = decode(score_maps[:, : len(skeleton.joints)], sigma=blur, subcell=subcell)
    otherwise = middle((score_maps.shape[-2], score_maps.shape[-1]))
    return body_rotation(found.joints, skeleton.torso, skeleton.neck, found.scores, otherwise)


def canvas_size(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """Return ``(h, w)`` times ``factor`` in whole cells."""
    return (round(size[0] * factor), round(size[1] * factor))


def expect_maps(maps: Tensor, skeleton: Skeleton, *, background: bool) -> None:
    """Refuse maps of another number of channels; looks at the shape only, so that it exports.

    Raises:
        ValueError: saying what was expected and found.
    """
    joints = len(skeleton.joints)
    if maps.shape[1] == joints + background:
        return
    joined = "and the background (score_maps.with_background)" if background else "alone"
    raise ValueError(
        f"expected {joints + background} score maps, {skeleton.name}'s {joints} joints {joined}, "
        f"found {maps.shape[1]}"
    )


def expect_lengths(lengths: Sequence[float], skeleton: Skeleton) -> None:
    """Refuse bone lengths that are not one above 0 for each edge.

    Raises:
        InputError: saying what was expected and found.
    """
    if len(lengths) != len(skeleton.edges) or not all(length > 0 for length in lengths):
        raise InputError(
            f"expected {len(skeleton.edges)} bone_lengths above 0, one for each edge of "
            f"{skeleton.name}, found {[round(float(length), 3) for length in lengths]}"
        )


def expect_canvas_of_one(**canvases: float) -> None:
    """Refuse another canvas where maps turn in place.

    Raises:
        InputError: naming the canvas.
    """
    for name, canvas in canvases.items():
        if canvas != 1:
            raise InputError(
                f"in_place turns on the map as it is: expected {name} 1, found {canvas}"
            )
