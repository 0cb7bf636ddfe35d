"""Figure 5: four panels per picture."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from uprightpose.data.lsp import read_lsp
from uprightpose.reproduce import panels
from uprightpose.reproduce.experiment import reproduce_table
from uprightpose.reproduce.panels import PANELS, reproduce_panels, turned_people
from uprightpose.reproduce.tables import EXPERIMENTS


@pytest.fixture(scope="module")
def trained(place, tiny):
    """The networks of Table 9."""
    reproduce_table(EXPERIMENTS["table9"], tiny, place, draws=0)
    return place


def test_panels_are_rows_of_table_9():
    """'FCN; refinement without normalization; after stage 1; after stage 2' (SPEC 2.2)."""
    titles = [row.title for row in EXPERIMENTS["table9"].rows]
    assert list(PANELS.values()) == [titles[0], titles[1], titles[2], titles[4]]


def test_given_pictures_are_drawn_with_trained_networks(trained, tiny, monkeypatch):
    monkeypatch.setattr("uprightpose.train.run.train", None)  # nothing is left to train
    images = trained.data / "lsp" / "images"
    report = reproduce_panels(tiny, trained, [images / "im0003.jpg", images / "im0005.jpg"])
    drawn = cv2.imdecode(np.frombuffer(report.picture, np.uint8), cv2.IMREAD_COLOR)
    height, width, _ = drawn.shape
    assert width > 4 * height / 2 * 0.7  # two rows of four panels, each about as wide as high
    assert list(report.numbers["pictures"]) == ["im0003.jpg", "im0005.jpg"]
    assert all(list(row) == list(PANELS) for row in report.numbers["pictures"].values())


def test_the_default_is_test_pictures_of_turned_people(trained, tiny):
    report = reproduce_panels(tiny, trained)
    assert set(report.numbers["pictures"]) <= {f"im{number:04d}.jpg" for number in range(9, 13)}


def test_it_trains_what_is_not_there(place, tiny, tmp_path, monkeypatch):
    where = replace(place, out=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(panels, "PANELS", {"detector": "FCN"})
        reproduce_panels(tiny, where)
    assert [path.name.split("-")[1] for path in (tmp_path / "runs").iterdir()] == ["detector"]


def test_wanted_angles_are_found(data_root):
    people = [one for one in read_lsp(data_root / "lsp", "oc") if one.split == "test"]
    assert len(set(turned_people(people))) == 4
