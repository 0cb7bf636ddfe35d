"""The README is true: its Python runs as it stands, its links lead somewhere."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_snippets_run(snippet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    given = {
        "my_detector": lambda images: torch.rand(len(images), 15, 24, 32),
        "images": torch.rand(2, 3, 96, 128),
        "crops": np.zeros((3, 128, 128, 3), np.uint8),
        "detect": lambda crops: (np.ones((len(crops), 14, 2)), np.full((len(crops), 14), 0.5)),
    }
    exec(compile(snippet, "README.md", "exec"), given)


def test_there_are_snippets_for_both_programmers() -> None:
    assert len(SNIPPETS) >= 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), link


SHIPPED_ROWS = {
    "its detector alone": "compact: detector",
    "+ body normalization and refinement": "compact: body",
    "+ limbs: **the shipped model**": "compact: limbs",
    "mirrored looks, too (`--mirrored`): detector": "compact, mirrored: detector",
    "mirrored looks, too (`--mirrored`): + limbs": "compact, mirrored: limbs",
    "before it went on at 176 pixels, on 128: detector": "at-128: detector",
    "before it went on at 176 pixels, on 128: + limbs": "at-128: limbs",
}
"""Rows of the README's and the card's table, and those of the page that they are taken from."""


@pytest.mark.parametrize("title", SHIPPED_ROWS)
def test_the_tables_hold_the_measured_numbers(title: str) -> None:
    report = json.loads((ROOT / "docs/results/compact.json").read_text())
    natural, turned = report["natural"]["tables"], report["turned"]["tables"]
    row = SHIPPED_ROWS[title]
    found = natural["all"][row]
    low, high = found["intervals"]["Total"]
    numbers = [
        f"{found['scores']['Total']:.2f} [{low:.2f}, {high:.2f}]",
        f"{found['scores']['AUC']:.2f}",
        *(f"{natural[angle][row]['scores']['Total']:.2f}" for angle in list(natural)[1:]),
        *(f"{turned[angle][row]['scores']['Total']:.2f}" for angle in ("all", "90-180")),
    ]
    line = f"| {title} | {' | '.join(numbers)} |"
    card = ROOT / "src/uprightpose/shipped/compact.md"
    for page in (ROOT / "README.md", card):
        assert line in page.read_text(), page.name


RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_recipes_name_pages_that_are_there(recipe: Path) -> None:
    for page in re.findall(r"docs/results/[\w-]+\.md", recipe.read_text()):
        assert (ROOT / page).is_file(), page


RIVALS = {
    "the detector alone": "detector, within 30 degrees",
    "picture turned by its own angle, detected again": "picture uprighted by the detector's own "
    "angle, detected again",
    "best of 4 turned copies": "best of 4 turns",
    "mean of 4 turned copies": "mean of 4 turns",
    "detector trained over the full circle instead": "detector trained over the full circle",
    "the same on larger pictures, 176 pixels for 128": "the same on 176-pixel pictures",
    "**scout**: turned once": "picture uprighted by the scout's angle",
    "**scout**, weakest looked at again": "uprighted, the weakest looked at again",
    "**scout**, weak ones looked at again (`look_upright`)": "uprighted, weak ones looked at again",
    "the same, maps refined without normalization": "uprighted, weak ones looked at again, refined "
    "without normalization",
    "the same, maps refined with normalization": "uprighted, weak ones looked at again, body and "
    "limbs refined",
    "*turned by the true angle (upper bound)*": "picture uprighted by the true angle",
}
"""Rows of the README's table of rivals, and those of the page that it is taken from."""


@pytest.mark.parametrize("row", RIVALS)
def test_the_table_of_rivals_holds_the_measured_numbers(row: str) -> None:
    measured = json.loads((ROOT / "docs/results/rivals.json").read_text())["variants"][RIVALS[row]]
    natural, turned = measured["natural"], measured["turned"]

    def total(copy: dict[str, Any]) -> float:
        return float(np.mean([seed["Total"] for seed in copy["seeds"]]))

    wanted = [
        f"{total(natural):.2f}",
        *(f"{value:.1f}" for value in natural["Total by angle"].values()),
        f"{total(turned):.2f}",
        f"{turned['Total by angle']['90-180']:.1f}",
    ]
    (line,) = [
        line
        for line in (ROOT / "README.md").read_text().splitlines()
        if line.startswith(f"| {row} |")
    ]
    assert [cell.strip() for cell in line.split("|")[3:-1]] == wanted


def test_the_shipped_weights_are_small() -> None:
    for weights in (ROOT / "src/uprightpose/shipped").glob("*.safetensors"):
        assert weights.stat().st_size <= 20_000_000
