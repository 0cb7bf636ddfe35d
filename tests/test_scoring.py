"""Files that fit a protocol, whose pictures are known, and some of their people."""

import h5py
import numpy as np
import pytest

from uprightpose.errors import InputError
from uprightpose.protocols import PROTOCOLS
from uprightpose.scoring import choose_labels, read_joints


@pytest.fixture
def files(tmp_path):
    """Predictions and truth of 12 people in 4 pictures, heads of 10 to 21 pixels."""
    truth = np.random.default_rng(0).integers(5, 300, (12, 16, 2)) * 1.0
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["part"], file["normalize"] = truth, np.arange(12.0) + 10
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["preds"] = truth + np.array([0, 7])  # within half a head from the sixth on
        file["imgname"] = np.repeat([b"d.jpg", b"c.jpg", b"b.jpg", b"a.jpg"], 3)
    return tmp_path / "p.h5", tmp_path / "t.h5"


def read(files, name: str = "mpii-valid"):
    protocol = PROTOCOLS[name]
    return read_joints([files[0]], files[1], protocol, protocol.labels[0], None)


def test_pictures_may_be_named_by_either_file(files):
    assert read(files).images.tolist() == [3, 3, 3, 2, 2, 2, 1, 1, 1, 0, 0, 0]
    assert read((files[1], files[1])).images is None


def test_some_people_keep_their_own_heads_and_pictures(files):
    joints = read(files)
    heads = np.arange(12) + 10
    mean = joints.scores(0).tables[0].scores["Mean"]
    assert mean == pytest.approx(100 * (heads / 2 > 7).mean())
    who = heads < 16
    (some,) = joints.scores(0, who).tables
    assert (some.people, some.images) == (6, 2)
    assert some.scores["Mean"] == pytest.approx(100 * 1 / 6)


def test_two_models_have_a_difference(files):
    protocol = PROTOCOLS["mpii-official"]
    scores = read_joints([files[1], files[0]], files[1], protocol, "pc", None).scores(9)
    first, second = (table.scores["Knee"] for table in scores.tables)
    assert scores.difference["Knee"].value == first - second > 0


@pytest.mark.parametrize("name", PROTOCOLS)
def test_labels_are_the_protocols_or_chosen(name):
    protocol = PROTOCOLS[name]
    for labels in protocol.labels:
        assert choose_labels(protocol, labels) == labels
    for labels in {"pc", "oc", None} - set(protocol.labels):
        if labels is None and len(protocol.labels) == 1:
            assert choose_labels(protocol, None) == protocol.labels[0]
        else:
            with pytest.raises(InputError, match=f"protocol {name}: expected --labels"):
                choose_labels(protocol, labels)


def test_truth_must_have_heads(files):
    with pytest.raises(InputError, match=r"expected head boxes .* in .*p\.h5"):
        read(files[::-1])
