"""Tables from nothing to their reports on stick figures; interrupted ones go on."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import uprightpose.train.run
from uprightpose.cli import main
from uprightpose.reproduce import rows
from uprightpose.reproduce.experiment import reproduce_table
from uprightpose.reproduce.paper import TABLES
from uprightpose.reproduce.report import Report, write_report
from uprightpose.reproduce.requirements import read_test_people
from uprightpose.reproduce.scales import SCALES
from uprightpose.reproduce.tables import EXPERIMENTS, Experiment
from uprightpose.sample_predictions import predict_samples
from uprightpose.train.module import StageModule
from uprightpose.train.recipe import Recipe
from uprightpose.weights import load_weights

Reproduce = Callable[..., Report]

STAGE_1 = replace(
    EXPERIMENTS["table9"],
    rows=EXPERIMENTS["table9"].rows[0:3:2],
    contrasts=(("Stage 1 with body norm.", "FCN"),),
    turned=False,
)
"""Two rows of Table 9: a detector, and its refinement."""


@pytest.fixture(scope="module")
def reproduce(tiny, place) -> Reproduce:
    def run(table: str | Experiment, out: str = "out", times: float = 1, **options) -> Report:
        experiment = EXPERIMENTS[table] if isinstance(table, str) else table
        where = replace(place, out=place.out.with_name(out), times=times)
        return reproduce_table(experiment, tiny, where, **{"draws": 20} | options)

    return run


@pytest.fixture(scope="module")
def table9(reproduce) -> Report:
    """Table 9, made without interruption."""
    return reproduce("table9")


def count_trainings(patch: pytest.MonkeyPatch) -> list[str]:
    """Return the list to which each call of train adds the name of its folder."""
    seen, train = [], uprightpose.train.run.train

    def counted(recipe: Recipe) -> Path:
        seen.append(Path(recipe.out).name)
        return train(recipe)

    patch.setattr("uprightpose.train.run.train", counted)
    return seen


def interrupt(patch: pytest.MonkeyPatch, stage: str, at: int, **keys) -> None:
    """Make Ctrl-C come at a step of the stage of recipes with these keys."""
    step = StageModule.training_step

    def stopped(module: StageModule, batch, index):
        recipe = module.recipe
        chosen = all(getattr(recipe, key) == value for key, value in keys.items())
        if chosen and module.stage.name == stage and module.global_step == at:
            raise KeyboardInterrupt
        return step(module, batch, index)

    patch.setattr(StageModule, "training_step", stopped)


def columns_of(report: Report, at: int = 0) -> dict[str, dict]:
    return report.numbers["results"][at]["rows"]


class TestTable9:
    def test_every_row_has_ours_and_the_papers_numbers(self, table9):
        rows = columns_of(table9)
        assert list(rows) == [row.title for row in TABLES["table9"].rows]
        for title, row in rows.items():
            assert row["paper"] == TABLES["table9"].row(title)
            assert set(row["paper"]) <= set(row["mean"])
            assert all(0 <= row["mean"][column] <= 100 for column in row["paper"])
            assert row["mean"] == row["seeds"]["0"]

    def test_natural_and_turned_pictures_of_four_people_are_scored(self, table9):
        kinds = [(one["pictures"], one["protocol"]) for one in table9.numbers["results"]]
        assert kinds == [("natural", "lsp"), ("turned", "lsp")]
        assert [one["joints"] for one in table9.numbers["results"]] == [4 * 14, 4 * 14]

    def test_the_page_says_what_the_numbers_are_of(self, table9, tmp_path):
        write_report(table9, tmp_path, "table9", "uprightpose reproduce table9")
        page = (tmp_path / "table9.md").read_text()
        for said in (
            "uprightpose reproduce table9",
            "only contrasts between rows are",
            "observer-centric (oc)",
            "left shoulder - right hip",
            "0.2 reference lengths, included",
            "56 joints",
            "| Stage 2 with limb norm. | **paper** | 94.2 | 88.4 | 77.7 | 70.4 | 88.8 |",
            "PyTorch",
            "| Stage 2 with limb norm. - FCN | Total |",
            "+0.7 |",  # the paper's gain of that contrast
        ):
            assert said in page, said

    def test_each_row_keeps_what_its_own_last_stage_says(self, table9, place):
        found = {}
        for title, seeds in table9.numbers["trainings"].items():
            weights = place.out / seeds["0"]["weights"]
            stem = f"{seeds['0']['runs'][-1]}-lsp"
            with np.load(place.out / "rows" / f"{stem}-natural.npz") as kept:
                found[title] = kept["predicted"]
            people = read_test_people(EXPERIMENTS["table9"], place.data)
            model, settings = load_weights(weights)
            seen = predict_samples(model, settings.crop, people).joints
            np.testing.assert_allclose(found[title], seen[settings.last], atol=1e-6)
        for one, other in combinations(found.values(), 2):
            assert not np.allclose(one, other)

    def test_turned_people_are_turned_about_the_middle_of_their_picture(self, table9, place):
        run = table9.numbers["trainings"]["FCN"]["0"]["runs"][-1]
        truth = []
        for pictures in ("natural", "turned"):
            with np.load(place.out / "rows" / f"{run}-lsp-{pictures}.npz") as kept:
                truth.append(kept["truth"] - (29.5, 31.5))  # pictures of 60 x 64
        radius = [np.linalg.norm(joints, axis=2) for joints in truth]
        np.testing.assert_allclose(*radius, atol=1e-6)
        assert (np.abs(truth[0] - truth[1]).max(axis=(1, 2)) > 1).all()

    def test_trainings_are_counted(self, table9):
        facts = {title: seeds["0"] for title, seeds in table9.numbers["trainings"].items()}
        assert facts["FCN"]["steps"] == {"detector": 2}
        assert facts["FCN"]["pictures"] == 6
        whole = facts["Stage 2 with limb norm."]
        assert (whole["steps"], whole["pictures"]) == ({"detector": 2, "body": 1, "limbs": 2}, 15)
        assert all(seconds > 0 for seconds in whole["seconds"].values())
        runs = {title: one["runs"] for title, one in facts.items()}
        assert runs["Stage 2 without limb norm."][:2] == runs["Stage 1 with body norm."]
        assert len({name for row in runs.values() for name in row}) == 5

    def test_the_command_writes_it(self, table9, place, tiny, monkeypatch, capsys):
        monkeypatch.setitem(SCALES, "small", tiny)
        folders = ["--data", str(place.data), "--out", str(place.out)]
        options = ["--device", "cpu", "--threads", "1", "--intervals", "20"]
        assert main(["reproduce", "table9", *folders, *options]) == 0
        numbers = json.loads((place.out / "table9.json").read_text())
        assert numbers["results"] == table9.numbers["results"]
        said = capsys.readouterr().out
        assert "Stage 2 with limb norm. - FCN: Total" in said
        assert str(place.out / "table9.md") in said


class TestInterrupted:
    """'A run can be interrupted and resumed row by row.'"""

    def test_a_finished_table_is_not_made_again(self, table9, reproduce, monkeypatch, capsys):
        seen = count_trainings(monkeypatch)
        monkeypatch.setattr("uprightpose.sample_predictions.predict_samples", None)
        assert reproduce("table9") == table9
        assert not seen
        assert capsys.readouterr().out.count("was ready: ") == 5

    def test_a_lost_prediction_is_made_again(self, table9, reproduce, place, monkeypatch, capsys):
        """A row that lacks its turned copy is not called ready."""
        seen = count_trainings(monkeypatch)
        lost = sorted((place.out / "rows").glob("*-turned.npz"))[0]
        before = lost.read_bytes()
        lost.unlink()
        assert reproduce("table9") == table9
        assert not seen
        assert capsys.readouterr().out.count("was ready: ") == 4
        assert len(lost.read_bytes()) == len(before)

    def test_inside_a_stage(self, table9, reproduce, place, monkeypatch, capsys):
        with monkeypatch.context() as patch:
            interrupt(patch, "limbs", at=1, normalize_limbs=False)
            with pytest.raises(KeyboardInterrupt):
                reproduce("table9", "halved")
        done = place.out.with_name("halved") / "rows"
        assert len(list(done.glob("*.npz"))) == 2 * 3  # three rows, natural and turned
        seen = count_trainings(monkeypatch)
        capsys.readouterr()
        resumed = reproduce("table9", "halved")
        assert len(seen) == 2  # both limb rows
        assert capsys.readouterr().out.count("was ready: ") == 3
        assert resumed.numbers["results"] == table9.numbers["results"]

    def test_before_a_row_is_predicted(self, reproduce, monkeypatch):
        """Twice: while the detector learns, and when it has; seconds of all parts are counted."""
        clock = iter(range(0, 10_000, 100))
        now = SimpleNamespace(monotonic=lambda: float(next(clock)))
        monkeypatch.setattr(rows, "time", now)
        with monkeypatch.context() as patch:
            interrupt(patch, "detector", at=1)
            with pytest.raises(KeyboardInterrupt):
                reproduce(STAGE_1, "unseen")
        with monkeypatch.context() as patch:
            patch.setattr("uprightpose.sample_predictions.predict_samples", stop)
            with pytest.raises(KeyboardInterrupt):
                reproduce(STAGE_1, "unseen")
        seen = count_trainings(monkeypatch)
        facts = reproduce(STAGE_1, "unseen").numbers["trainings"]["Stage 1 with body norm."]["0"]
        assert [name.split("-")[1] for name in seen] == ["body"]
        assert facts["seconds"] == {"detector": 200.0, "body": 100.0}


def stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


class TestSeeds:
    def test_every_seed_is_shown_beside_their_mean(self, table9, reproduce, monkeypatch):
        seen = count_trainings(monkeypatch)
        report = reproduce(STAGE_1, seeds=2)
        assert len(seen) == 2  # the first seed's are Table 9's
        rows, known = columns_of(report), columns_of(table9)
        for title, row in rows.items():
            assert list(row["seeds"]) == ["0", "1"]
            assert row["seeds"]["0"] == known[title]["mean"]
            areas = [row["seeds"][seed]["AUC"] for seed in "01"]
            assert row["mean"]["AUC"] == pytest.approx(np.mean(areas))
        assert rows["FCN"]["seeds"]["0"] != rows["FCN"]["seeds"]["1"]
        text = report.sections["Rows, natural pictures, protocol lsp"]
        assert [text.count(part) for part in ("seed 0", "seed 1", "mean", "**paper**")] == [2] * 4
        assert report.facts["seeds"] == "0, 1"


class TestErrorTypes:
    """'The error types before and after' refinement: a line per row."""

    def test_each_row_on_natural_and_turned_pictures(self, table9):
        lines = table9.sections["Error types"].splitlines()
        titles = list(columns_of(table9))
        places = [line.split(" | ")[:2] for line in lines if line.startswith("| ")][1:]
        sets = ("natural", "turned")
        assert places == [[f"| {title}", pictures] for pictures in sets for title in titles]
        for one in table9.numbers["results"]:
            for row in one["rows"].values():
                shares = row["errors"]["0"]
                assert shares["good"]["Total"] == pytest.approx(row["mean"]["Total"])
                assert sum(columns["Total"] for columns in shares.values()) == pytest.approx(100)

    def test_of_several_seeds_the_mean(self, reproduce):
        report = reproduce(STAGE_1, seeds=2)
        errors = columns_of(report)["FCN"]["errors"]
        mean = np.mean([shares["miss"]["Total"] for shares in errors.values()])
        line = next(x for x in report.sections["Error types"].splitlines() if "| FCN |" in x)
        assert list(errors) == ["0", "1"]
        assert line.split(" | ")[-1] == f"{mean:.2f} |"


class TestBodyAngles:
    """'By group and by body angle, on the natural test set and on the turned copy.'"""

    def test_everyone_with_an_angle_is_in_one_range(self, table9):
        for one in table9.numbers["results"]:
            total = next(iter(one["rows"].values()))["mean"]["Total"]
            groups = [g for g in one["angles"].values() if g["people"]]
            assert sum(g["people"] for g in groups) == 4
            first = [next(iter(g["rows"].values()))["Total"] for g in groups]
            counts = [g["people"] for g in groups]
            assert np.average(first, weights=counts) == pytest.approx(total)

    def test_differences_are_those_of_the_rows(self, table9):
        for one in table9.numbers["results"]:
            for group in one["angles"].values():
                for pair in group["contrasts"]:
                    first, second = (group["rows"][pair[at]]["Total"] for at in ("first", "second"))
                    assert pair["columns"]["Total"]["value"] == pytest.approx(first - second)

    def test_the_page_shows_them(self, table9):
        lines = table9.sections["By true body angle"].splitlines()
        titles, pairs = list(columns_of(table9)), EXPERIMENTS["table9"].contrasts
        firsts = [line.split(" | ")[0].removeprefix("| ") for line in lines if "| natural" in line]
        assert firsts == [*titles, *(" - ".join(pair) for pair in pairs)]


class TestOtherTables:
    def test_table_1_compares_baselines_with_normalization(self, reproduce):
        report = reproduce("table1")
        contrasts = report.numbers["results"][0]["contrasts"]
        assert [one["columns"]["Total"]["paper"] for one in contrasts] == [0.8, 1.0, 1.8, 1.0, 0.8]
        assert (contrasts[-1]["first"], contrasts[-1]["second"]) == (
            "Global normalization",
            "Multi-branch",
        )
        assert "134M+33M" in report.sections["What was trained"]
        steps = report.numbers["trainings"]["Multi-branch"]["0"]["steps"]
        assert steps == {"detector": 2, "body": 3}

    def test_table_11_trains_what_tables_1_and_9_have_not(self, table9, reproduce, monkeypatch):
        reproduce("table1")
        seen = count_trainings(monkeypatch)
        reproduce("table11")
        assert len(seen) == 7 - 2  # FCN 8s is Table 1's, FCN 8s (Fusion) Table 9's

    def test_table_7_scores_flic(self, reproduce, flic):
        report = reproduce("table7")
        assert columns_of(report)["Refine"]["paper"]["Wrist"] == 97.7
        assert report.numbers["results"][0]["joints"] == 3 * 10
        assert "Newell [22]" in report.sections["Other methods, as the paper prints them"]

    def test_table_8_scores_validation_people_by_two_protocols(self, reproduce, mpii):
        report = reproduce("table8", times=0.2)
        kinds = [one["protocol"] for one in report.numbers["results"]]
        assert kinds == ["mpii-official", "mpii-valid"]
        assert columns_of(report)["Hourglass"]["paper"]["Total"] == 90.9
        assert report.numbers["trainings"]["Hourglass"]["0"]["steps"] == {"detector": 2}
        assert "All steps are 0.2 times the scale's." in report.caveats
        assert "mpii_human_pose_v1_u12_1.mat" in report.sections["Files for the test server"]
