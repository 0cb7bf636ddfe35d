"""The command ``uprightpose score``: published numbers, one-line errors, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from uprightpose import cli
from uprightpose.cli import main
from uprightpose.commands import score
from uprightpose.data.joint_arrays import flic_ten
from uprightpose.skeletons import COCO

COLUMNS = ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Total", "AUC"]
WEI = "predictions/LSP_prediction_model_LSP_6s.mat"


@pytest.fixture
def truth(tmp_path) -> Path:
    """A file like LSP's joints.mat: 3 x 14 x 2000, 1-based, everyone's reference length 10."""
    joints = np.random.default_rng(0).integers(5, 95, (3, 14, 2000)) * 1.0
    joints[:2, 2] = joints[:2, 9] + np.array([[6], [8]])
    joints[2] = joints[2] > 80
    savemat(tmp_path / "joints.mat", {"joints": joints})
    return tmp_path / "joints.mat"


@pytest.fixture
def predictions(tmp_path, truth) -> Path:
    """Predictions, 0-based, of the 1000 test people: exactly 2 pixels off, the heads far off."""
    joints = loadmat(truth)["joints"][:2, :, 1000:].T - 1
    joints[..., 0] += 2
    joints[:, 13] += 50
    np.save(tmp_path / "p.npy", joints)
    return tmp_path / "p.npy"


@pytest.fixture
def mpii(tmp_path) -> Path:
    """A file like MPII's validation one: 40 people, one joint missing, some predictions off."""
    random = np.random.default_rng(0)
    joints = random.integers(5, 300, (16, 2, 40)) * 1.0
    missing = np.zeros((16, 40), np.uint8)
    missing[3, 7] = 1
    boxes = np.zeros((2, 2, 40))
    boxes[1] += np.array([[30], [40]])
    predicted = joints + random.normal(0, 9, joints.shape)
    joints[3, :, 7] = 0
    arrays = {"pos_gt_src": joints, "pos_pred_src": predicted}
    savemat(tmp_path / "m.mat", {**arrays, "jnt_missing": missing, "headboxes_src": boxes})
    return tmp_path / "m.mat"


def people_of_coco(folder: Path) -> Path:
    """Write a file that is its own truth: two pictures with a person each."""
    keypoints = [number for joint in range(17) for number in (10 + 9 * joint, 200 - joint, 2)]
    person = {"category_id": 1, "bbox": [0, 0, 200, 200], "area": 20000.0, "iscrowd": 0}
    person |= {"keypoints": keypoints, "score": 0.5}
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2)],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.joints)}],
        "annotations": [{**person, "id": i, "image_id": i} for i in (1, 2)],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    return folder / "coco.json"


