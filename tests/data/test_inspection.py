"""What is in a dataset, and what in it needs a look."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from uprightpose.data.folders import read_folder
from uprightpose.data.inspection import (
    as_json,
    format_inspection,
    inspect_samples,
    suspicious_sides,
)
from uprightpose.data.sample import Sample, State
from uprightpose.errors import InputError
from uprightpose.frames import apply_affine, crop_matrix
from uprightpose.skeletons import COCO, LSP

NECK, HEAD = LSP.joints.index("neck"), LSP.joints.index("head_top")


def person(angle=0.0, image=Path("none.jpg"), **changes):
    """Return a body that faces us, 40 pixels from hips to shoulders, turned by degrees."""
    rows = {"shoulder": 40, "elbow": 55, "wrist": 70, "hip": 80, "knee": 110, "ankle": 140}
    rows |= {"neck": 35, "head_top": 15}
    joints = np.zeros((14, 2))
    for index, name in enumerate(LSP.joints):
        side, _, part = name.partition("_")
        across = {"left": 10, "right": -10}.get(side, 0)
        joints[index] = 100 + across, rows.get(part, rows.get(name, 0))
    turn = crop_matrix((0, 0, 200, 200), 200, angle=np.radians(angle))
    state = np.full(14, State.VISIBLE, dtype=np.uint8)
    known = Sample(image, apply_affine(turn, joints), state, "pc", None, "train", "lsp", 1)
    return replace(known, **changes)


def exchanged(sample, names=("shoulder", "elbow", "wrist")):
    """Return the person with some sides named the other way round."""
    order = [
        LSP.mirror[i] if name.partition("_")[2] in names else i for i, name in enumerate(LSP.joints)
    ]
    return replace(sample, joints=sample.joints[order])


class TestCounts:
    def test_people_pictures_and_splits(self):
        people = [person(), person(), person(image=Path("b.jpg"), split="test")]
        found = inspect_samples(people)
        assert (found.people, found.pictures) == (3, 2)
        assert found.splits == {"train": 2, "test": 1}
        assert (found.source, found.skeleton, found.labels) == ("lsp", "lsp", "pc")

    def test_absent_and_occluded_joints(self):
        people = [person() for _ in range(3)]
        for sample in people[:2]:
            sample.state[NECK] = State.ABSENT
            sample.joints[NECK] = np.nan
        people[2].state[[3, NECK]] = State.OCCLUDED
        found = {joint.name: joint for joint in inspect_samples(people).joints}
        assert list(found) == list(LSP.joints)
        assert (found["neck"].absent, found["neck"].occluded) == (2, 1)
        assert (found["left_hip"].absent, found["left_hip"].occluded) == (0, 1)
        assert (found["head_top"].absent, found["head_top"].occluded) == (0, 0)

    def test_joints_outside_their_pictures(self, tmp_path):
        """A picture of width w spans [0, w] in edge coordinates: to w - 0.5 in pixels."""
        image = tmp_path / "a.jpg"
        cv2.imwrite(str(image), np.zeros((150, 200, 3), np.uint8))
        places = {0: (199.4, 149.4), 1: (199.6, 10), 2: (10, 149.6), 3: (-0.4, -0.4)}
        places |= {4: (-0.6, 5), 5: (5, -0.6), 6: (np.nan, np.nan), 7: (160, 10), 8: (10, 160)}
        joints = person().joints
        joints[list(places)] = list(places.values())
        found = inspect_samples([person(image=image, joints=joints)])
        assert [i for i, joint in enumerate(found.joints) if joint.outside] == [1, 2, 4, 5, 8]

    def test_pictures_that_are_missing_or_none(self, tmp_path):
        (tmp_path / "bad.jpg").write_text("no picture")
        cv2.imwrite(str(tmp_path / "good.png"), np.zeros((200, 200, 3), np.uint8))
        names = ("gone.jpg", "gone.jpg", "bad.jpg", "good.png")
        found = inspect_samples([person(image=tmp_path / name) for name in names])
        assert found.missing_pictures == ("gone.jpg",)
        assert found.bad_pictures == ("bad.jpg",)

    def test_tiny_torsos(self):
        """'|l.sho - r.hip| <= 8 px'."""
        small, limit = person(image=Path("s.jpg")), person(image=Path("l.jpg"))
        above = person(image=Path("a.jpg"))
        for sample, length in ((small, 3.0), (limit, 8.0), (above, 8.01)):
            sample.joints[LSP.reference[1]] = sample.joints[LSP.reference[0]] + (0, length)
        assert inspect_samples([person(), small, above, limit]).small_torsos == ("s.jpg", "l.jpg")

    def test_body_angles(self):
        """'bins 0-30-60-90-135-180', of the size of the angle."""
        people = [person(angle) for angle in (0, -29, 31, -61, 89, 91, -134, 136, -179.9, 180)]
        headless = person()
        headless.joints[NECK] = np.nan
        found = inspect_samples([*people, headless])
        assert list(found.angles.values()) == [2, 1, 2, 2, 3]
        assert list(found.angles) == ["0-30", "30-60", "60-90", "90-135", "135-180"]
        assert found.without_angle == 1

    def test_nobody(self):
        with pytest.raises(InputError, match="found none"):
            inspect_samples([])

    def test_people_without_any_joint(self):
        """MPII's test people: their labels are withheld."""
        empty = person(joints=np.full((14, 2), np.nan), state=np.zeros(14, np.uint8))
        found = inspect_samples([empty, person()])
        assert {joint.absent for joint in found.joints} == {1}
        assert found.without_angle == 1
        assert "unknown" in format_inspection(inspect_samples([empty]))


