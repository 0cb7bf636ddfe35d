"""The same people in two files: by number, by name, by order; and what does not fit."""

from pathlib import Path

import numpy as np
import pytest

from uprightpose.data.joint_files import JointTable
from uprightpose.data.joint_matching import lsp_test, match_people
from uprightpose.errors import InputError

K = 14


class TestLspTest:
    """'images 1001-2000' (SPEC 3.1)."""

    def test_all_or_the_last_thousand(self):
        everyone = np.arange(2000.0)[:, None, None] * np.ones((1, K, 2))
        path = Path("a.mat")
        for joints in (everyone, everyone[1000:]):
            assert (
                lsp_test(JointTable(path, joints)).joints[:, 3, 1] == np.arange(1000, 2000)
            ).all()

    @pytest.mark.parametrize("count", [0, 1, 999, 1001, 1999, 2001, 10000])
    def test_other_counts_are_refused(self, count):
        with pytest.raises(InputError, match=rf"2000 .* found {count} people in a\.mat: give"):
            lsp_test(JointTable(Path("a.mat"), np.zeros((count, K, 2))))

    def test_numbered_pictures_are_found_by_number(self):
        ids = [*range(1500, 2003), *range(990, 1500)]
        names = tuple(f"some/im{number:05d}.png" for number in ids)
        joints = np.array(ids)[:, None, None] * np.ones((1, K, 2))
        found = lsp_test(JointTable(Path("p.json"), joints, names))
        assert (found.joints[:, 0, 0] == range(1001, 2001)).all()
        assert found.images[0] == "some/im01001.png"

    def test_a_thousand_training_pictures_are_not_the_test(self):
        names = tuple(f"im{number:04d}.jpg" for number in range(1, 1001))
        table = JointTable(Path("p.json"), np.zeros((1000, K, 2)), names)
        with pytest.raises(InputError, match=r"found 0 of them in p\.json \(im1001 is missing\)"):
            lsp_test(table)

    def test_names_that_are_not_numbers_leave_the_order(self):
        joints = np.arange(1000.0)[:, None, None] * np.ones((1, K, 2))
        for names in (["a.jpg"] * 1000, ["x/im0001.jpg", *["b/im0001.jpg"] * 999]):
            found = lsp_test(JointTable(Path("p.json"), joints, tuple(names)))
            assert (found.joints == joints).all()


def table(names: str | None, *, path: str = "p.json", count: int = 0) -> JointTable:
    """People of pictures named by single letters; person i is at (i, i)."""
    count = len(names) if names else count
    joints = np.arange(1.0 * count)[:, None, None] * np.ones((1, 3, 2))
    return JointTable(Path(path), joints, tuple(f"d/{n}.jpg" for n in names) if names else None)


class TestMatchPeople:
    def places(self, predicted: JointTable, truth: JointTable) -> list[float]:
        return match_people(predicted, truth).joints[:, 0, 0].tolist()

    def test_by_name_in_the_order_of_the_truth(self):
        assert self.places(table("xcaby"), table("abc")) == [2, 3, 1]

    def test_the_same_names_in_the_same_order_may_repeat(self):
        assert self.places(table("aab"), table("aab")) == [0, 1, 2]

    @pytest.mark.parametrize("names", [(None, None), ("abc", None), (None, "aab")])
    def test_by_order_where_a_file_has_no_names(self, names):
        pair = [table(each, count=3) for each in names]
        assert self.places(*pair) == [0, 1, 2]

    @pytest.mark.parametrize("names", [("ab", "aab"), ("aab", "ab"), ("aba", "aab")])
    def test_several_people_of_one_picture_have_no_name(self, names):
        with pytest.raises(
            InputError, match=r"several of a\.jpg in .*an array in the truth's order"
        ):
            self.places(table(names[0]), table(names[1], path="t.h5"))

    def test_missing_pictures_are_named(self):
        with pytest.raises(
            InputError, match=r"picture of t\.h5, found 2 .* in p\.json, e\.g\. c\.jpg"
        ):
            self.places(table("ab"), table("acbd", path="t.h5"))

    def test_other_counts_are_refused(self):
        with pytest.raises(InputError, match=r"found 4 in p\.json and 3 in t\.mat"):
            self.places(table(None, count=4), table("abc", path="t.mat"))
