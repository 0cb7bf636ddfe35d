"""What a run begins with: its pictures, and the network with the weights that it starts from."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor, nn

from uprightpose.data.augment import Augmentation
from uprightpose.data.loader import SampleStream
from uprightpose.data.pack import Pack
from uprightpose.detectors.trunks import load_folded
from uprightpose.errors import InputError
from uprightpose.model import STAGES as STAGE_NAMES
from uprightpose.model import PoseNet
from uprightpose.pose_types import pose_clusters
from uprightpose.settings import Settings
from uprightpose.skeletons import SKELETONS
from uprightpose.train.recipe import Recipe, folder
from uprightpose.train.stages import STAGES
from uprightpose.weights import build, load_weights, read_folded

STATISTICS = 64
"""Pictures that set the batch statistics of a folded trunk."""

DETECTOR = (
    *("labels", "size", "content", "resize", "detector", "trunk", "head_width", "variant"),
    *("loss_stride", "fc6_kernel", "stacks"),
)
BODY = (
    *("baseline", "refine_width", "kernels", "large_layers", "pairs", "canvas", "in_place"),
    *("normalize", "residual", "blur", "subcell"),
)
LIMBS = ("limb_canvas", "normalize_limbs", "semi_global", "limb_inputs", "merge", "share_sides")
BUILT = {"detector": DETECTOR, "body": DETECTOR + BODY, "limbs": DETECTOR + BODY + LIMBS}
"""Keys that weights to start from must share, by their last stage."""

SIZES = ("size", "content", "resize")
"""Keys that need not be shared where the detector learns on at once: networks are convolutional."""

MAY_DIFFER = "; they may differ where the detector learns on: by detector_steps, or all_steps alone"


def start_network(
    recipe: Recipe, pack: Pack, settings: Settings | None = None
) -> tuple[PoseNet, Settings]:
    """Build the network with the weights that it starts from.

    Args:
        recipe: says where weights come from.
        pack: pictures that settle the statistics of a folded trunk; poses for types.
        settings: of the network; by default what the recipe trains.
    """
    settings = settings or recipe.settings()
    timm = recipe.trunk_weights == "timm" and recipe.start is None
    model = build(settings, pretrained=timm, init=recipe.init, centers=pose_centers(recipe, pack))
    given = () if recipe.start is None else _take_over(model, settings, recipe)
    for name in STAGE_NAMES[: STAGE_NAMES.index(settings.last)]:
        if name not in given and not getattr(recipe, f"{name}_steps"):
            raise InputError(
                f"recipe: {name}_steps is 0 and `start` gives no {name}, but {settings.last} "
                "refines its maps; train it or name weights that have it"
            )
    if recipe.start is None and recipe.trunk_weights not in ("none", "timm"):
        arrays = read_folded(folder(recipe.trunk_weights))
        detector: Any = model.detector
        images = first_pictures(recipe, pack)
        load_folded(trunk_of(model), arrays, (images - detector.mean) / detector.std)
    return model, settings


def first_pictures(recipe: Recipe, pack: Pack) -> Float[Tensor, "b 3 s s"]:
    """Return the upright pictures that settle the statistics of a folded trunk."""
    count = min(STATISTICS, len(pack.joints))
    stream = person_stream(recipe, pack, augment=False)
    return stream.batch(range(count)).images.float().contiguous()


def pose_centers(recipe: Recipe, pack: Pack) -> Float[np.ndarray, "t k 2"] | None:
    """Return the pose types of the training people, where a baseline wants them (SPEC 1.14)."""
    if recipe.baseline == "none":
        return None
    return pose_clusters(pack.joints, seed=recipe.seed, skeleton=SKELETONS[recipe.skeleton])


def _take_over(model: PoseNet, settings: Settings, recipe: Recipe) -> tuple[str, ...]:
    """Copy the parts of the recipe's ``start`` and return their names.

    Raises:
        InputError: if a part was built or taught otherwise.
    """
    path = folder(str(recipe.start))
    loaded, theirs = load_weights(path, SKELETONS[recipe.skeleton])
    together = recipe.all_steps and not recipe.body_steps and not recipe.limbs_steps
    free = SIZES if recipe.detector_steps or together else ()
    wanted = [key for key in BUILT[theirs.last] if key not in free]
    differs = [key for key in wanted if _resolved(theirs, key) != _resolved(settings, key)]
    if differs:
        raise InputError(
            f"recipe: {path} was trained with other {', '.join(differs)}: "
            + ", ".join(f"{key} {getattr(theirs, key)}" for key in differs)
            + (MAY_DIFFER if set(differs) <= set(SIZES) else "")
        )
    given = STAGE_NAMES[: STAGE_NAMES.index(theirs.last) + 1]
    copy_parts(loaded, model, given)
    return given


def _resolved(settings: Settings, key: str) -> Any:
    """Return a key's value; 0 for the head's width stands for the detector's own."""
    return settings.width if key == "head_width" else getattr(settings, key)


def trunk_of(model: PoseNet) -> nn.Module:
    """Return the detector's trunk.

    Raises:
        InputError: if it has none.
    """
    trunk = getattr(model.detector, "trunk", None)
    if trunk is None:
        raise InputError(
            "recipe: this detector has no trunk: set trunk_weights to none and frozen_trunk to []"
        )
    return trunk  # type: ignore[no-any-return]


def copy_parts(source: PoseNet, target: PoseNet, names: Sequence[str]) -> None:
    """Copy the weights of the named parts that both networks have."""
    for name in names:
        found, wanted = getattr(source, name), getattr(target, name)
        if found is not None and wanted is not None:
            wanted.load_state_dict(found.state_dict())


def person_stream(
    recipe: Recipe,
    pack: Pack,
    *,
    augment: bool = True,
    offset: int = 0,
    items: Int[np.ndarray, " m"] | None = None,
    upright: Float[np.ndarray, " n"] | None = None,
    centers: Float[np.ndarray, "t k 2"] | None = None,
) -> SampleStream:
    """Return the training pictures of one stage.

    Args:
        recipe: how they are turned, scaled, shifted, mirrored and covered.
        pack: of everyone.
        augment: ``False`` shows people upright as they are packed.
        offset: of the seed, a number of its own for each stage.
        items: places of those who teach the stage; everyone by default.
        upright: radians that turn each person upright.
        centers: of the pose types of Table 1's baselines.
    """
    augmentation = Augmentation(
        rotation=recipe.rotation,
        upright_share=recipe.upright_share,
        scale=(recipe.scale_low, recipe.scale_high),
        shift=recipe.shift,
        flip=recipe.flip,
        erase=recipe.erase,
    )
    return SampleStream(
        pack,
        SKELETONS[recipe.skeleton],
        recipe.crop,
        augmentation if augment else None,
        recipe.seed * len(STAGES) + offset,
        items=items,
        upright=upright,
        centers=centers,
        warp=recipe.augment_on == "cpu" or not augment,
    )


def frozen_parts(trunk: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Return the trunk's children of these names.

    Raises:
        InputError: if one of them does not exist.
    """
    children = dict(trunk.named_children())
    unknown = [name for name in names if name not in children]
    if unknown:
        raise InputError(
            f"recipe: frozen_trunk names {', '.join(unknown)}; the trunk has {', '.join(children)}"
        )
    return [children[name] for name in names]
