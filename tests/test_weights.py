"""Weights: what was saved comes back, and nothing else."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.testing import assert_close

from uprightpose.errors import InputError
from uprightpose.model import STAGES
from uprightpose.skeletons import COCO, FLIC, LSP
from uprightpose.weights import (
    FORMAT,
    Settings,
    build,
    count_parameters,
    load_weights,
    read_folded,
    save_weights,
)

SMALL = Settings(
    trunk="mobilenetv3_small_050",
    size=64,
    head_width=4,
    refine_width=3,
    kernels=(3, 5),
    canvas=1.25,
    limb_canvas=0.75,
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    net = build(SMALL)
    with torch.no_grad():  # norms that have seen something
        net.detector(255 * torch.rand(2, 3, 48, 64))
    return net.eval()


@pytest.fixture
def path(tmp_path, model):
    file = tmp_path / "new" / "small.safetensors"
    save_weights(model, SMALL, file)
    return file


def written(path, notes, state=None):
    save_file(state or {"a": torch.zeros(1)}, path, metadata=notes)
    return path


class TestRoundTrip:
    """'Half-precision safetensors' beside their settings (issue 2)."""

    @pytest.mark.parametrize("half", [True, False])
    def test_what_was_saved_comes_back(self, tmp_path, model, half):
        path = tmp_path / "weights.safetensors"
        save_weights(model, SMALL, path, half=half)
        loaded, settings = load_weights(path, LSP)
        assert settings == SMALL
        assert not loaded.training
        for name, value in loaded.state_dict().items():
            expected = model.state_dict()[name]
            assert value.dtype == expected.dtype
            if half and expected.is_floating_point():
                expected = expected.half().float()
            assert torch.equal(value, expected), name

    def test_half_is_half_the_size(self, tmp_path, model):
        sizes = []
        for half in (True, False):
            save_weights(model, SMALL, tmp_path / "w.safetensors", half=half)
            sizes.append((tmp_path / "w.safetensors").stat().st_size)
        assert sizes[0] < 0.6 * sizes[1]

    def test_outputs_are_nearly_the_same(self, path, model):
        images = 255 * torch.rand(1, 3, 48, 64)
        loaded, _ = load_weights(path)
        with torch.no_grad():
            for mine, theirs in zip(model.detector(images), loaded.detector(images), strict=True):
                assert_close(mine, theirs, atol=0.02, rtol=0.02)

    @pytest.mark.parametrize("last", STAGES)
    def test_stages_that_are_not_trained_yet(self, tmp_path, last):
        settings = Settings(**{**SMALL.__dict__, "last": last})
        model, path = build(settings), tmp_path / "part.safetensors"
        assert (model.body is None, model.limbs is None) == (last == "detector", last != "limbs")
        save_weights(model, settings, path)
        loaded, found = load_weights(path)
        assert found.last == last
        assert count_parameters(loaded) == count_parameters(model)

    def test_later_stages_of_a_whole_network_are_left_out(self, tmp_path, model):
        settings = Settings(**{**SMALL.__dict__, "last": "body"})
        save_weights(model, settings, tmp_path / "part.safetensors")
        loaded, _ = load_weights(tmp_path / "part.safetensors")
        assert loaded.limbs is None

    def test_no_partial_file_is_left(self, path):
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    @pytest.mark.parametrize(
        "change",
        [{"normalize": False}, {"residual": True}, {"skeleton": "flic"}, {"kernels": (3,)}],
        ids=str,
    )
    def test_every_setting_is_kept(self, tmp_path, change):
        settings = Settings(**{**SMALL.__dict__, **change})
        save_weights(build(settings), settings, tmp_path / "w.safetensors")
        loaded, found = load_weights(tmp_path / "w.safetensors")
        assert found == settings
        assert loaded.body.normalize == loaded.limbs.normalize == settings.normalize
        assert loaded.limbs.upright == settings.normalize
        assert (loaded.body.net.kept is not None) == settings.residual
        assert loaded.body.canvas == loaded.limbs.canvas == 1.25
        assert loaded.limbs.limb_canvas == 0.75


class TestRefused:
    """'Weights from another skeleton' and other bad input: one clear line (issue 2)."""

    def refused(self, path, skeleton=None) -> str:
        with pytest.raises(InputError) as caught:
            load_weights(path, skeleton)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    @pytest.mark.parametrize("skeleton", [FLIC, COCO])
    def test_another_skeleton(self, path, skeleton):
        assert "lsp" in self.refused(path, skeleton)

    def test_a_skeleton_that_nobody_knows(self, tmp_path):
        notes = {FORMAT: json.dumps({"skeleton": "cat"})}
        assert "cat" in self.refused(written(tmp_path / "w.safetensors", notes))

    def test_missing(self, tmp_path):
        assert "no such" in self.refused(tmp_path / "nothing.safetensors")

    @pytest.mark.parametrize("keep", [0, 4, 100, -10])
    def test_damaged(self, path, keep):
        path.write_bytes(path.read_bytes()[:keep])
        assert "damaged" in self.refused(path)

    @pytest.mark.parametrize("notes", [None, {"uprightpose-0": "{}"}], ids=str)
    def test_another_program_wrote_it(self, tmp_path, notes):
        assert FORMAT in self.refused(written(tmp_path / "w.safetensors", notes))

    @pytest.mark.parametrize("settings", ["", "{", "3"])
    def test_damaged_settings(self, tmp_path, settings):
        notes = {FORMAT: settings}
        assert "settings" in self.refused(written(tmp_path / "w.safetensors", notes))

    def test_unknown_settings(self, tmp_path):
        notes = {FORMAT: json.dumps({"wings": 2})}
        assert "wings" in self.refused(written(tmp_path / "w.safetensors", notes))

    def test_weights_of_another_shape(self, tmp_path, path):
        with safe_open(path, framework="pt") as file:
            notes = file.metadata()
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        settings = json.loads(notes[FORMAT]) | {"refine_width": 5}
        notes[FORMAT] = json.dumps(settings)
        assert "disagree" in self.refused(written(tmp_path / "w.safetensors", notes, state))
        del state["detector.score4.bias"]
        settings["refine_width"] = 3
        notes[FORMAT] = json.dumps(settings)
        assert "disagree" in self.refused(written(tmp_path / "w.safetensors", notes, state))


def test_a_folder_without_arrays(tmp_path):
    with pytest.raises(InputError, match="found none"):
        read_folded(tmp_path)
