"""'One flat recipe file per run, read by jsonargparse, unknown keys refused.'"""

from pathlib import Path

import pytest

from uprightpose.cli import main
from uprightpose.train import run
from uprightpose.train.recipe import Recipe, folder

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
    assert differs == ["out", "normalize", "all_steps"]  # compared before fine-tuning


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


def test_missing_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "nowhere.yaml"]) == 2
    assert "nowhere.yaml" in capsys.readouterr().err


def test_folders_expand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPRIGHTPOSE_DATA", "/d")
    assert folder("$UPRIGHTPOSE_DATA/lsp") == Path("/d/lsp")
    assert folder("~/x") == Path.home() / "x"
