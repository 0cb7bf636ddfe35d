"""The command ``uprightpose score``: published numbers, one-line errors, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from uprightpose import cli
from uprightpose.cli import main
from uprightpose.commands import score

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
    from scipy.io import loadmat

    joints = loadmat(truth)["joints"][:2, :, 1000:].T - 1
    joints[..., 0] += 2
    joints[:, 13] += 50
    np.save(tmp_path / "p.npy", joints)
    return tmp_path / "p.npy"


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
            (["score"], "required: predictions, truth, labels"),
            (["score", "a.npy", "b.npy"], "required: labels"),
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
