"""COCO keypoints: the official layout, and samples of any dataset through it and back."""

import json
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from uprightpose.data.coco import read_coco, write_coco
from uprightpose.data.flic import read_flic
from uprightpose.data.lsp import PERSON_SHARE, read_lsp, read_lspet
from uprightpose.data.mpii import read_mpii
from uprightpose.data.sample import Sample, State
from uprightpose.errors import InputError
from uprightpose.skeletons import COCO, FLIC, FLIC11, LSP, MPII, SKELETONS

KEYPOINTS = [(10 + i, 20 + 3 * i, 1 + i % 2) for i in range(17)]
KEYPOINTS[4] = (0, 0, 0)
CATEGORY = {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(COCO.joints)}


def annotation(number, image, keypoints=KEYPOINTS, **more):
    fields = {"id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "area": 9.5}
    fields |= {"bbox": [5.5, 6.25, 20.0, 75.6], "num_keypoints": 16, "segmentation": []}
    return fields | {"keypoints": [value for triple in keypoints for value in triple]} | more


def official(path, annotations=None, **changes):
    """Write a file as COCO does, two pictures with numbers of their own."""
    names = ((535506, "000000535506.jpg"), (42, "000000000042.jpg"))
    images = [{"id": n, "file_name": name, "width": 64, "height": 48} for n, name in names]
    content = {"info": {"contributor": "COCO Consortium"}, "licenses": [], "images": images}
    content |= {"annotations": [annotation(7, 42)] if annotations is None else annotations}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | {"categories": [CATEGORY]} | changes))
    return path


def assert_same(found, expected):
    """'read_coco(write_coco(samples)) == samples', joints to 1e-6 px and every state."""
    assert len(found) == len(expected)
    for new, old in zip(found, expected, strict=True):
        assert_allclose(new.joints, old.joints, rtol=0, atol=1e-6)  # NaN where NaN
        assert_array_equal(new.state, old.state)
        for field in fields(Sample):
            if field.name not in ("joints", "state"):
                assert getattr(new, field.name) == getattr(old, field.name), field.name


def sample(skeleton=LSP, image=Path("a.jpg"), **changes):
    """Return a person with every state, partly left of and above the picture."""
    random = np.random.default_rng(2)
    state = np.arange(len(skeleton.joints), dtype=np.uint8) % 3
    joints = random.uniform(-50, 999, size=(len(state), 2)) / 7
    joints[state == State.ABSENT] = np.nan
    known = Sample(image, joints, state, "pc", None, "train", "lsp", 12, skeleton)
    return replace(known, **changes)


