"""Refine the joints of people who are not standing upright.

The public names come from their modules when they are first used: importing the package
computes nothing and loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uprightpose.data.person import Person
    from uprightpose.errors import InputError
    from uprightpose.large_conv import LargeConv2d
    from uprightpose.looks import look_upright
    from uprightpose.model import PoseNet
    from uprightpose.normalize import (
        Rotation,
        body_rotation,
        limb_rotation,
        rotate_joints,
        rotate_maps,
    )
    from uprightpose.predict import Predictor, load, load_scout
    from uprightpose.refine import BodyRefiner, FramedMaps, LimbRefiner, RefinementNet
    from uprightpose.score_maps import decode, encode_disks, encode_gaussians
    from uprightpose.scout import Scout
    from uprightpose.skeletons import COCO, FLIC, LSP, MPII, Limb, Skeleton

    __version__: str

__all__ = [
    "COCO",
    "FLIC",
    "LSP",
    "MPII",
    "BodyRefiner",
    "FramedMaps",
    "InputError",
    "LargeConv2d",
    "Limb",
    "LimbRefiner",
    "Person",
    "PoseNet",
    "Predictor",
    "RefinementNet",
    "Rotation",
    "Scout",
    "Skeleton",
    "__version__",
    "body_rotation",
    "decode",
    "encode_disks",
    "encode_gaussians",
    "limb_rotation",
    "load",
    "load_scout",
    "look_upright",
    "rotate_joints",
    "rotate_maps",
]

_NAMES = {
    "data.person": "Person",
    "errors": "InputError",
    "large_conv": "LargeConv2d",
    "looks": "look_upright",
    "model": "PoseNet",
    "normalize": "Rotation body_rotation limb_rotation rotate_joints rotate_maps",
    "predict": "Predictor load load_scout",
    "refine": "BodyRefiner FramedMaps LimbRefiner RefinementNet",
    "score_maps": "decode encode_disks encode_gaussians",
    "scout": "Scout",
    "skeletons": "COCO FLIC LSP MPII Limb Skeleton",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Find a public name in its module (PEP 562)."""
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names too, found or not."""
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(__name__)
    except PackageNotFoundError:
        return "0+unknown"
