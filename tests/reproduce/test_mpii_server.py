"""The file for MPII's test server, read back as its toolkit reads it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from uprightpose.data.mpii import read_mpii
from uprightpose.reproduce.experiment import reproduce_table
from uprightpose.reproduce.mpii_server import RELEASE, write_predictions
from uprightpose.reproduce.tables import EXPERIMENTS


def struct(rows: list[dict]) -> np.ndarray:
    """Return a MATLAB struct array 1 x n."""
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for at, row in enumerate(rows):
        array[0, at] = tuple(row.values())
    return array


def rectangle(x: float | None) -> dict:
    """Return a person of the test split: a place, or not even that."""
    nothing = np.zeros((0, 0))
    place = nothing if x is None else struct([{"x": x, "y": 30.0}])
    return {"scale": nothing if x is None else 0.3, "objpos": place}


@pytest.fixture
def release(tmp_path) -> Path:
    """Pictures 1 (train), 2 (two people, one without a place), 3 (nobody), 4 (one person)."""
    people = [[rectangle(9.0)], [rectangle(None), rectangle(31.0)], [], [rectangle(33.0)]]
    rows = [
        {
            "image": struct([{"name": f"{number:09d}.jpg"}]),
            "annorect": struct(rects) if rects else [],
        }
        for number, rects in enumerate(people, 1)
    ]
    content = {"annolist": struct(rows), "img_train": np.array([[1, 0, 0, 0]], np.uint8)}
    savemat(tmp_path / RELEASE, {"RELEASE": content})
    return tmp_path / RELEASE


def points_by_id(rectangle) -> dict[int, tuple[float, float]]:
    """Read ``annopoints.point`` as the toolkit's annolist2matrix does."""
    points = rectangle.annopoints.point
    return {int(one.id): (float(one.x), float(one.y)) for one in points}


def test_predictions_lie_where_the_server_looks(release, tmp_path):
    """'pred = annolist_test': all test pictures in order; points by id, from 1."""
    people = [one for one in read_mpii(release) if one.split == "test"]
    assert [one.id for one in people] == [2002, 4001]
    joints = np.random.default_rng(0).uniform(0, 60, (2, 16, 2))
    write_predictions(release, people, joints, tmp_path / "pred.mat")
    found = loadmat(tmp_path / "pred.mat", struct_as_record=False, squeeze_me=False)["pred"][0]
    assert [one.image[0, 0].name[0] for one in found] == [f"{i:09d}.jpg" for i in (2, 3, 4)]
    assert [one.annorect.size for one in found] == [2, 0, 1]
    assert found[0].annorect[0, 0].annopoints.size == 0  # nobody said where this person is
    for rect, pose in ((found[0].annorect[0, 1], joints[0]), (found[2].annorect[0, 0], joints[1])):
        flat = rect.annopoints[0, 0].point[0]
        assert [int(point.id[0, 0]) for point in flat] == list(range(16))
        read = [(point.x[0, 0], point.y[0, 0]) for point in flat]
        assert np.array(read) == pytest.approx(pose + 1)


def test_table_8_writes_a_file_per_row(place, tiny, mpii, release):
    names = [f"{number:09d}.jpg" for number in (2, 4)]
    where = replace(place, times=0.2, out=place.out.with_name("server"))
    report = reproduce_table(EXPERIMENTS["table8"], tiny, where, draws=0)
    section = report.sections["Files for the test server"]
    assert section == f"None: they need `{RELEASE}` in `mpii/`."
    (mpii / RELEASE).write_bytes(release.read_bytes())
    for name in names:
        if not (mpii / "images" / name).is_file():
            (mpii / "images" / name).symlink_to(mpii / "images" / "000000001.jpg")
    report = reproduce_table(EXPERIMENTS["table8"], tiny, where, draws=0)
    section = report.sections["Files for the test server"]
    files = [line.split("`")[1] for line in section.splitlines()]
    assert [line.split(",")[0] for line in section.splitlines()] == [
        "- Hourglass",
        "- Hourglass+Refine",
    ]
    for file in files:
        pred = loadmat(where.out / file, struct_as_record=False, squeeze_me=True)["pred"]
        points = points_by_id(pred[2].annorect)
        assert len(points) == 16
        assert all(np.isfinite(point).all() for point in points.values())
    (mpii / RELEASE).unlink()