class TestOfficialFiles:
    """'images[{id, file_name, width, height}], annotations[{id, image_id, category_id 1, bbox,
    area, iscrowd, num_keypoints, keypoints 51 numbers}], categories' (SPEC 4.6)."""

    def test_joints_are_zero_based_already_and_v_is_the_state(self, tmp_path):
        """'v = 0 not labelled (0,0), 1 labelled but occluded, 2 visible. 0-based'."""
        (person,) = read_coco(official(tmp_path / "a.json"))
        assert person.skeleton == COCO
        assert person.state.tolist() == [v for _, _, v in KEYPOINTS]
        expected = [(x, y) if v else (np.nan, np.nan) for x, y, v in KEYPOINTS]
        assert_allclose(person.joints, expected)

    def test_what_else_is_known(self, tmp_path):
        (person,) = read_coco(official(tmp_path / "a.json"))
        assert (person.id, person.source, person.labels) == (7, "coco", "pc")
        assert person.image.name == "000000000042.jpg"
        assert person.head_size is None

    def test_the_box_shows_the_person_as_in_lsp(self, tmp_path):
        """'side = extent / 0.756' (SPEC 1.18) about the middle of bbox, in edge coordinates."""
        (person,) = read_coco(official(tmp_path / "a.json"))
        x, y, width, height = person.box
        assert_allclose((width, height), 75.6 / PERSON_SHARE)
        assert_allclose((x + width / 2, y + height / 2), (15.5, 44.05))

    def test_crowds_and_people_without_joints_are_left_out(self, tmp_path):
        """'Skip iscrowd'; 'people with no labelled joints'."""
        nothing = [(0, 0, 0)] * 17
        people = [annotation(1, 42, iscrowd=1), annotation(2, 42, nothing), annotation(3, 42)]
        people.append(annotation(4, 42, category_id=18))
        assert [p.id for p in read_coco(official(tmp_path / "a.json", people))] == [3]

    @pytest.mark.parametrize(
        ("file", "folder"),
        [
            ("person_keypoints.json", "images"),
            ("person_keypoints.json", "."),
            ("annotations/person_keypoints_val2017.json", "val2017"),
            ("annotations/person_keypoints_val2017.json", "images/val2017"),
            ("annotations/person_keypoints_val2017.json", "images"),
        ],
    )
    def test_pictures_are_found(self, tmp_path, file, folder):
        official(tmp_path / file)
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "000000535506.jpg").touch()
        assert read_coco(tmp_path)[0].image == tmp_path / folder / "000000000042.jpg"

    def test_without_pictures_the_usual_folder_is_named(self, tmp_path):
        official(tmp_path / "annotations" / "person_keypoints_train2017.json")
        assert read_coco(tmp_path)[0].image.parent == tmp_path / "train2017"

    def test_the_names_of_the_files_say_the_splits(self, tmp_path):
        for split in ("train2017", "val2017"):
            official(tmp_path / "annotations" / f"person_keypoints_{split}.json")
        assert [p.split for p in read_coco(tmp_path)] == ["train", "valid"]
        assert read_coco(official(tmp_path / "a.json"))[0].split == "train"

    @pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
    def test_the_joints_of_the_category_name_the_skeleton(self, tmp_path, skeleton):
        triples = KEYPOINTS[: len(skeleton.joints)]
        category = CATEGORY | {"keypoints": list(skeleton.joints)}
        path = official(tmp_path / "a.json", [annotation(1, 42, triples)], categories=[category])
        assert read_coco(path)[0].skeleton == skeleton


class TestBadFiles:
    def refused(self, path) -> str:
        with pytest.raises(InputError) as caught:
            read_coco(path)
        assert str(path) in str(caught.value)
        return str(caught.value)

    def test_nothing_there(self, tmp_path):
        assert "person_keypoints*.json" in self.refused(tmp_path)
        self.refused(tmp_path / "a.json")

    @pytest.mark.parametrize("content", ["{", "[]", "3", '{"images": []}', '{"categories": 3}'])
    def test_other_json(self, tmp_path, content):
        (tmp_path / "a.json").write_text(content)
        self.refused(tmp_path / "a.json")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"categories": []}, "one category with keypoints, found 0"),
            ({"categories": [CATEGORY, CATEGORY | {"id": 2}]}, "found 2"),
            ({"categories": [CATEGORY | {"keypoints": ["tail", "wing"]}]}, "tail, wing"),
            ({"annotations": [annotation(1, 42, KEYPOINTS[:5])]}, "ValueError"),
            ({"annotations": [annotation(1, 77)]}, "KeyError 77"),
            ({"annotations": [annotation(1, 42, [(1, 2, 0.7)] * 17)]}, "file of predictions"),
            ({"images": [{"id": 3}]}, "file_name"),
        ],
    )
    def test_other_content(self, tmp_path, changes, message):
        assert message in self.refused(official(tmp_path / "a.json", **changes))


