"""``uprightpose data``: good runs, and one line for what the user can mend."""

import json
import subprocess
import sys

import pytest

from uprightpose.cli import main
from uprightpose.data.coco import read_coco
from uprightpose.data.folders import read_folder


def test_check(stick_figures, capsys):
    assert main(["data", "check", str(stick_figures)]) == 0
    text = capsys.readouterr().out
    assert "people            12 in 12 pictures: train 12" in text
    assert "person-centric (pc)" in text
    assert "missing pictures  0" in text


def test_check_as_json(stick_figures, capsys):
    assert main(["data", "check", str(stick_figures), "--labels", "oc", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["people"], content["labels"]) == (12, "oc")
    assert len(content["joints"]) == 14


@pytest.mark.parametrize("labels", ["pc", "oc"])
def test_convert_and_check_again(stick_figures, tmp_path, capsys, labels):
    out = tmp_path / "new" / "sticks.json"
    options = ["--labels", labels]
    assert main(["data", "convert", str(stick_figures), "--out", str(out), *options]) == 0
    assert capsys.readouterr().out == f"written: 12 people, {out}\n"
    before, after = read_folder(stick_figures, labels), read_coco(out)
    assert {s.labels for s in after} == {labels}
    assert [s.joints.tolist() for s in after] == [s.joints.tolist() for s in before]
    assert [s.image for s in after] == [s.image for s in before]
    assert main(["data", "check", str(out), *options]) == 0


class TestMistakes:
    """'One clear message: what was expected, what was found, what to do'; exit code 2."""

    def refused(self, arguments, capsys) -> str:
        assert main(["data", *arguments]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("uprightpose: error:")
        assert printed.err.count("\n") == 1
        return printed.err

    def test_wrong_folder(self, tmp_path, capsys):
        for action in (["check"], ["convert", "--out", str(tmp_path / "a.json")]):
            text = self.refused([*action, str(tmp_path)], capsys)
            assert "an empty folder, expected a dataset" in text
            assert "http://sam.johnson.io/research/lsp.html" in text
        assert not list(tmp_path.iterdir())

    def test_no_action(self, capsys):
        assert "check,convert" in self.refused([], capsys)

    def test_no_folder(self, capsys):
        assert "required: folder" in self.refused(["check"], capsys)

    def test_no_out(self, stick_figures, capsys):
        assert "required: out" in self.refused(["convert", str(stick_figures)], capsys)

    def test_out_is_no_json(self, stick_figures, tmp_path, capsys):
        text = self.refused(["convert", str(stick_figures), "--out", str(tmp_path)], capsys)
        assert "ending in .json" in text

    def test_out_cannot_be_written(self, stick_figures, tmp_path, capsys):
        (tmp_path / "file").touch()
        out = str(tmp_path / "file" / "a.json")
        assert "cannot write" in self.refused(["convert", str(stick_figures), "--out", out], capsys)

    def test_other_labels(self, stick_figures, capsys):
        text = self.refused(["check", str(stick_figures), "--labels", "left"], capsys)
        assert "expected 'pc', 'oc', found left" in text


@pytest.mark.parametrize("action", ["check", "convert"])
def test_help_needs_no_torch(action):
    code = (
        "import sys, contextlib\nfrom uprightpose.cli import main\n"
        f"with contextlib.suppress(SystemExit):\n    main(['data', '{action}', '--help'])\n"
        "sys.exit('torch is imported' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "FLIC" in done.stdout
