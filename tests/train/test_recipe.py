"""'One flat recipe file per run, read by jsonargparse, unknown keys refused.'"""

import math
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

import pytest

from uprightpose.cli import main
from uprightpose.errors import InputError
from uprightpose.settings import Settings
from uprightpose.train import run
from uprightpose.train.recipe import DATASETS, NOT_NEGATIVE, POSITIVE, Recipe, folder

CHOICES = sorted(
    field.name
    for field in fields(Recipe)
    if get_origin(get_type_hints(Recipe)[field.name]) is Literal
)
RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    recipes: list[Recipe] = []

    def keep(recipe: Recipe) -> Path:
        recipes.append(recipe)
        return Path("weights")

    monkeypatch.setattr(run, "train", keep)
    return recipes


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_read(path: Path, seen: list[Recipe]) -> None:
    assert main(["train", str(path)]) == 0
    assert seen[0].out == f"runs/{path.stem}"


def test_options_override_the_file(seen: list[Recipe]) -> None:
    assert main(["train", str(RECIPES[0]), "--seed", "7", "--out", "elsewhere"]) == 0
    assert (seen[0].seed, seen[0].out) == (7, "elsewhere")


def test_options_are_not_abbreviated(
    seen: list[Recipe], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(RECIPES[0]), "--detector_step", "3"]) == 2
    assert "--detector_step" in capsys.readouterr().err
    assert not seen


