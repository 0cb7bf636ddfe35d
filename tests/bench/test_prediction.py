"""Each case runs once, and a contender that finds something else is caught."""

import numpy as np
import pytest
import torch

from uprightpose.bench import prediction
from uprightpose.bench.growth import Growth, growth
from uprightpose.bench.machine import Machine
from uprightpose.bench.timing import compare
from uprightpose.errors import InputError
from uprightpose.score_maps import Decoded
from uprightpose.weights import Settings, build, save_weights

MACHINE = Machine("", 1, 1, 0.0, 1.0, 1.0, {})


@pytest.fixture(autouse=True)
def weights(tmp_path_factory, monkeypatch):
    """A small network in place of the shipped one."""
    settings = Settings(
        trunk="test_resnet", size=64, head_width=8, refine_width=4, kernels=(3, 3, 3)
    )
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(build(settings), settings, path)
    monkeypatch.setattr("uprightpose.predict.SHIPPED", {"compact": path})
    return path


@pytest.fixture(autouse=True)
def _drawn_photos(monkeypatch):
    monkeypatch.delenv("UPRIGHTPOSE_DATA", raising=False)


class TestPredictPhotos:
    def test_parts_and_whole_find_the_same(self):
        outcome = compare(prediction.predict_photos(1, count=9), MACHINE, rounds=1)
        assert outcome.agreement.startswith("9 people, joints agree to ")
        assert len(outcome.comparison.bars) == 2
        assert set(outcome.comparison.bars.values()) == {1 / 1.2}

    def test_other_joints_are_caught(self, monkeypatch):
        listed = prediction._listed_joints
        monkeypatch.setattr(prediction, "_listed_joints", lambda path: listed(path) + 0.1)
        with pytest.raises(InputError, match=r"joints differ by 0\.1"):
            compare(prediction.predict_photos(1, count=3), MACHINE, rounds=1)

    def test_people_that_are_missing_are_caught(self):
        with pytest.raises(AssertionError, match="found 2 people and 3"):
            prediction._same_joints({"a": np.zeros((3, 4, 2)), "b": np.zeros((2, 4, 2))})

    def test_real_photos_are_taken_where_they_are(self, data_root, tmp_path, monkeypatch):
        monkeypatch.setenv("UPRIGHTPOSE_DATA", str(data_root))
        photos, boxes, kind = prediction._photos(tmp_path, 60)
        assert (len(photos), kind) == (60, "photos of COCO")
        assert {len(boxes[photo]) for photo in photos} == {1}


class TestParts:
    @pytest.mark.parametrize("case", list(prediction.CASES.values())[1:])
    def test_outputs_agree(self, case):
        outcome = compare(case(threads=1), MACHINE, rounds=1)
        assert "equal to" in outcome.agreement or "agree to" in outcome.agreement

    def test_other_maps_are_caught(self):
        comparison = prediction.refinement(1, batch=2)
        right = {name: work() for name, work in comparison.contenders.items()}
        wrong = {k: v + 0.01 for k, v in right["detector"].items()}
        with pytest.raises(AssertionError, match=r"differ by 0\.01"):
            comparison.check({**right, "detector": wrong})
        other = Decoded(right["refinement"].joints, right["refinement"].scores + 0.02)
        with pytest.raises(AssertionError, match=r"differ by 0\.02"):
            comparison.check({**right, "refinement": other})

    def test_another_layout_that_finds_other_joints_is_caught(self):
        comparison = prediction.channels_last(1, batch=2)
        outputs = {name: work() for name, work in comparison.contenders.items()}
        outputs["contiguous"]["limbs"].scores.add_(0.2)
        with pytest.raises(AssertionError, match=r"peaks of the score maps differ by 0\.2"):
            comparison.check(outputs)

    def test_a_format_that_finds_other_joints_is_caught(self):
        comparison = prediction.bf16(1, batch=2)
        outputs = {name: work() for name, work in comparison.contenders.items()}
        outputs["bf16"]["limbs"].scores.add_(0.2)
        with pytest.raises(AssertionError, match=r"peaks of the score maps differ by 0\.2"):
            comparison.check(outputs)


@pytest.mark.slow
class TestGrowth:
    def test_sizes_are_measured_in_processes_of_their_own(self, weights):
        found = growth(1, sizes=(1, 3), weights=str(weights))
        assert [(one.of, one.number) for one in found] == [
            ("people", 1), ("people", 3), ("pictures", 1), ("pictures", 3),
        ]  # fmt: skip
        for one in found:
            assert isinstance(one, Growth)
            assert one.each == pytest.approx(1000 * one.seconds / one.number)
            assert one.megabytes > one.above >= 0
        assert torch.get_num_threads() >= 1
