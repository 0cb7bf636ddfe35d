"""The published protocols, against scripts written as their authors wrote them, and real data."""

import warnings

import numpy as np
import pytest

from uprightpose.data.joint_files import read_predictions, read_truth
from uprightpose.protocols import PROTOCOLS, limits
from uprightpose.skeletons import FLIC, LSP, MPII
from uprightpose.tables import pck_table

TOMPSON = "mpii/tompson_valid_gt_and_pred.mat"
PARTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
NOT_COUNTED = [MPII.joints.index(name) for name in ("pelvis", "thorax")]


def on_edges(count: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """MPII truth with missing joints, predictions on whole pixels, head sizes 10 or 20.

    Distances are whole multiples of a twentieth of the head: a tenth of them on an edge.
    """
    random = np.random.default_rng(0)
    truth = random.integers(0, 400, (count, 16, 2)) * 1.0
    truth[random.random((count, 16)) < 0.2] = np.nan
    truth[:200, 0] = np.nan  # ankles are missing most
    predicted = np.nan_to_num(truth)
    predicted[..., 0] += random.integers(-11, 12, (count, 16))
    predicted[random.random((count, 16)) < 0.05] = np.nan
    return predicted, truth, random.choice([10.0, 20.0], count)


def side(name: str) -> list[int]:
    return [MPII.joints.index(f"{which}_{name}") for which in ("left", "right")]


def validation_script(predicted, truth, heads) -> dict[str, np.ndarray]:
    """'open ball, Head = head top only', after eval_PCKh.py: PCKh of 16 joints, and counts."""
    error = np.linalg.norm(np.nan_to_num(predicted, nan=1e9) - truth, axis=2).T / heads
    visible = ~np.isnan(truth[..., 0]).T
    counts = visible.sum(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pckh = {
            limit: 100.0 * ((error < limit) & visible).sum(axis=1) / counts
            for limit in (0.5, 0.1, 0.11)
        }
    counts[NOT_COUNTED] = 0
    return {"pckh": pckh, "ratio": counts / counts.sum()}


def table(name: str, predicted, truth, heads):
    return pck_table(predicted, truth, PROTOCOLS[name], "pc", lengths=heads)


class TestMpii:
    """'official: closed ball ...'; 'validation scripts: open ball ...' (SPEC 3.2)."""

    def test_validation_is_the_plain_mean_of_14_joints(self):
        files = on_edges()
        pckh = validation_script(*files)["pckh"][0.5]
        expected = [pckh[9], *(pckh[side(part)].mean() for part in PARTS)]
        expected.append(np.delete(pckh, NOT_COUNTED).mean())
        found = table("mpii-valid", *files)
        assert list(found.scores) == ["Head", *(part.capitalize() for part in PARTS), "Mean"]
        assert list(found.scores.values()) == pytest.approx(expected)

    def test_hrnet_weighs_by_count_and_says_which_tenth(self):
        """'Trap: HRNet's "Mean@0.1" reads index 11 (0.11); mmpose index 10.'"""
        files = on_edges()
        script = validation_script(*files)
        found = table("mpii-hrnet", *files).scores
        for title, limit in (("Mean", 0.5), ("Mean@0.1", 0.1), ("Mean@0.11", 0.11)):
            assert found[title] == pytest.approx((script["pckh"][limit] * script["ratio"]).sum())
        assert found["Mean"] != pytest.approx(table("mpii-valid", *files).scores["Mean"], abs=0.1)
        assert found["Mean@0.1"] != found["Mean@0.11"]
        assert found["Head"] == table("mpii-valid", *files).scores["Head"]

    def test_official_pools_a_closed_ball(self):
        predicted, truth, heads = files = on_edges()
        error = np.linalg.norm(np.nan_to_num(predicted, nan=1e9) - truth, axis=2) / heads[:, None]
        error = np.where(np.isnan(truth[..., 0]), np.nan, error)
        error[:, NOT_COUNTED] = np.nan

        def pooled(joints: list[int], limit: float = 0.5) -> float:
            some = error[:, joints]
            return 100 * (some[~np.isnan(some)] <= limit).mean()

        found = table("mpii-official", *files).scores
        everyone = list(range(16))
        assert found["Total"] == pytest.approx(pooled(everyone))
        assert found["Head"] == pytest.approx((pooled([8]) + pooled([9])) / 2)
        upper = [joint for part in ("wrist", "elbow", "shoulder") for joint in side(part)]
        assert found["Upper"] == pytest.approx(pooled(upper))
        curve = [pooled(everyone, step / 100) for step in range(51)]
        assert found["AUC"] == pytest.approx(np.trapezoid(curve) / 50)

    @pytest.mark.parametrize(("name", "right"), [("official", 100.0), ("valid", 0), ("hrnet", 0)])
    def test_an_exact_half_is_in_the_closed_ball_only(self, name, right):
        truth = np.zeros((3, 16, 2))
        found = table(f"mpii-{name}", truth + np.array([3, 4]), truth, np.full(3, 10.0))
        assert found.scores["Knee"] == right
        assert PROTOCOLS[f"mpii-{name}"].radius.endswith("included" if right else "excluded")

    @pytest.mark.parametrize("name", ["mpii-official", "mpii-valid", "mpii-hrnet"])
    @pytest.mark.parametrize("joint", NOT_COUNTED)
    def test_pelvis_and_thorax_are_never_counted(self, name, joint):
        truth = on_edges()[1]
        predicted = np.nan_to_num(truth)
        predicted[:, joint] += 1000
        found = table(name, predicted, truth, np.full(len(truth), 10.0))
        assert set(found.scores.values()) <= {100.0}
        assert found.joints == (~np.isnan(np.delete(truth, NOT_COUNTED, axis=1)[..., 0])).sum()

    def test_published_numbers_of_tompson_et_al(self, data_root):
        """'valid protocol 95.60 92.71 83.36 76.74 81.93 73.36 65.45, mean 81.46' (SPEC 8.1)."""
        path = data_root / TOMPSON
        truth, predicted = read_truth(path, MPII, "pc"), read_predictions(path, MPII, "pc")
        scores = table("mpii-valid", predicted.joints, truth.joints, truth.lengths).scores
        expected = [95.60, 92.71, 83.36, 76.74, 81.93, 73.36, 65.45, 81.46]
        assert [round(score, 2) for score in scores.values()] == expected


class TestFlic:
    """'elbow and wrist are means over the two sides. Head = mean(nose, neck)' (SPEC 3.3)."""

    @pytest.mark.parametrize("name", FLIC.joints)
    def test_a_joint_off_costs_its_group_half(self, name):
        truth = np.random.default_rng(0).integers(0, 90, (4, 10, 2)) * 1.0
        predicted = truth.copy()
        predicted[:, FLIC.joints.index(name)] += 1000
        scores = pck_table(predicted, truth, PROTOCOLS["flic"], "oc").scores
        group = "Head" if name in ("nose", "neck") else name.split("_")[1].capitalize()
        assert {title for title, score in scores.items() if score == 50} == {group}
        assert (scores["Total"], scores["AUC"]) == pytest.approx((90, 90))

    def test_reference_is_left_shoulder_to_right_hip_and_the_ball_closed(self):
        truth = np.zeros((2, 10, 2))
        truth[:, FLIC.joints.index("left_shoulder")] = (30, 40)
        exact = pck_table(truth + np.array([10, 0]), truth, PROTOCOLS["flic"], "oc")
        beyond = pck_table(truth + np.array([10.001, 0]), truth, PROTOCOLS["flic"], "oc")
        for title in ("Wrist", "Head", "Total"):
            assert (exact.scores[title], beyond.scores[title]) == (100, 0)
        assert exact.scores["AUC"] == pytest.approx(2.5)  # the last of twenty trapezoids, half


class TestRows:
    """'State the protocol with every number' (SPEC 3.2)."""

    def test_limits_are_the_floats_of_their_decimals(self):
        assert limits(0.2) == tuple(float(f"0.{k:02d}") for k in range(21))
        assert len(limits(0.5)) == 51
        assert limits(0.5)[-1] == 0.5

    def test_names_are_keys_and_count_the_joints_they_say(self):
        assert list(PROTOCOLS) == [
            "lsp",
            "flic",
            "mpii-official",
            "mpii-valid",
            "mpii-hrnet",
            "coco",
        ]
        assert all(name == row.name for name, row in PROTOCOLS.items())
        counts = {name: len(row.joints) for name, row in PROTOCOLS.items()}
        assert counts == {
            "lsp": 14,
            "flic": 10,
            "mpii-official": 14,
            "mpii-valid": 14,
            "mpii-hrnet": 14,
            "coco": 0,
        }
        assert PROTOCOLS["lsp"].skeleton is LSP

    def test_coco_asks_for_ten_similarities(self):
        assert len(PROTOCOLS["coco"].threshold) == 10
        assert PROTOCOLS["coco"].radius.startswith("OKS 0.5, 0.55, ")