class TestSuspiciousSides:
    def told(self, sample, labels="pc"):
        return suspicious_sides(sample.joints[None], sample.skeleton, labels).tolist()[0]

    @pytest.mark.parametrize("angle", [0, 50, 100, 180, -110])
    def test_arms_or_legs_exchanged_alone(self, angle):
        legs = ("hip", "knee", "ankle")
        assert not self.told(person(angle))
        assert self.told(exchanged(person(angle)))
        assert self.told(exchanged(person(angle), legs))
        assert not self.told(exchanged(exchanged(person(angle)), legs))  # seen from behind

    @pytest.mark.parametrize("narrow", [LSP.torso[:2], LSP.torso[2:]])
    def test_narrow_shoulders_or_hips_tell_nothing(self, narrow):
        """20 px apart are clear at a torso of 40 px; 7 px are not."""
        sample, pair = exchanged(person()), list(narrow)
        middle = sample.joints[pair].mean(axis=0)
        sample.joints[pair] = middle + (sample.joints[pair] - middle) * 0.35
        assert not self.told(sample)

    def test_observer_centric_labels_have_left_on_the_viewers_right(self):
        assert not self.told(person(120), "oc")
        assert self.told(exchanged(person(120)), "oc")
        assert self.told(exchanged(person(120), ("hip",)), "oc")

    @pytest.mark.parametrize("labels", ["pc", "oc"])
    def test_without_a_torso_nothing_is_suspicious(self, labels):
        sample = exchanged(person())
        sample.joints[LSP.torso[0]] = np.nan
        assert not self.told(sample, labels)
        assert not self.told(person(joints=np.zeros((14, 2))), labels)

    def test_other_skeletons(self):
        joints = np.zeros((17, 2))
        joints[list(COCO.torso)] = [(9, 0), (0, 0), (0, 20), (9, 20)]  # hips exchanged
        assert suspicious_sides(joints[None], COCO, "pc").tolist() == [True]

    def test_are_named(self):
        bad = exchanged(person(image=Path("im0007.jpg")))
        assert inspect_samples([person(), bad]).suspicious_sides == ("im0007.jpg",)


class TestReport:
    def test_json_has_all(self):
        content = json.loads(json.dumps(as_json(inspect_samples([person()]))))
        assert content["people"] == 1
        assert content["joints"][NECK] == {
            "name": "neck",
            **{"absent": 0, "occluded": 0, "outside": 0},
        }

    def test_text_says_the_numbers(self):
        people = [person(image=Path(f"im{i}.jpg")) for i in range(8)]
        people[0].state[HEAD] = State.OCCLUDED
        text = format_inspection(inspect_samples(people))
        lines = {line[:17].strip(): line[17:].split() for line in text.splitlines()}
        assert lines["head_top"] == ["0", "0.0", "%", "1", "12.5", "%", "0", "0.0", "%"]
        assert " ".join(lines["people"]) == "8 in 8 pictures: train 8"
        assert " ".join(lines["missing pictures"]) == "8 (im0.jpg, im1.jpg, im2.jpg ...)"
        assert lines["0-30"] == ["8", "100.0", "%"]


class TestRealData:
    def test_lsp(self, data_root):
        """'Tiny torsos: images 1185 (2.6 px), 936 (5.1)'; 7.3 % occluded (SPEC 4.1)."""
        found = inspect_samples(read_folder(data_root / "lsp"))
        assert found.small_torsos == ("im0936.jpg", "im1185.jpg")
        assert round(sum(j.occluded for j in found.joints) / 28000, 3) == 0.073
        assert sum(j.outside for j in found.joints) <= 1
        assert found.missing_pictures == found.bad_pictures == ()
        assert len(found.suspicious_sides) == 20

    def test_mpii(self, data_root):
        """'share with |theta| > 30 degrees: MPII 14.1 %; > 90: 1.9 %' (SPEC 5.2)."""
        found = inspect_samples(read_folder(data_root / "mpii"))
        known = found.people - found.without_angle
        beyond = np.cumsum(list(found.angles.values())[::-1])[::-1] / known
        assert abs(beyond[1] - 0.141) < 0.002
        assert abs(beyond[3] - 0.019) < 0.001
        assert len(found.missing_pictures) == found.pictures