class TestThereAndBack:
    @pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
    def test_every_skeleton(self, tmp_path, skeleton):
        people = [sample(skeleton, tmp_path / "a.jpg")]
        write_coco(tmp_path / "a.json", people)
        assert_same(read_coco(tmp_path / "a.json"), people)

    def test_every_field(self, tmp_path):
        first = sample(image=tmp_path / "images" / "b.jpg")
        people = [
            first,
            replace(first, box=(-3.25, 1 / 3, 20.0, 1e-3), id=3, split="test"),
            replace(first, image=tmp_path.parent / "c.jpg", labels="oc", source="mpii"),
            replace(first, head_size=1 / 7, split="valid", id=999001),
            replace(first, joints=first.joints * np.nan, state=first.state * 0),
        ]
        write_coco(tmp_path / "a.json", people)
        assert_same(read_coco(tmp_path / "a.json"), people)

    def test_the_file_may_lie_anywhere(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "out").mkdir()
        for image in (Path("data/images/b.jpg"), Path("b.jpg"), Path("out/b.jpg")):
            write_coco(Path("out/a.json"), [sample(image=image)])
            assert read_coco(Path("out/a.json"))[0].image == image

    def test_is_coco(self, tmp_path):
        """One entry a picture, ``bbox`` always there, triples of zeros where absent."""
        path, image = tmp_path / "a.json", tmp_path / "b.png"
        cv2.imwrite(str(image), np.zeros((30, 50, 3), np.uint8))
        people = [sample(image=image), sample(box=(1, 2, 3, 4.5)), sample(image=image)]
        write_coco(path, people)
        content = json.loads(path.read_text())
        assert content["images"][0] == {"id": 1, "file_name": "b.png", "width": 50, "height": 30}
        assert len(content["images"]) == 2
        assert "width" not in content["images"][1]
        assert [a["image_id"] for a in content["annotations"]] == [1, 2, 1]
        assert [a["id"] for a in content["annotations"]] == [1, 2, 3]
        first, second, _ = content["annotations"]
        assert first["bbox"] == [0, 0, 50, 30]
        assert first["box"] is None
        assert (second["bbox"], second["area"]) == ([1, 2, 3, 4.5], 13.5)
        assert first["keypoints"][:3] == [0, 0, 0]
        assert first["num_keypoints"] == 9
        assert content["categories"][0]["keypoints"] == list(LSP.joints)

    def test_without_a_picture_bbox_is_about_the_joints(self, tmp_path):
        person = sample()
        write_coco(tmp_path / "a.json", [person])
        (annotation,) = json.loads((tmp_path / "a.json").read_text())["annotations"]
        low, high = np.nanmin(person.joints, axis=0), np.nanmax(person.joints, axis=0)
        assert_allclose(annotation["bbox"], (*low, *(high - low + 1)))

    def test_pycocotools_opens_it(self, tmp_path, capsys):
        coco = pytest.importorskip("pycocotools.coco")
        write_coco(tmp_path / "a.json", [sample(), sample(box=(1, 2, 3, 4))])
        assert len(coco.COCO(str(tmp_path / "a.json")).getAnnIds(imgIds=[1])) == 2

    def test_one_skeleton_a_file(self, tmp_path):
        with pytest.raises(InputError, match="one skeleton, found lsp, mpii"):
            write_coco(tmp_path / "a.json", [sample(), sample(MPII)])
        with pytest.raises(InputError, match="found no samples"):
            write_coco(tmp_path / "a.json", [])
        assert not list(tmp_path.iterdir())


class TestRealData:
    def test_coco(self, data_root):
        """50 photos with 227 annotations; those with joints and no crowd are people."""
        folder = data_root / "coco"
        content = json.loads((folder / "person_keypoints.json").read_text())
        assert len(content["annotations"]) == 227
        people = read_coco(folder)
        labeled = [a for a in content["annotations"] if a["num_keypoints"] and not a["iscrowd"]]
        assert [p.id for p in people] == [a["id"] for a in labeled]
        assert sum(int((p.state > 0).sum()) for p in people) == sum(
            a["num_keypoints"] for a in labeled
        )
        assert all(person.image.is_file() for person in people)

    @pytest.mark.parametrize("name", ["lsp", "lspet", "mpii", "flic", "flic11", "coco"])
    def test_there_and_back(self, data_root, tmp_path, name):
        people = {
            "lsp": lambda: read_lsp(data_root / "lsp", "oc"),
            "lspet": lambda: read_lspet(data_root / "lspet")[:2500],
            "mpii": lambda: read_mpii(data_root / "mpii"),
            "flic": lambda: read_flic(data_root / "flic"),
            "flic11": lambda: read_flic(data_root / "flic", layout="flic11")[-1016:],
            "coco": lambda: read_coco(data_root / "coco"),
        }[name]()
        skeletons = {"lspet": LSP, "lsp": LSP, "flic": FLIC, "flic11": FLIC11, "mpii": MPII}
        assert people[0].skeleton == skeletons.get(name, COCO)
        write_coco(tmp_path / "a.json", people)
        assert_same(read_coco(tmp_path / "a.json"), people)