def failing(capsys, *argv: object) -> str:
    """Run a command that must exit with 2, say nothing on stdout and one line on stderr."""
    assert main([str(argument) for argument in argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("uprightpose: error: ")
    return captured.err


class TestScore:
    """'correct if d <= 0.2 (closed) ... State the protocol with every number' (SPEC 3)."""

    def run(self, capsys, *argv: object) -> str:
        assert main(["score", *map(str, argv)]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    def test_text_says_what_was_measured_and_the_numbers(self, capsys, predictions, truth):
        text = self.run(capsys, predictions, truth, "--labels", "oc", "--intervals", "off")
        for fact in (
            "lsp, pictures 1001-2000",
            "observer-centric (oc)",
            "left shoulder - right hip",
            "0.2 reference lengths, included",
            "14000 joints of 1000 people",
            "0 in predictions, 1 in truth",
        ):
            assert fact in text
        header, numbers = text.splitlines()[-2:]
        assert header.split() == ["People", *COLUMNS]
        assert numbers.split() == ["all", "1000", "50.00", *["100.00"] * 6, "92.86", "2.32"]

    def test_json_is_one_object_with_every_digit(self, capsys, predictions, truth):
        argv = (predictions, truth, "--labels", "pc", "--json", "--by-angle", "--intervals", "30")
        report = json.loads(self.run(capsys, *argv))
        assert (report["protocol"], report["labels"], report["draws"]) == ("lsp", "pc", 30)
        assert list(report["scores"]) == COLUMNS == list(report["intervals"])
        assert report["scores"]["Total"] == pytest.approx(1300 / 14, abs=1e-12)
        assert report["first_pixel"] == {"predictions": 0, "truth": 1}
        assert report["units"] == "images"
        assert list(report["by_angle"]) == ["0-30", "30-90", "90-180"]
        assert sum(row["people"] for row in report["by_angle"].values()) == 1000

    def test_angles_and_intervals_are_rows(self, capsys, predictions, truth):
        text = self.run(
            capsys, predictions, truth, "--labels=pc", "--by-angle", "--intervals", "20"
        )
        rows = [line.split()[0] for line in text.splitlines()[-13:]]
        three = ["from", "to"]
        assert rows == ["People", "all", *three, "0-30", *three, "30-90", *three, "90-180", *three]

    @pytest.mark.parametrize(("base", "area"), [(0, 0.025), (1, 0.275), (None, 0.025)])
    def test_base_moves_the_predictions_only(self, capsys, predictions, truth, base, area):
        """From 0 they are (2, 0) off, which is on the edge; from 1 (1, -1), well within."""
        argv = [predictions, truth, "--labels", "pc", "--json", "--intervals", "off"]
        argv += [] if base is None else ["--base", base]
        report = json.loads(self.run(capsys, *argv))
        assert report["first_pixel"] == {"predictions": base or 0, "truth": 1}
        assert report["scores"]["Total"] == pytest.approx(1300 / 14)
        assert report["scores"]["AUC"] == pytest.approx(area * 1300 / 14)

    @pytest.mark.parametrize("truth_name", ["joints_pc_and_oc.mat", "joints.mat"])
    def test_published_numbers_of_wei_et_al(self, capsys, data_root, truth_name):
        argv = (data_root / WEI, data_root / "lsp" / truth_name, "--labels", "pc", "--json")
        scores = json.loads(self.run(capsys, *argv, "--intervals", "off"))["scores"]
        expected = [96.85, 87.10, 80.40, 75.10, 86.50, 83.15, 81.15, 84.32, 59.29]
        assert [round(score, 2) for score in scores.values()] == expected

    def test_other_labels_are_another_test(self, capsys, data_root):
        """'OC and PC are different tests' (SPEC 3.1); these person-centric predictions lose 15."""
        truth = data_root / "lsp/joints_pc_and_oc.mat"
        argv = (data_root / WEI, truth, "--labels", "oc", "--json", "--intervals", "off")
        scores = json.loads(self.run(capsys, *argv))["scores"]
        assert (round(scores["Total"], 2), round(scores["AUC"], 2)) == (69.46, 48.30)


class TestOtherProtocols:
    """'State the protocol with every number' (SPEC 3.2)."""

    def run(self, capsys, *argv: object) -> str:
        assert main(["score", *map(str, argv)]) == 0
        return capsys.readouterr().out

    @pytest.mark.parametrize("name", ["official", "valid", "hrnet"])
    def test_mpii_says_what_it_is(self, capsys, mpii, name):
        text = self.run(capsys, mpii, mpii, "--protocol", f"mpii-{name}", "--intervals", "20")
        for fact in (
            f"mpii-{name}, PCKh",
            "person-centric (pc)",
            "0.6 of the diagonal of the head box",
            f"0.5 reference lengths, {'included' if name == 'official' else 'excluded'}",
            "559 joints of 40 people",
            "20 draws of people (no file names their images)",
        ):
            assert fact in text

    def test_hourglass_file_names_the_images(self, capsys, mpii, tmp_path):
        names = np.array([f"{number // 2}.jpg".encode() for number in range(40)])
        with h5py.File(tmp_path / "t.h5", "w") as file:
            file["part"] = loadmat(mpii)["pos_gt_src"].transpose(2, 0, 1)
            file["normalize"] = np.full(40, 30.0)
            file["imgname"] = names
        argv = (mpii, tmp_path / "t.h5", "--protocol", "mpii-valid")
        assert "20 draws of images" in self.run(capsys, *argv, "--intervals", "20")
        report = json.loads(self.run(capsys, *argv, "--intervals", "20", "--json", "--by-angle"))
        assert (report["images"], report["people"], report["units"]) == (20, 40, "images")
        assert report["threshold_included"] is False
        plain = self.run(capsys, mpii, mpii, "--protocol", "mpii-valid", "--json")
        assert report["scores"] == json.loads(plain)["scores"]

    @pytest.mark.parametrize("suffix", [".h5", ".npy"])
    def test_flic_of_ten_and_eleven_joints(self, capsys, tmp_path, suffix):
        truth = np.random.default_rng(0).integers(5, 90, (6, 11, 2)) * 1.0
        truth[:, 0, 0], truth[:, 3, 0] = 95, 3  # left shoulder on the right of the picture
        with h5py.File(tmp_path / "t.h5", "w") as file:
            file["part"] = truth
        if suffix == ".h5":
            with h5py.File(tmp_path / "p.h5", "w") as file:
                file["preds"] = truth
        else:
            np.save(tmp_path / "p.npy", flic_ten(truth) - 1)
        argv = (tmp_path / f"p{suffix}", tmp_path / "t.h5", "--protocol", "flic")
        text = self.run(capsys, *argv, "--intervals", "off")
        assert "observer-centric (oc)" in text
        assert "60 joints of 6 people" in text
        assert text.splitlines()[-1].split() == ["all", "6", *["100.00"] * 7]

    def test_coco_is_average_precision(self, capsys, tmp_path):
        truth = people_of_coco(tmp_path)
        text = self.run(capsys, truth, truth, "--protocol", "coco", "--intervals", "20")
        assert "OKS 0.5, 0.55, " in text
        assert "34 joints of 2 people" in text
        header, numbers, *_ = text.splitlines()[-4:]
        assert header.split()[:3] == ["People", "AP", "AP50"]
        assert numbers.split()[:4] == ["all", "2", "100.00", "100.00"]

    def test_published_numbers_of_tompson_et_al(self, capsys, data_root):
        """'valid protocol 95.60 92.71 83.36 76.74 81.93 73.36 65.45, mean 81.46' (SPEC 8.1)."""
        path = data_root / "mpii/tompson_valid_gt_and_pred.mat"
        argv = (path, path, "--protocol", "mpii-valid", "--json", "--intervals", "off")
        scores = json.loads(self.run(capsys, *argv))["scores"]
        expected = [95.60, 92.71, 83.36, 76.74, 81.93, 73.36, 65.45, 81.46]
        assert [round(score, 2) for score in scores.values()] == expected

    def test_flic_of_the_other_labels(self, capsys, data_root):
        """'4.7 % of test people face away': their sides are the other ones (SPEC 4.4)."""
        files = [data_root / f"flic/valid{which}.h5" for which in ("_personcentric", "")]
        argv = (*files, "--protocol", "flic", "--json", "--intervals", "off")
        report = json.loads(self.run(capsys, *argv))
        assert (report["people"], report["images"]) == (1016, 926)
        assert report["scores"]["Head"] == 100
        assert report["scores"]["Wrist"] == pytest.approx(95.3, abs=0.1)


class TestPaired:
    """'Two models: paired cluster bootstrap + sign-flip permutation p' (SPEC 5.5)."""

    def worse(self, predictions: Path) -> Path:
        joints = np.load(predictions)
        joints[:, 0] += 40
        path = predictions.with_name("worse.npy")
        np.save(path, joints)
        return path

    def run(self, capsys, *argv: object) -> str:
        assert main(["score", *map(str, argv)]) == 0
        return capsys.readouterr().out

    def test_two_tables_and_their_difference(self, capsys, predictions, truth):
        other = self.worse(predictions)
        text = self.run(
            capsys, predictions, other, truth, "--labels=pc", "--paired", "--intervals", "99"
        )
        assert f"A                 {predictions}\nB                 {other}\n" in text
        assert "0 in A, 0 in B, 1 in truth" in text
        assert "99 exchanges" in text
        lines = text.splitlines()[-12:]
        names = [line[:10].strip() for line in lines]
        both = ["from", "to"]
        assert names == ["", "A", *both, "B", *both, "A - B", *both, "p", "p Holm"]
        ankle = [line.split()[-3] for line in lines]  # Ankle, Total, AUC
        assert ankle[1] == "100.00"
        assert ankle[4] == "50.00"
        assert ankle[7:] == ["+50.00", "+50.00", "+50.00", "0.0100", "0.0900"]

    def test_json(self, capsys, predictions, truth):
        other = self.worse(predictions)
        argv = [predictions, other, truth, "--labels", "pc", "--paired", "--json", "--by-angle"]
        report = json.loads(self.run(capsys, *argv, "--intervals", "19"))
        assert report["files"] == {"A": str(predictions), "B": str(other)}
        assert list(report["first_pixel"]) == ["A", "B", "truth"]
        for part in (report, *report["by_angle"].values()):
            a, b = (part["models"][name]["scores"]["Ankle"] for name in "AB")
            assert part["difference"]["Ankle"]["value"] == a - b == 50
            assert part["difference"]["Ankle"]["p"] == 0.05
            assert part["difference"]["Head"]["p_holm"] == 1
        assert list(report["by_angle"]) == ["0-30", "30-90", "90-180"]

    def test_by_angle_has_a_block_for_each(self, capsys, predictions, truth):
        argv = (predictions, self.worse(predictions), truth, "--labels=pc", "--paired")
        text = self.run(capsys, *argv, "--by-angle", "--intervals", "off")
        assert [block.splitlines()[0] for block in text.split("\n\n")[1:]] == [
            "all",
            "0-30",
            "30-90",
            "90-180",
        ]
        assert "exchanges" not in text

    def test_coco(self, capsys, tmp_path):
        truth = people_of_coco(tmp_path)
        argv = (truth, truth, truth, "--protocol", "coco", "--paired", "--intervals", "9")
        lines = self.run(capsys, *argv).splitlines()
        assert lines[-5].split()[:5] == ["A", "-", "B", "+0.00", "+0.00"]

    def test_counts_of_files(self, capsys, predictions, truth):
        argv = ("score", predictions, predictions, truth, "--labels", "pc")
        assert "compared with --paired" in failing(capsys, *argv)
        argv = ("score", predictions, truth, "--labels", "pc", "--paired")
        assert "expected 2 files of predictions" in failing(capsys, *argv)
        argv = ("score", *[predictions] * 3, truth, "--labels", "pc")
        assert "found 3 of predictions" in failing(capsys, *argv)


class TestErrors:
    """One line that says what was expected, what was found and what to do; exit code 2."""

    def test_missing_file(self, capsys, truth):
        error = failing(capsys, "score", "none.npy", truth, "--labels", "pc")
        assert "found nothing at none.npy" in error

    def test_counts_that_are_not_lsp(self, capsys, tmp_path, truth):
        np.save(tmp_path / "p.npy", np.zeros((7, 14, 2)))
        error = failing(capsys, "score", tmp_path / "p.npy", truth, "--labels", "pc")
        assert "test people 1001-2000, found 7 people in" in error

    def test_other_joints(self, capsys, tmp_path, truth):
        np.save(tmp_path / "p.npy", np.zeros((1000, 16, 2)))
        error = failing(capsys, "score", tmp_path / "p.npy", truth, "--labels", "pc")
        assert "found array 1000 x 16 x 2 in" in error

    def test_several_lines_become_one(self, capsys, monkeypatch):
        def fail(_):
            raise cli.InputError("one\n two")

        monkeypatch.setitem(cli._COMMANDS, "score", (score.add, fail))
        error = failing(capsys, "score", "a.npy", "b.npy", "--labels", "pc")
        assert error == "uprightpose: error: one two\n"

    @pytest.mark.parametrize(
        ("argv", "message"),
        [
            ([], "expected"),
            (["paint"], "invalid choice: 'paint'"),
            (["score"], "required: predictions, truth"),
            (["score", "a.npy"], "required: truth"),
            (
                ["score", "a.npy", "b.npy", "--labels", "xy"],
                "labels: expected 'pc', 'oc', found xy",
            ),
            (
                ["score", "a.npy", "b.npy", "--labels", "pc", "--base", "2"],
                "expected 0, 1, found 2",
            ),
            (["score", "a.npy", "b.npy", "--labels", "pc", "--protocol", "x"], "found x"),
            (["score", "a.npy", "b.npy", "--labels", "pc", "--colour"], "--colour"),
        ],
    )
    def test_arguments(self, capsys, argv, message):
        error = failing(capsys, *argv)
        assert message in error
        assert error.endswith("(uprightpose --help explains)\n")

    def test_labels_of_lsp_must_be_said_and_those_of_others_fit(self, capsys, mpii):
        error = failing(capsys, "score", "a.npy", "b.npy")
        assert "lsp: expected --labels pc or --labels oc, found neither" in error
        error = failing(capsys, "score", "a.npy", "b.npy", "--protocol=flic", "--labels=pc")
        assert "flic: expected --labels oc, found --labels pc" in error
        argv = ("score", mpii, mpii, "--protocol", "mpii-valid", "--labels", "oc")
        assert "expected --labels pc" in failing(capsys, *argv)

    def test_files_of_another_protocol(self, capsys, mpii, predictions, truth, tmp_path):
        error = failing(capsys, "score", mpii, mpii, "--labels", "pc")
        assert "found pos_gt_src 16 x 2 x 40, " in error
        assert "lsp skeleton has 14 joints" in error
        assert "mpii skeleton has 16 joints" in failing(
            capsys, "score", predictions, truth, "--protocol", "mpii-valid"
        )
        error = failing(capsys, "score", predictions, truth, "--protocol", "coco")
        assert "coco: expected .json files, found" in error
        coco = people_of_coco(tmp_path)
        assert "none called" in failing(capsys, "score", coco, coco, "--labels", "pc")
        argv = ("score", coco, coco, "--protocol", "coco", "--by-angle")
        assert "--by-angle: expected a protocol of joints" in failing(capsys, *argv)

    def test_truth_without_head_boxes(self, capsys, mpii, tmp_path):
        np.save(tmp_path / "t.npy", np.zeros((40, 16, 2)))
        argv = ("score", mpii, tmp_path / "t.npy", "--protocol", "mpii-hrnet")
        assert "expected head boxes" in failing(capsys, *argv)

    def test_truth_that_is_not_observer_centric(self, capsys, tmp_path):
        joints = np.random.default_rng(0).random((5, 10, 2))
        joints[:, 2, 0], joints[:, 6, 0] = 1, 2
        joints[3, 2, 0] = 3  # the right shoulder of one
        np.save(tmp_path / "t.npy", joints)
        argv = ("score", tmp_path / "t.npy", tmp_path / "t.npy", "--protocol", "flic")
        assert "found 1 people" in failing(capsys, *argv)

    def test_other_people(self, capsys, mpii, tmp_path):
        np.save(tmp_path / "p.npy", np.zeros((39, 16, 2)))
        argv = ("score", tmp_path / "p.npy", mpii, "--protocol", "mpii-valid")
        assert "found 39 in" in failing(capsys, *argv)

    @pytest.mark.parametrize("draws", ["0", "-3", "2.5", "many", ""])
    def test_draws(self, capsys, draws):
        argv = ("score", "a.npy", "b.npy", "--labels", "pc", f"--intervals={draws}")
        assert "a number of draws from 1, or off" in failing(capsys, *argv)

    def test_interruption(self, capsys, monkeypatch):
        def interrupt(_):
            raise KeyboardInterrupt

        monkeypatch.setitem(cli._COMMANDS, "score", (score.add, interrupt))
        assert main(["score", "a.npy", "b.npy", "--labels", "pc"]) == 130
        assert capsys.readouterr().err == "uprightpose: interrupted\n"


class TestProcess:
    """What only a whole process shows: exit codes, imports, pipes."""

    def test_scoring_and_help_load_no_torch(self, predictions, truth):
        code = (
            "import sys; from uprightpose.cli import main\n"
            "try: code = main(sys.argv[1:])\n"
            "except SystemExit as end: code = end.code\n"
            "assert code == 0, code\n"
            "assert 'torch' not in sys.modules, 'torch'"
        )
        score = ["score", predictions, truth, "--labels", "pc", "--intervals", "9"]
        for argv in (["--help"], ["score", "--help"], ["--version"], score):
            done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True)
            assert done.returncode == 0, done.stderr.decode()
            assert done.stdout
            assert not done.stderr

    def test_module_is_the_command(self):
        command = [sys.executable, "-m", "uprightpose", "score", "a.npy", "b.npy", "--labels=pc"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.startswith("uprightpose: error: ")
        assert done.stderr.count("\n") == 1

    def test_reader_that_goes_away_is_no_traceback(self, predictions, truth):
        command = [sys.executable, "-m", "uprightpose", "score", predictions, truth]
        options = ["--labels", "pc", "--intervals", "off"]
        process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait() == 141
