"""The paper's tables as data: the internal checks of SPEC 2.1."""

import pytest

from uprightpose.reproduce.paper import JOINTS, TABLES

ROWS = [
    (name, row)
    for name, table in TABLES.items()
    for row in table.rows
    if name not in ("table7", "table8") and None not in row.cells[: len(JOINTS)]
]

# SPEC 2.1, marked (!): printed total and what the groups average to
MISPRINTS = {("table1", "FCN"): (81.5, 81.2), ("table5", "Bulat [5]"): (83.5, 84.0)}


def mean_of_groups(name, title):
    cells = TABLES[name].row(title)
    return sum(cells[joint] for joint in JOINTS) / len(JOINTS)


class TestTotals:
    """On LSP every group has two joints and all are counted: Total = mean of the groups."""

    @pytest.mark.parametrize(("name", "row"), ROWS, ids=lambda v: getattr(v, "title", v))
    def test_total_is_the_mean_of_the_groups(self, name, row):
        table = TABLES[name]
        cells = table.row(row.title)
        found = mean_of_groups(name, row.title)
        if (name, row.title) in MISPRINTS:
            printed, mean = MISPRINTS[name, row.title]
            assert cells["Total"] == printed
            assert found == pytest.approx(mean, abs=0.05)
            assert any(row.title in note for note in table.notes)
        else:  # each cell is rounded to 0.1, so is the total
            assert found == pytest.approx(cells["Total"], abs=0.1 + 1e-9)

    def test_disputed_head_values_stand_where_the_totals_put_them(self):
        title = "Stage 1 without body norm."
        assert mean_of_groups("table9", title) == pytest.approx(82.89, abs=0.005)
        assert mean_of_groups("table10", title) == pytest.approx(86.06, abs=0.005)

    def test_scattered_totals_of_table_11(self):
        rows = ("FCN 32s", "FCN 16s", "FCN 8s")
        means = [round(mean_of_groups("table11", row), 2) for row in rows]
        assert means == [80.41, 81.63, 81.94]
        assert [TABLES["table11"].row(row)["AUC"] for row in rows] == [50, 52.1, 53.7]

    def test_the_hip_of_the_fusion_row_is_the_printed_one_and_noted(self):
        assert TABLES["table11"].row("FCN 8s (Fusion)")["Hip"] == 87.7
        assert TABLES["table2"].row("FCN")["Hip"] == TABLES["table9"].row("FCN")["Hip"] == 87.1
        assert any("87.1" in note for note in TABLES["table11"].notes)


# SPEC 2.1, "claims in the text recomputed from the tables"
CLAIMS = [
    ("table2", "FCN+Refine", "Chu [9]", "AUC", 4.3),
    ("table2", "FCN+Refine", "FCN", "Total", 0.9),
    ("table3", "FCN+Refine", "FCN", "Total", 1.1),
    ("table4", "FCN+Refine", "Yang [37]", "Total", 4.3),
    ("table4", "FCN+Refine", "Yang [37]", "AUC", 11.4),
    ("table5", "FCN+Refine", "Yu [40]", "AUC", 3.3),
    ("table5", "FCN+Refine", "Yu [40]", "Total", 0.7),
    ("table6", "ResNet+Refine", "ResNet-152", "Total", 0.9),
    ("table6", "ResNet+Refine", "Bulat [5]", "AUC", 1.4),
    ("table6", "Hg+Refine", "Hourglass", "Total", 0.7),
    ("table7", "Refine", "ResNet-152", "Elbow", 0.4),
    ("table7", "Refine", "ResNet-152", "Wrist", 0.7),
    ("table7", "Refine", "ResNet-152", "AUC", 1.6),
    ("table8", "Hourglass+Refine", "Hourglass", "Total", 0.1),
    ("table9", "Stage 1 with body norm.", "FCN", "Shoulder", 0.7),
    ("table9", "Stage 1 with body norm.", "FCN", "Hip", 1.1),
    ("table9", "Stage 2 with limb norm.", "Stage 1 with body norm.", "Wrist", 0.6),
    ("table9", "Stage 2 with limb norm.", "Stage 1 with body norm.", "Knee", 0.9),
    ("table9", "Stage 2 with limb norm.", "Stage 1 with body norm.", "Ankle", 0.3),
    ("table9", "Stage 1 with body norm.", "Stage 1 without body norm.", "Total", 0.3),
    ("table9", "Stage 2 with limb norm.", "Stage 2 without limb norm.", "Total", 0.5),
]


@pytest.mark.parametrize(("name", "better", "worse", "column", "gain"), CLAIMS)
def test_claims_follow_from_the_tables(name, better, worse, column, gain):
    rows = (TABLES[name].row(title)[column] for title in (better, worse))
    assert next(rows) - next(rows) == pytest.approx(gain, abs=1e-9)


def test_all_eleven_tables_are_there():
    assert list(TABLES) == [f"table{number}" for number in range(1, 12)]
    assert sum(len(table.rows) for table in TABLES.values()) == 62
    assert {len(row.cells) for row in TABLES["table7"].rows} == {5}


def test_the_same_network_has_the_same_numbers_everywhere():
    """Tables 2, 9 and 11 show one run (but for the hip), Tables 1 and 11 two."""
    nine, two = TABLES["table9"].row("FCN"), TABLES["table2"].row("FCN")
    assert nine == {column: two[column] for column in nine}


def test_an_unknown_row_is_refused():
    with pytest.raises(KeyError, match="table9 has no row"):
        TABLES["table9"].row("Stage 3")
