"""Tables of every stage, by body angle, on natural and on turned pictures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from uprightpose.cli import main
from uprightpose.data import lsp
from uprightpose.data.lsp import read_lsp
from uprightpose.data.sample import Sample
from uprightpose.errors import InputError
from uprightpose.evaluate import (
    Network,
    evaluate,
    format_report,
    held_out,
    protocol_of,
    report_json,
)
from uprightpose.frames import Crop
from uprightpose.metrics import body_angle
from uprightpose.model import PoseNet
from uprightpose.sample_predictions import READINGS, predict_samples, turn_angles
from uprightpose.skeletons import LSP
from uprightpose.weights import Settings, build, load_weights, save_weights

SETTINGS = Settings(
    size=64, trunk="resnet10t", head_width=4, refine_width=3, kernels=(3, 3, 3), last="body"
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(build(SETTINGS), SETTINGS, path)
    return path


@pytest.fixture(scope="module")
def network(weights: Path) -> Network:
    return load_weights(weights)


@pytest.fixture
def samples(stick_figures: Path) -> list[Sample]:
    return read_lsp(stick_figures)


class Oracle(torch.nn.Module):
    """A detector that knows where the joints of the next crops are."""

    stride = 4
    mapping = "sigmoid"

    def __init__(self, joints: torch.Tensor) -> None:
        super().__init__()
        self.joints, self.seen = joints, 0
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        from uprightpose.score_maps import encode_gaussians, with_background

        joints = self.joints[self.seen : self.seen + len(images)]
        self.seen += len(images)
        maps = with_background(encode_gaussians(joints, (16, 16)))
        return {"maps": torch.logit(maps, eps=1e-6)}


class TestPredictSamples:
    def test_all_readings_are_tried_below(self) -> None:
        assert set(READINGS) == {"parabola", "gaussian", "paper", "quarter"}

    @pytest.mark.parametrize("turned", [False, True])
    @pytest.mark.parametrize(
        ("reading", "error"),
        [("parabola", 0.5), ("gaussian", 0.3), ("paper", 0.75), ("quarter", 1.6)],
    )
    def test_cells_lead_back_to_the_picture(
        self, samples: list[Sample], turned: bool, reading: str, error: float
    ) -> None:
        from uprightpose.frames import apply_affine, crop_matrix, image_to_map

        turns = turn_angles(len(samples)) if turned else np.zeros(len(samples))
        # the sticks' pictures are 60 wide and 64 high
        cells = [
            image_to_map(
                apply_affine(crop_matrix((0, 0, 60, 64), 64, angle=float(turn)), s.joints), 4
            )
            for turn, s in zip(turns, samples, strict=True)
        ]
        model = PoseNet(LSP, Oracle(torch.tensor(np.stack(cells)).float()))
        found = predict_samples(
            model, Crop(64), samples, turns if turned else None, batch=5, reading=reading
        )
        inside = (np.stack(cells) > 2).all(-1) & (np.stack(cells) < 13).all(-1)
        distance = np.linalg.norm(found.joints["detector"] - found.truth, axis=-1)
        assert inside.mean() > 0.5
        assert distance[inside].max() < error  # of pixels; a cell has 4
        if not turned:
            np.testing.assert_allclose(found.truth, np.stack([s.joints for s in samples]))

    def test_turned_truth_is_turned_about_the_middle(self, samples: list[Sample]) -> None:
        turns = np.full(len(samples), 0.3)
        model = build(SETTINGS).eval()
        turned = predict_samples(model, Crop(64), samples, turns).truth
        truth = np.stack([s.joints for s in samples])
        change = body_angle(turned, LSP) - body_angle(truth, LSP)
        np.testing.assert_allclose(change, -0.3, atol=1e-9)  # what is left to turn back
        middle = np.array([29.5, 31.5])
        np.testing.assert_allclose(
            np.linalg.norm(turned - middle, axis=-1), np.linalg.norm(truth - middle, axis=-1)
        )

    def test_the_turns_are_the_same_for_ever(self) -> None:
        angles = turn_angles(1000)
        np.testing.assert_allclose(angles[:2], turn_angles(2))
        assert -np.pi <= angles.min() < -3.1
        assert 3.1 < angles.max() <= np.pi


class TestReport:
    def test_rows_and_pairs(self, network: Network, samples: list[Sample]) -> None:
        report = evaluate({"a": network, "b": network}, samples, draws=20)
        natural = report["natural"]
        rows = ["a: detector", "a: body", "b: detector", "b: body"]
        assert list(natural["tables"]["all"]) == rows
        differences = natural["differences"]["all"]
        assert set(differences) == {
            "a: body - a: detector",
            "b: body - b: detector",
            "a: body - b: body",
        }
        assert differences["a: body - b: body"]["Total"] == (0, 0, 0, 1, 1)  # the same weights
        text = format_report(report)
        assert "turned pictures, all people" in text
        assert "true body angle 30-90 degrees" in text
        assert "left shoulder - right hip" in text
        assert "0.2 reference lengths, included" in text
        assert json.loads(report_json(report))["people"] == 12

    def test_error_types_stand_below_the_table_of_all_people(
        self, network: Network, samples: list[Sample]
    ) -> None:
        report = evaluate({"a": network}, samples, draws=0)
        for pictures in ("natural", "turned"):
            errors, tables = report[pictures]["errors"], report[pictures]["tables"]["all"]
            for row, table in tables.items():
                assert errors[row]["good"]["Total"] == pytest.approx(table.scores["Total"])
        text = format_report(report)
        assert text.count("inversion    swap    miss") == 2
        plain = json.loads(report_json(report))["turned"]["errors"]["a: body"]
        assert sum(share["Wrist"] for share in plain.values()) == pytest.approx(100)

    def test_other_labels(self, network: Network, samples: list[Sample]) -> None:
        theirs = [replace(sample, labels="oc") for sample in samples]
        with pytest.raises(InputError, match="different tests"):
            evaluate({"a": network}, theirs)

    def test_no_samples(self, network: Network) -> None:
        with pytest.raises(InputError, match="expected samples"):
            evaluate({"a": network}, [])

    def test_other_joints(self, network: Network, samples: list[Sample]) -> None:
        with pytest.raises(InputError, match="expected a network for skeleton flic"):
            evaluate({"a": network}, samples, "flic")

    def test_pckh_divides_by_the_head(self, samples: list[Sample]) -> None:
        """'Head size = 0.6 * diagonal of the head box'; LSP has none."""
        settings = replace(SETTINGS, skeleton="mpii")
        net = (build(settings).eval(), settings)
        with pytest.raises(InputError, match="expected people with head boxes"):
            evaluate({"a": net}, samples, "mpii-valid")
        heads = [replace(sample, head_size=1000.0) for sample in samples]
        report = evaluate({"a": net}, heads, "mpii-valid", draws=0)
        assert report["natural"]["tables"]["all"]["a: body"].scores["Mean"] == 100
        assert "Mean" in format_report(report)

    def test_without_intervals_there_are_none(
        self, network: Network, samples: list[Sample]
    ) -> None:
        report = evaluate({"a": network}, samples, draws=0)
        assert "nan" not in format_report(report)
        assert "NaN" not in report_json(report)

    def test_two_people_of_one_picture_are_drawn_together(
        self, network: Network, samples: list[Sample]
    ) -> None:
        """'Unit = image' (SPEC 5.5)."""
        crowd = [replace(sample, image=samples[0].image) for sample in samples]
        table = evaluate({"a": network}, crowd, draws=5)["natural"]["tables"]["all"]["a: body"]
        assert (table.people, table.images) == (12, 1)
        low, high = table.intervals["Total"]
        assert low == high  # one picture: nothing to draw


class TestWhoIsTested:
    @pytest.mark.parametrize(
        ("splits", "expected"),
        [
            (["train", "test", "valid"], ["test"]),
            (["train", "valid"], ["valid"]),
            (["train", "train"], ["train", "train"]),
        ],
    )
    def test_the_best_split(self, samples, splits, expected) -> None:
        people = [replace(samples[0], split=split) for split in splits]
        assert [sample.split for sample in held_out(people)] == expected

    @pytest.mark.parametrize(
        ("source", "protocol"),
        [
            ("lsp", "lsp"),
            ("lspet", "lsp"),
            ("coco", "lsp"),
            ("flic", "flic"),
            ("mpii", "mpii-valid"),
        ],
    )
    def test_the_datasets_protocol(self, samples, source: str, protocol: str) -> None:
        assert protocol_of([replace(samples[0], source=source)]) == protocol


RECIPE = """
out: runs/untrained
lsp: nowhere
size: 64
detector: {detector}
trunk: resnet10t
stacks: 1
head_width: 4
fc6_kernel: 3
refine_width: 3
kernels: [3, 3]
detector_steps: 1
body_steps: 1
limbs_steps: 1
"""


class TestCommand:
    def test_prints_and_writes_the_tables(
        self,
        weights: Path,
        stick_figures: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(lsp, "LSP_TRAIN", 4)
        out = tmp_path / "results" / "small"
        arguments = ["evaluate", str(stick_figures), "--weights", f"one={weights}"]
        assert main([*arguments, "--intervals", "10", "--out", str(out)]) == 0
        assert "one: body" in capsys.readouterr().out
        assert "8 people" in out.with_suffix(".md").read_text()
        assert json.loads(out.with_suffix(".json").read_text())["draws"] == 10

    def test_rows_of_mirrored_looks(
        self,
        weights: Path,
        stick_figures: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The same weights see everybody mirrored, too, beside those that do not."""
        monkeypatch.setattr(lsp, "LSP_TRAIN", 4)
        arguments = ["evaluate", str(stick_figures), "--weights", str(weights)]
        for name, more in (("one", []), ("two", ["--mirrored"])):
            out = ["--intervals", "off", "--out", str(tmp_path / name)]
            assert main([*arguments, *more, *out]) == 0
        one, two = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("one", "two"))
        plain, both = (read["natural"]["tables"]["all"] for read in (one, two))
        assert {"small: detector", "small: body"} == set(plain) < set(both)
        assert all(both[row] == plain[row] for row in plain)
        assert both["small, mirrored: detector"]["scores"] != plain["small: detector"]["scores"]
        assert "small: body - small, mirrored: body" in (tmp_path / "two.md").read_text()

    def test_the_papers_detectors_untrained(
        self, stick_figures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Each of the three, with everything after it, in one command."""
        arguments = ["evaluate", str(stick_figures), "--weights"]
        for detector in ("fcn", "resnet", "hourglass"):
            recipe = tmp_path / f"{detector}.yaml"
            recipe.write_text(RECIPE.format(detector=detector))
            arguments.append(str(recipe))
        assert main([*arguments, "--intervals", "off", "--reading", "paper"]) == 0
        found = capsys.readouterr().out
        for detector in ("fcn", "resnet", "hourglass"):
            assert f"{detector}: limbs - {detector}: detector" in found
        assert "read by: paper" in found
        assert f"Untrained, random weights: {arguments[3]}" in found

    def test_a_bad_recipe(
        self, stick_figures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        recipe = tmp_path / "bad.yaml"
        recipe.write_text("out: runs/bad\nnonsense: 1\n")
        assert main(["evaluate", str(stick_figures), "--weights", str(recipe)]) == 2
        found = capsys.readouterr().err
        assert "nonsense" in found
        assert found.count("\n") == 1

    def test_two_of_one_name(
        self, weights: Path, stick_figures: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["evaluate", str(stick_figures), "--weights", str(weights), str(weights)]) == 2
        assert "two are called small" in capsys.readouterr().err

    def test_no_dataset(
        self, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["evaluate", str(tmp_path), "--weights", str(weights)]) == 2
        assert "expected a dataset" in capsys.readouterr().err
