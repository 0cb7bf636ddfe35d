"""'Where a dataset is absent, the command says which folder it needs and stops with code 2.'"""

import pytest

from uprightpose.cli import main
from uprightpose.errors import InputError
from uprightpose.reproduce.requirements import read_test_people
from uprightpose.reproduce.tables import EXPERIMENTS, Place


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        *((f"table{number}", "lsp") for number in (1, 2, 4, 9, 11)),
        *((f"table{number}", "lsp") for number in (5, 10)),
        *((f"table{number}", "mpii") for number in (3, 6, 8)),
        ("table7", "flic"),
        ("figure5", "lsp"),
    ],
)
@pytest.mark.parametrize("scale", ["small", "paper"])
def test_an_absent_dataset_is_one_line_and_exit_code_2(name, dataset, scale, tmp_path, capsys):
    out = tmp_path / "out"
    code = main(["reproduce", name, "--scale", scale, "--data", str(tmp_path), "--out", str(out)])
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.count("\n") == 1
    assert str(tmp_path / dataset) in captured.err
    assert "images/" in captured.err
    assert not (out / "runs").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seeds", "0"], "--seeds"),
        (["--times", "0"], "--times"),
        (["--threads", "-1"], "--threads"),
        (["--scale", "tiny"], "scale"),
        (["--intervals", "-3"], "--intervals"),
    ],
)
def test_refused_options(options, said, place, capsys):
    code = main(
        ["reproduce", "table9", "--data", str(place.data), "--out", str(place.out), *options]
    )
    assert code == 2
    assert said in capsys.readouterr().err


def people(place: Place, name: str):
    return read_test_people(EXPERIMENTS[name], place.data)


class TestWhatIsThereIsNotEnough:
    def test_test_people_are_those_of_the_test_split(self, place, flic, mpii):
        assert [one.id for one in people(place, "table9")] == [9, 10, 11, 12]
        assert {one.labels for one in people(place, "table9")} == {"oc"}
        assert {one.labels for one in people(place, "table4")} == {"pc"}
        assert [one.split for one in people(place, "table7")] == ["test"] * 3
        assert [one.split for one in people(place, "table8")] == ["valid"] * 3

    def test_pictures_of_test_people_are_missing(self, place, flic):
        (flic / "images" / "000000008.jpg").rename(flic / "gone.jpg")
        with pytest.raises(InputError, match=r"1 of 3 test people without their picture.*00008"):
            people(place, "table7")
        (flic / "gone.jpg").rename(flic / "images" / "000000008.jpg")

    def test_people_to_train_on_are_missing(self, place, mpii):
        (mpii / "train.h5").rename(mpii / "gone")
        with pytest.raises(InputError, match="nobody of its train split"):
            people(place, "table8")
        (mpii / "gone").rename(mpii / "train.h5")
