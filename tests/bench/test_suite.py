"""All comparisons by name, the report, and the command."""

import json
from dataclasses import replace

import pytest

from uprightpose.bench import suite
from uprightpose.bench.growth import Growth
from uprightpose.bench.machine import measure_machine
from uprightpose.bench.report import as_json, describe, describe_growth, describe_machine
from uprightpose.bench.timing import Timing, compare
from uprightpose.cli import main


class TestReport:
    def test_says_times_ratios_bars_and_floor(self, tiny, machine):
        text = describe(compare(tiny, machine, rounds=1))
        assert "spin: spin around" in text
        assert "outputs agree: all 7" in text
        assert "(bar 3: met)" in text
        assert "absent: not installed" in text
        assert "floor" in text
        assert "memory, MB: 3" in text

    def test_says_where_cpu_time_disagrees(self, tiny, machine):
        outcome = compare(tiny, machine, rounds=1)
        timings = {"short": Timing(1.0, 2.0, (1.0,)), "long": Timing(4.0, 4.0, (4.0,))}
        text = describe(replace(outcome, timings=timings))
        assert "(bar 3: met, by CPU time MISSED)" in text

    def test_json_holds_every_round(self, tiny, machine):
        outcome = compare(tiny, machine, rounds=2).without_work()
        sizes = [Growth("people", 10, 1.0, 100.0, 50.0, 5.0)]
        content = json.loads(json.dumps(as_json(machine, [outcome], sizes, 2)))
        (one,) = content["comparisons"]
        assert len(one["seconds"]["long"]["rounds"]) == 2
        assert one["ratio"]["long"] == pytest.approx(outcome.ratio("long"))
        assert one["met"] == {"long": True, "absent": None}
        assert one["met_cpu"] == {"long": True, "absent": None}
        assert content["date"] > "2026"
        assert content["python"].startswith("3.")
        assert content["machine"]["gigaflops"] == 100.0
        assert content["growth"][0]["number"] == 10

    def test_growth_in_lines(self):
        text = describe_growth([Growth("pictures", 10, 1.0, 100.0, 50.0, 5.0)])
        assert "10 pictures" in text
        assert "100.00 ms each" in text

    def test_machine_in_words(self):
        text = describe_machine(measure_machine(1))
        assert "1 threads used" in text
        assert "torch" in text


class TestCommand:
    @pytest.fixture
    def only_tiny(self, tiny, monkeypatch):
        monkeypatch.setattr(suite, "CASES", {"spin": lambda _threads: tiny})

    def test_prints_and_writes(self, only_tiny, tmp_path, capsys):
        out = tmp_path / "new" / "numbers.json"
        assert main(["bench", "sp", "--rounds", "1", "--threads", "1", "--out", str(out)]) == 0
        text = capsys.readouterr().out
        assert "[1/1] spin: spin around" in text
        assert "1 comparisons, 0 bars missed" in text
        assert json.loads(out.read_text())["comparisons"][0]["name"] == "spin"

    def test_lists_names(self, capsys):
        assert main(["bench", "conv-layer", "--list"]) == 0
        assert capsys.readouterr().out.split() == ["conv-layer-batch1", "conv-layer-batch8"]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["no-such"], "expected names that begin as"),
            (["decode", "--rounds", "0"], "--rounds of at least 1"),
            (["decode", "--threads", "-1"], "--threads of at least 0"),
        ],
    )
    def test_mistakes_are_one_line(self, arguments, said, capsys):
        assert main(["bench", *arguments]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
