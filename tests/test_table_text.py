"""Text and JSON: every number says what it is, aligned and with every digit."""

import json
import math

import numpy as np

from uprightpose.protocols import PROTOCOLS
from uprightpose.table_text import as_json, difference_json, format_tables
from uprightpose.tables import Difference, Table, pck_table

LSP_TEST = PROTOCOLS["lsp"]
COLUMNS = ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Total", "AUC"]


def one_row(table: Table) -> str:
    return format_tables({"PCK": table})


class TestPresentation:
    """'State the protocol with every number' (SPEC 3.2)."""

    def table(self, draws: int = 0) -> Table:
        truth = np.random.default_rng(0).integers(0, 30, (7, 14, 2)) * 1.0
        predicted = truth + np.random.default_rng(1).normal(0, 1.5, truth.shape)
        return pck_table(predicted, truth, LSP_TEST, "oc", draws=draws)

    def test_text_has_the_columns_in_order_and_aligned(self):
        lines = one_row(self.table()).splitlines()
        assert lines[0].split() == ["People", *COLUMNS]
        assert len(lines) == 2
        assert len(lines[0]) == len(lines[1])
        assert [float(cell) for cell in lines[1].split()[2:]] == [
            round(score, 2) for score in self.table().scores.values()
        ]

    def test_intervals_stand_below_their_row(self):
        text = format_tables({"all": self.table(draws=9), "0-30": self.table(draws=9)})
        names = [line.split()[0] for line in text.splitlines()]
        assert names == ["People", "all", "from", "to", "0-30", "from", "to"]

    def test_json_keeps_every_digit_and_says_what_was_measured(self):
        table = self.table(draws=9)
        found = json.loads(json.dumps(as_json(table)))
        assert list(found["scores"]) == COLUMNS == list(found["intervals"])
        assert found["scores"]["Total"] == table.scores["Total"] != round(table.scores["Total"], 2)
        assert (found["labels"], found["threshold"], found["people"]) == ("oc", 0.2, 7)
        assert found["reference_length"] == "left shoulder - right hip"
        assert as_json(self.table())["intervals"] is None
        assert found["threshold_included"] is True
        assert found["protocol"] == "lsp"

    def test_a_difference_stands_below_the_two_with_its_p(self):
        difference = {title: Difference(1.5, -0.25, math.nan, 0.0312, 0.2808) for title in COLUMNS}
        text = format_tables({"A": self.table(draws=9), "B": self.table(draws=9)}, difference)
        lines = text.splitlines()
        names = [line[:8].strip() for line in lines]
        assert names == ["", "A", "from", "to", "B", "from", "to", "A - B", *names[-4:]]
        assert names[-4:] == ["from", "to", "p", "p Holm"]
        cells = [line.split()[-1] for line in lines[-5:]]
        assert cells == ["+1.50", "-0.25", "-", "0.0312", "0.2808"]
        assert len({len(line) for line in lines}) == 1

    def test_a_difference_without_draws_is_one_line(self):
        difference = {title: Difference(1.5, *[math.nan] * 4) for title in COLUMNS}
        text = format_tables({"A": self.table(), "B": self.table()}, difference)
        assert len(text.splitlines()) == 4
        assert difference_json(difference)["Head"] == {
            "value": 1.5,
            "low": None,
            "high": None,
            "p": None,
            "p_holm": None,
        }
