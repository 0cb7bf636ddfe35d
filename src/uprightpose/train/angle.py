"""Training of the body angle's posterior (:mod:`uprightpose.angle_net`) from a recipe."""

from collections.abc import Sequence

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from uprightpose.angle_net import AngleNet, angle_loss
from uprightpose.data.loader import Batch
from uprightpose.metrics import axis_angle
from uprightpose.skeletons import SKELETONS
from uprightpose.train.module import scheduled_optimizer
from uprightpose.train.recipe import Recipe


class AngleModule(lightning.LightningModule):
    """Trains an :class:`~uprightpose.angle_net.AngleNet` on augmented pictures.

    Args:
        model: changed in place.
        recipe: rates, optimizer, ``angle_steps``.
        frozen: parts that never learn.
    """

    def __init__(self, model: AngleNet, recipe: Recipe, frozen: Sequence[nn.Module] = ()) -> None:
        """Mark what learns."""
        super().__init__()
        self._fixed = tuple(frozen)
        for part in self._fixed:
            part.requires_grad_(False)
        self.model = model.to(memory_format=torch.channels_last)
        self.recipe, self.steps, self.title = recipe, recipe.angle_steps, "angle"

    def on_train_start(self) -> None:
        """Keep the running statistics of fixed parts fixed, in a resumed run too."""
        self.train()
        for part in self._fixed:
            part.eval()

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """Return the cross-entropy of the angles that the augmented joints have."""
        images = batch.images.float().contiguous(memory_format=torch.channels_last)
        joints = batch.joints.cpu().double().numpy()
        angle = torch.from_numpy(axis_angle(joints, SKELETONS[self.recipe.skeleton]))
        loss = angle_loss(self.model(images).float(), angle.float().to(self.device))
        self.log("angle", loss, sync_dist=self.recipe.processes > 1)
        return loss

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimizer and its schedule by step."""
        learning = [value for value in self.parameters() if value.requires_grad]
        return scheduled_optimizer(self.recipe, learning, self.recipe.rate, self.steps)
