"""The command ``uprightpose reproduce`` on small made-up datasets in their own layouts."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from uprightpose.cli import main
from uprightpose.reproduce.report import Report
from uprightpose.skeletons import LSP, MPII

DATA = {"lsp": 1060, "lspet": 70, "mpii": 50}
"""People of each; LSP's test begins with the 1001st."""

PLACES = {
    "shoulder": (9, -14),
    "elbow": (14, -2),
    "wrist": (16, 10),
    "hip": (6, 14),
    "knee": (7, 32),
    "ankle": (8, 50),
}


def people(number: int, names: tuple[str, ...], tilt: float) -> np.ndarray:
    """Loosely standing people, turned by up to ``tilt`` radians: (number, joints, 2)."""
    random = np.random.default_rng(number)
    joints = random.normal(0, 2, (number, len(names), 2))
    for index, name in enumerate(names):
        side, _, part = name.partition("_")
        x, y = PLACES.get(part, (0, {"head_top": -30}.get(name, -16)))
        joints[:, index] += (x if side == "left" else -x, y)
    angle = random.uniform(-tilt, tilt, number)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.einsum("ijn,nkj->nki", matrix, joints) + 100


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with lsp/, lspet/ and mpii/ as their owners publish them."""
    folder = tmp_path_factory.mktemp("data")
    for name in DATA:
        (folder / name / "images").mkdir(parents=True)
    lsp, lspet = (people(DATA[name], LSP.joints, 2) for name in ("lsp", "lspet"))
    flags = [np.zeros((DATA["lsp"], 14, 1)), np.ones((DATA["lspet"], 14, 1))]
    lsp, lspet = (np.concatenate(pair, 2) for pair in zip((lsp, lspet), flags, strict=True))
    savemat(folder / "lsp" / "joints.mat", {"joints": lsp.transpose(2, 1, 0)})
    savemat(folder / "lspet" / "joints.mat", {"joints": lspet.transpose(1, 2, 0)})
    with h5py.File(folder / "mpii" / "valid.h5", "w") as file:
        file["part"] = people(DATA["mpii"], MPII.joints, 0.2)
        file["visible"] = np.ones((DATA["mpii"], 16))
        file["imgname"] = [b"a.jpg"] * DATA["mpii"]
        file["center"] = np.full((DATA["mpii"], 2), 100.0)
        for name in ("scale", "normalize", "index", "person"):
            file[name] = np.arange(1.0, 1 + DATA["mpii"])
    return folder


def run(capsys, *argv: object) -> str:
    assert main(["reproduce", *map(str, argv)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ["figure1", "figure4", "figure8"])
def test_each_figure_becomes_a_page_its_numbers_and_a_picture(capsys, tmp_path, data, name):
    out = run(capsys, name, "--data", data, "--out", tmp_path / "new", "--intervals", 4)
    page, numbers, picture = (tmp_path / "new" / f"{name}.{kind}" for kind in ("md", "json", "png"))
    assert f"results: {page}, {numbers}, {picture}" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    text, content = page.read_text(), json.loads(numbers.read_text())
    assert content["draws"] == 4
    assert content["seed"] == 0
    for stated in (
        "left shoulder - right hip",
        "LSPET pc (70 people)",
        "LSP-OC oc (1060",
        "4 boot",
    ):
        assert stated in text
    assert all(finding in text and finding in out for finding in content["findings"])
    assert all(f"caveat: {caveat}" in out for caveat in content["caveats"])


def test_figure4_says_whether_the_true_angle_beats_both_placebos(capsys, tmp_path, data):
    out = run(capsys, "figure4", "--data", data, "--out", tmp_path, "--intervals", 30)
    assert out.count("the true angle beats both placebos: ") == 8
    assert "LSP-OC, l.wrist / l.shoulder: trace body/raw" in out
    assert "compactness is necessary, not sufficient" in out
    rows = json.loads((tmp_path / "figure4.json").read_text())["rows"]
    assert {row["people"] for row in rows} == {*DATA.values(), 60}
    for row in rows:
        traces = row["controls"]["traces"]
        assert list(row["frames"]) == ["raw", "body", "limb"]
        assert traces["true angle"]["value"] == pytest.approx(
            row["frames"]["limb"]["trace"]["value"]
        )


def test_the_same_seed_gives_the_same_numbers(capsys, tmp_path, data):
    def numbers(seed: int) -> list:
        run(capsys, "figure1", "--data", data, "--out", tmp_path, "--intervals", 3, "--seed", seed)
        return json.loads((tmp_path / "figure1.json").read_text())["rows"]

    assert numbers(1) == numbers(1) != numbers(2)


def test_intervals_can_be_left_out(capsys, tmp_path, data):
    out = run(capsys, "figure1", "--data", data, "--out", tmp_path, "--intervals", "off")
    assert "not decided (no intervals)" in out
    assert "- intervals: none" in (tmp_path / "figure1.md").read_text()


def test_the_environment_names_the_data(capsys, tmp_path, data, monkeypatch):
    monkeypatch.setenv("UPRIGHTPOSE_DATA", str(data))
    run(capsys, "figure8", "--out", tmp_path, "--intervals", 3)
    assert (tmp_path / "figure8.md").is_file()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["figure1", "--data", "{data}/lsp"], "LSP Extended is needed"),
        (["figure8", "--data", "{data}/lspet"], "{data}/lspet/mpii: no such folder"),
        (["figure8", "--data", "{data}/nowhere"], "--data or UPRIGHTPOSE_DATA must name one"),
        (["figure1"], "set UPRIGHTPOSE_DATA"),
        (["figure9"], "figure1"),
        (["figure8", "--seed", "-1"], "--seed: expected a number from 0, found -1"),
        (["figure8", "--data", "{data}", "--intervals", "many"], "--intervals"),
        (["simulation", "--data", "{data}/lsp"], "needs Leeds Sports Pose in {data}/lsp/lsp"),
        (["table1", "--data", "{data}", "--seeds", "0"], "--seeds: expected a number from 1"),
    ],
)
def test_what_a_user_can_mend_is_said_in_a_line(capsys, tmp_path, data, monkeypatch, argv, message):
    monkeypatch.delenv("UPRIGHTPOSE_DATA", raising=False)
    argv = [argument.format(data=data) for argument in argv]
    assert main(["reproduce", *argv, "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message.format(data=data) in captured.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "argv", "seeds"),
    [
        ("beyond", [], 3),
        ("normalization", [], 3),
        ("rivals", [], 3),
        ("rivals", ["--seeds", "2"], 2),
        ("simulation", [], 5),
        ("simulation", ["--seeds", "1"], 1),
        ("table1", [], 1),
    ],
)
def test_what_trains_has_a_number_of_runs_of_its_own(
    capsys, tmp_path, data, monkeypatch, name, argv, seeds
):
    seen = {}
    report = Report("title", {}, (), {}, (), {})

    def study(study, draws):
        seen.update(seeds=study.plan.seeds, draws=draws, steps=study.plan.detector_steps)
        assert (study.data, study.out) == (data, tmp_path / "study")
        return report

    def other(*_, seeds, draws, **__):
        seen.update(seeds=seeds, draws=draws)
        return report

    for module, function, stand_in in (
        ("beyond", "reproduce_beyond", study),
        ("normalization", "reproduce_normalization", study),
        ("rivals", "reproduce_rivals", study),
        ("simulated_people", "read_poses", lambda _: None),
        ("simulation", "reproduce_simulation", other),
        ("experiment", "reproduce_table", other),
    ):
        monkeypatch.setattr(import_module(f"uprightpose.reproduce.{module}"), function, stand_in)
    run(capsys, name, "--data", data, "--out", tmp_path, "--times", "0.5", *argv)
    assert (seen["seeds"], seen["draws"]) == (seeds, 10000)
    assert seen.get("steps", 1200) == 1200  # half of them
    assert (tmp_path / f"{name}.md").is_file()


def test_help_names_every_experiment(capsys):
    with pytest.raises(SystemExit):
        main(["reproduce", "--help"])
    text = capsys.readouterr().out
    for name in ("beyond", "coco", "normalization", "rivals", "simulation", "table11", "figure8"):
        assert name in text


def test_too_few_people_are_said_not_guessed(capsys, tmp_path, data):
    few = tmp_path / "few"
    for name in ("lsp", "mpii"):
        (few / name).parent.mkdir(exist_ok=True)
        (few / name).symlink_to(data / name)
    (few / "lspet" / "images").mkdir(parents=True)
    joints = np.concatenate([people(19, LSP.joints, 1), np.ones((19, 14, 1))], 2)
    savemat(few / "lspet" / "joints.mat", {"joints": joints.transpose(1, 2, 0)})
    argv = ["reproduce", "figure1", "--data", str(few), "--out", str(tmp_path)]
    assert main(argv) == 2
    assert "LSPET: expected 20 people or more" in capsys.readouterr().err


def test_torch_is_not_needed(tmp_path, data):
    code = (
        "import sys\nfrom uprightpose.cli import main\n"
        f"main(['reproduce', 'figure4', '--data', {str(data)!r}, '--out', {str(tmp_path)!r},"
        " '--intervals', '2'])\n"
        "sys.exit('torch is imported' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figure4.png").is_file()


@pytest.mark.parametrize("name", ["matplotlib", "h5py"])
def test_a_missing_package_is_named_with_what_installs_it(
    capsys, tmp_path, data, monkeypatch, name
):
    for module in [
        m for m in sys.modules if m.startswith(("uprightpose.figures", "uprightpose.reproduce"))
    ]:
        monkeypatch.delitem(sys.modules, module)
    for module in [m for m in sys.modules if m.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["reproduce", "figure8", "--data", str(data), "--out", str(tmp_path)]) == 2
    assert name in (message := capsys.readouterr().err)
    assert "pip install -e '.[" in message