def test_the_control_differs_in_normalization_alone(seen: list[Recipe]) -> None:
    for name in ("compact", "compact-unnormalized"):
        main(["train", str(RECIPES[0].with_stem(name))])
    differs = [key for key in vars(seen[0]) if getattr(seen[0], key) != getattr(seen[1], key)]
    # compared before fine-tuning
    assert differs == ["normalize", "normalize_limbs", "out", "all_steps"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("out: x\nlsp: y\nbatsh: 3\n", "batsh"),
        ("out: x\nlsp: y\nbatch: many\n", "batch"),
        ("lsp: y\n", "out"),
        ("out: [x", "r.yaml"),
        ("", "r.yaml"),
        ("out: x\n", "name a dataset folder"),
        ("out: x\nlsp: y\nsize: 100\n", "multiple of 16"),
        *((f"out: x\nlsp: y\n{key}: odd\n", f"{key}: expected") for key in CHOICES),
        ("out: x\nlsp: y\nloss_stride: 4\n", "loss_stride: expected 1, 8"),
        ("out: x\nlsp: y\nlast: body\n", "last"),  # follows from the steps
    ],
)
def test_refused_in_one_line(
    text: str, said: str, tmp_path: Path, seen: list[Recipe], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    assert main(["train", str(path)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert said in message
    assert not seen


class TestValues:
    """What cannot work is refused before anything is read, by the name of its key."""

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            *(({key: 0}, f"{key} must be above 0, found 0") for key in POSITIVE),
            *(({key: -1}, f"{key} must not be negative, found -1") for key in NOT_NEGATIVE),
            ({"rate": math.nan}, "rate must be above 0, found nan"),
            ({"weight_decay": -0.1}, "weight_decay must not be negative, found -0.1"),
            ({"flip": 1.5}, "flip must be at most 1, found 1.5"),
            ({"erase": 1.5}, "erase must be at most 1"),
            ({"upright_share": 30.0}, "upright_share must be at most 1"),
            ({"kernels": (3, 4)}, r"kernels must be odd sides, found \[3, 4\]"),
            ({"kernels": ()}, r"kernels must be odd sides, found \[\]"),
            ({"size": 100}, "size must be a multiple of 16 for compact, found 100"),
            ({"size": 48, "detector": "fcn"}, "size must be a multiple of 32 for fcn"),
            ({"size": 96, "detector": "hourglass"}, "size must be a multiple of 64 for hourglass"),
            ({"content": 129}, "content must not exceed size, found 129"),
            ({"scale_low": 2.0}, "0 < scale_low <= scale_high"),
            ({"scale_high": math.inf}, "0 < scale_low <= scale_high"),
            ({"canvas": 0.01}, "canvas and limb_canvas must be at least 0.5, found 0.01 and 1.5"),
            ({"limb_canvas": 0.4}, "at least 0.5, found 1.5 and 0.4"),
            (
                {"augment_on": "device", "scale_low": 0.6, "size": 96, "content": 64},
                r"augment_on device .* found scale_low times content over size to be 0\.40",
            ),
            ({"stacks": 0}, "stacks must be 1 to 8, found 0"),
            ({"stacks": 9}, "stacks must be 1 to 8, found 9"),
            ({"out_of_fold": 1, "fold_steps": 9}, "out_of_fold must be 0 or at least 2, found 1"),
            ({"out_of_fold": -2, "fold_steps": 9}, "out_of_fold must be 0 or at least 2"),
            ({"out_of_fold": 5}, "go together, found 5 and 0"),
            ({"fold_steps": 5}, "go together, found 0 and 5"),
            (
                {"held_out": 1},
                "held_out must be 0 or at least 2, .* found held_out 1",
            ),
            (
                {"held_out": 5, "out_of_fold": 3, "fold_steps": 9},
                "0 with out_of_fold, found held_out 5, out_of_fold 3",
            ),
            ({"batch": 9, "devices": 2}, "batch 9 must be a multiple of its 2 processes"),
            ({"batch": 9, "devices": 2, "nodes": 3}, "multiple of its 6 processes"),
            ({"skeleton": "cat"}, "skeleton must be lsp or .*, found cat"),
            ({"lsp": None}, "name a dataset folder: lsp, lspet, flic, mpii, coco"),
        ],
        ids=str,
    )
    def test_refused(self, values: dict[str, Any], said: str) -> None:
        with pytest.raises(InputError, match=f"^recipe: .*{said}") as caught:
            Recipe(**{"out": "x", "lsp": "y", **values})
        assert "\n" not in str(caught.value)

    def test_sizes_that_each_detector_takes(self) -> None:
        for detector, size in (("compact", 48), ("resnet", 48), ("fcn", 96), ("hourglass", 192)):
            assert Recipe(out="x", lsp="y", detector=detector, size=size).size == size

    @pytest.mark.parametrize("name", DATASETS)
    def test_any_dataset_will_do(self, name: str) -> None:
        assert getattr(Recipe(out="x", **{name: "y"}), name) == "y"


class TestOwnValues:
    """``own`` and absent values are those of the optimizer and of the detector."""

    @pytest.mark.parametrize(
        ("optimizer", "factor", "decay"),
        [("adam", "cosine", 1e-4), ("sgd", "drops", 5e-4), ("rmsprop", "constant", 0.0)],
    )
    def test_optimizers(self, optimizer: str, factor: str, decay: float) -> None:
        """'SGD ..., decay 5e-4, rate /10 at 70 % and 90 %' (SPEC 1.16)."""
        recipe = Recipe(out="x", lsp="y", optimizer=optimizer)
        assert (recipe.factor, recipe.decay) == (factor, decay)
        other = Recipe(out="x", lsp="y", optimizer=optimizer, schedule="drops", weight_decay=0.5)
        assert (other.factor, other.decay) == ("drops", 0.5)

    @pytest.mark.parametrize(
        ("detector", "drawn", "error"),
        [
            ("compact", "gaussians", "entropy"),
            ("fcn", "disks", "entropy"),
            ("resnet", "disks", "entropy"),
            ("hourglass", "gaussians", "squared"),
        ],
    )
    def test_detectors(self, detector: str, drawn: str, error: str) -> None:
        """'Disc targets for FCN and ResNet; hourglass: 2-D Gaussian, MSE' (SPEC 1.15)."""
        recipe = Recipe(out="x", lsp="y", detector=detector)
        assert (recipe.drawn, recipe.error) == (drawn, error)
        other = Recipe(out="x", lsp="y", detector=detector, target="disks", loss="entropy")
        assert (other.drawn, other.error) == ("disks", "entropy")

    def test_processes(self) -> None:
        assert Recipe(out="x", lsp="y", devices=4, nodes=2).processes == 8

    def test_each_key_is_explained(self) -> None:
        settings = {field.name for field in fields(Settings)}
        for field in fields(Recipe):
            said = Settings.__doc__ if field.name in settings else Recipe.__doc__
            assert f"    {field.name}: " in str(said), field.name


def test_missing_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "nowhere.yaml"]) == 2
    assert "nowhere.yaml" in capsys.readouterr().err


def test_folders_expand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPRIGHTPOSE_DATA", "/d")
    assert folder("$UPRIGHTPOSE_DATA/lsp") == Path("/d/lsp")
    assert folder("~/x") == Path.home() / "x"
