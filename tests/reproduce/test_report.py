"""Reports: the page, the numbers and the picture say the same, and how they were made."""

import json

import pytest

from uprightpose.errors import InputError
from uprightpose.reproduce.report import Report, format_report, write_report

REPORT = Report(
    title="Figure 0: nothing",
    facts={"reference length": "torso", "seed": "3"},
    findings=("all is well",),
    sections={"Table": "| a |"},
    caveats=("necessary, not sufficient",),
    numbers={"seed": 3, "wins": None},
    picture=b"\x89PNG",
)


def test_all_three_files_are_written_into_a_new_folder(tmp_path):
    files = write_report(REPORT, tmp_path / "new", "figure0", "uprightpose reproduce figure0")
    assert [file.name for file in files] == ["figure0.md", "figure0.json", "figure0.png"]
    assert sorted((tmp_path / "new").iterdir()) == sorted(files)
    assert files[2].read_bytes() == REPORT.picture
    page, numbers = files[0].read_text(), json.loads(files[1].read_text())
    assert "```sh\nuprightpose reproduce figure0\n```" in page
    assert numbers["command"] == "uprightpose reproduce figure0"
    assert numbers["seed"] == 3
    assert numbers["facts"] == REPORT.facts
    assert numbers["caveats"] == ["necessary, not sufficient"]


def test_a_page_has_its_parts_in_order():
    page = format_report(REPORT, "a command", "figure0.png")
    parts = ("# Figure 0", "a command", "- seed: 3", "](figure0.png)", "all is well", "| a |")
    places = [page.index(part) for part in (*parts, "necessary, not")]
    assert places == sorted(places)


def test_without_a_picture_there_is_no_picture(tmp_path):
    from dataclasses import replace

    files = write_report(replace(REPORT, picture=None), tmp_path, "table0", "a command")
    assert [file.name for file in files] == ["table0.md", "table0.json"]
    assert "![" not in files[0].read_text()


def test_a_folder_that_cannot_be_made_is_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_report(REPORT, tmp_path / "file", "figure0", "a command")
