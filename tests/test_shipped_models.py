"""``uprightpose models`` tells what the files tell, without torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from uprightpose import predict, shipped_models
from uprightpose.cli import main
from uprightpose.errors import InputError
from uprightpose.predict import Predictor
from uprightpose.prediction_speed import TOGETHER, measure_speed
from uprightpose.shipped_models import SHIPPED, read_shipped
from uprightpose.weights import count_parameters, load_weights

RESULTS = Path(__file__).parents[1] / "docs" / "results"
each_model = pytest.mark.parametrize("name", SHIPPED)


@each_model
def test_what_the_weights_say(name: str) -> None:
    found, (model, settings) = read_shipped(name), load_weights(SHIPPED[name])
    assert found.parameters == count_parameters(model)
    assert (found.skeleton, found.labels, found.input) == ("lsp", settings.labels, settings.size)
    assert found.megabytes == SHIPPED[name].stat().st_size / 1e6
    assert found.card.is_file()


@each_model
def test_the_accuracy_is_the_measured_one(name: str) -> None:
    """'Every number in docs/results is reproduced': none is typed here."""
    report = json.loads((RESULTS / f"{name}.json").read_text())
    rows = [report[pictures]["tables"]["all"] for pictures in ("natural", "turned")]
    natural, turned = (table[f"{name}: limbs"] for table in rows)
    found = read_shipped(name).facts["accuracy"]
    assert [found["pck"], found["auc"]] == [natural["scores"][key] for key in ("Total", "AUC")]
    assert found["interval"] == natural["intervals"]["Total"]
    assert found["turned_pck"] == turned["scores"]["Total"]
    assert found["turned_interval"] == turned["intervals"]["Total"]
    assert (found["people"], found["labels"]) == (natural["people"], natural["labels"])


class TestCommand:
    def test_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["models"]) == 0
        text = capsys.readouterr().out
        for name in SHIPPED:
            model = read_shipped(name)
            low, high = model.facts["accuracy"]["interval"]
            assert f"{model.facts['accuracy']['pck']:.2f} [{low:.2f}, {high:.2f}]" in text
            for part in (name, str(model.card), model.facts["use"], model.facts["trained_on"]):
                assert part in text
            assert f"at load {model.facts['speed']['load']:.1f}: CPU" in text

    def test_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["models", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [one["name"] for one in found] == list(SHIPPED)
        assert found[0]["accuracy"] == read_shipped("compact").facts["accuracy"]
        assert "facts" not in found[0]

    def test_the_speed_is_measured_when_asked_for(self, capsys, monkeypatch) -> None:
        monkeypatch.setattr("uprightpose.prediction_speed.ROUNDS", 1)
        assert main(["models", "--json", "--speed", "--device", "cpu"]) == 0
        speed = json.loads(capsys.readouterr().out)[0]["speed"]
        assert speed != read_shipped("compact").facts["speed"]
        assert min(speed["alone"], speed["together"]) > 0
        assert speed["machine"]["cores"] > 0

    def test_torch_is_not_needed(self) -> None:
        code = (
            "import sys\nfrom uprightpose.cli import main\nmain(['models'])\n"
            "sys.exit('torch is imported' if 'torch' in sys.modules else 0)"
        )
        run = [sys.executable, "-c", code]
        done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


class Clock(Predictor):
    """A predictor that takes a second and another one per person."""

    def __init__(self) -> None:
        self.device, self.now, self.calls = "cpu", 0.0, 0

    def predict(self, picture, boxes) -> None:
        self.calls += 1
        self.now += (1 + len(boxes)) * (100 if self.calls in (1, 3) else 1)


def test_speed_is_per_person_and_the_first_round_does_not_count(monkeypatch) -> None:
    clock = Clock()
    monkeypatch.setattr("uprightpose.prediction_speed.time.perf_counter", lambda: clock.now)
    speed = measure_speed(clock, 1)
    assert speed.alone == pytest.approx(2000)
    assert speed.together == pytest.approx(1000 * (TOGETHER + 1) / TOGETHER)


@pytest.mark.parametrize("content", [b"", b"\xff" * 9, b"\x02\0\0\0\0\0\0\0{}"])
def test_damaged_weights_are_said_in_a_line(content, tmp_path, monkeypatch, capsys) -> None:
    path = tmp_path / "compact.safetensors"
    path.write_bytes(content)
    monkeypatch.setitem(shipped_models.SHIPPED, "compact", path)
    with pytest.raises(InputError, match="install the package again"):
        read_shipped("compact")
    assert main(["models"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_predict_loads_by_the_same_names() -> None:
    assert predict.SHIPPED is SHIPPED
