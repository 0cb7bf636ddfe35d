"""Weights: what was saved comes back, and nothing else."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.testing import assert_close

from uprightpose.angle_net import AngleNet
from uprightpose.baselines import BranchedRefiner, TypeSupervisedRefiner
from uprightpose.detectors.compact import CompactDetector
from uprightpose.detectors.fcn import FCN
from uprightpose.detectors.hourglass import Hourglass
from uprightpose.detectors.resnet import ResNetDetector
from uprightpose.errors import InputError
from uprightpose.frames import Crop
from uprightpose.model import STAGES
from uprightpose.predict import load
from uprightpose.settings import HEAD_WIDTHS, Settings
from uprightpose.skeletons import COCO, FLIC, LSP
from uprightpose.weights import (
    ANGLE_FORMAT,
    FORMAT,
    build,
    build_detector,
    count_parameters,
    load_angle_net,
    load_weights,
    read_folded,
    save_angle_net,
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

TINY = Settings(
    trunk="test_resnet",
    size=64,
    head_width=8,
    fc6_kernel=1,
    stacks=1,
    refine_width=3,
    kernels=(3, 5),
    canvas=1.25,
    limb_canvas=0.75,
)
CENTERS = np.random.default_rng(0).normal(size=(3, 14, 2))
CHANGES = (
    {"normalize": False},
    {"normalize_limbs": False},
    {"residual": True},
    {"skeleton": "flic"},
    {"kernels": (3,)},
    {"large_layers": 3},
    {"pairs": "per map"},
    {"in_place": True, "canvas": 1.0, "limb_canvas": 1.0},
    {"semi_global": "b"},
    {"semi_global": "c", "residual": True},
    {"limb_inputs": "all"},
    {"share_sides": True},
    {"semi_global": "b", "merge": "limb"},
    {"blur": 2.0, "subcell": False},
    {"baseline": "type-supervision", "last": "body"},
    {"baseline": "type-supervision"},
    {"baseline": "multi-branch"},
    {"labels": "oc", "size": 96, "content": 80, "resize": "stretch"},
    {"detector": "fcn"},
    {"detector": "fcn", "variant": "16s", "fc6_kernel": 3},
    {"detector": "fcn", "loss_stride": 1, "last": "body"},
    {"detector": "resnet", "last": "detector"},
    {"detector": "hourglass", "stacks": 2},
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
            found = loaded.detector(images)
            for name, mine in model.detector(images).items():
                assert_close(mine, found[name], atol=0.02, rtol=0.02)

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

    @pytest.mark.parametrize("change", CHANGES, ids=str)
    def test_every_setting_is_kept(self, tmp_path, change):
        settings = Settings(**{**TINY.__dict__, **change})
        model, path = build(settings, centers=CENTERS).eval(), tmp_path / "w.safetensors"
        save_weights(model, settings, path, half=False)
        loaded, found = load_weights(path)
        assert found == settings
        images = 255 * torch.rand(1, 3, 64, 64)
        with torch.inference_mode():
            mine, theirs = model(images), loaded(images)
        for stage in STAGES:
            parts = zip(mine.parts(stage), theirs.parts(stage), strict=True)
            assert all(torch.equal(one.maps, other.maps) for one, other in parts), stage

    def test_options_reach_the_network(self):
        """Their modules say what each does; here only that none is forgotten."""
        plain = build(TINY)
        assert (plain.body.normalize, plain.limbs.normalize, plain.limbs.upright) == (True,) * 3
        assert plain.body.net.kept is None
        assert (plain.body.canvas, plain.limbs.canvas, plain.limbs.limb_canvas) == (
            1.25,
            1.25,
            0.75,
        )
        still = build(replace(TINY, normalize=False))
        assert (still.body.normalize, still.limbs.upright) == (False, False)
        assert still.limbs.normalize
        assert not build(replace(TINY, normalize_limbs=False)).limbs.normalize
        literal = build(replace(TINY, in_place=True, canvas=1.0, limb_canvas=1.0))
        assert (literal.body.in_place, literal.limbs.in_place) == (True, True)
        mixed = build(replace(TINY, pairs="per map", residual=True))
        assert mixed.body.net.slope.shape == (15, 1, 1)
        assert mixed.body.net.kept == list(range(15))
        assert mixed.limbs.rest_net.kept == list(LSP.rest)
        assert build(replace(TINY, semi_global="c")).limbs.rest == tuple(range(14))
        limb = build(replace(TINY, semi_global="b", merge="limb", blur=0.5, subcell=False))
        assert (plain.limbs.merge, limb.limbs.merge) == ("average", "limb")
        for part in (limb.body, limb.limbs):
            assert (part.blur, part.subcell) == (0.5, False)
        assert len(build(replace(TINY, share_sides=True)).limbs.limb_nets) == 2
        wide = build(replace(TINY, limb_inputs="all", large_layers=3))
        convolutions = [m for m in wide.limbs.limb_nets[0].layers if hasattr(m, "kernel_size")]
        assert convolutions[0].in_channels == 15
        assert len(convolutions) == len(TINY.kernels) + 2

    @pytest.mark.parametrize("init", ["he", "var0.001", "std0.001"])
    def test_refinement_starts_as_it_is_told(self, init):
        model = build(replace(TINY, refine_width=32, kernels=(9,)), init=init)
        for part in (model.body.net, model.limbs.rest_net, model.limbs.limb_nets[3]):
            weight = part.layers[0].weight
            expected = {"he": 2 / weight[0].numel(), "var0.001": 1e-3, "std0.001": 1e-6}[init]
            assert weight.var().item() == pytest.approx(expected, rel=0.15)


class TestDetectors:
    """'FCN 134 M; ResNet 18/50/101/152; 8 stacks' (SPEC 1.3-1.5), each from its settings."""

    @pytest.mark.parametrize(
        ("change", "kind", "stride", "channels", "count"),
        [
            ({"detector": "compact"}, CompactDetector, 4, 15, 2),
            ({"detector": "fcn"}, FCN, 8, 15, 5),
            ({"detector": "fcn", "variant": "16s-extra"}, FCN, 8, 15, 2),
            ({"detector": "fcn", "loss_stride": 1}, FCN, 8, 15, 6),
            ({"detector": "resnet"}, ResNetDetector, 8, 14, 2),
            ({"detector": "hourglass", "stacks": 3}, Hourglass, 4, 14, 3),
        ],
        ids=str,
    )
    def test_channels_and_levels(self, change, kind, stride, channels, count):
        model = build(Settings(**{**TINY.__dict__, **change, "last": "body"})).eval()
        with torch.inference_mode():
            outputs = model(torch.zeros(1, 3, 64, 64))
        assert isinstance(model.detector, kind)
        assert model.stride == stride
        assert outputs.detector.scores.shape == (1, channels, 64 // stride, 64 // stride)
        assert outputs.body.scores.shape[1] == 15
        assert len(outputs.levels) == count
        assert set(model.detector.phases[-1]) <= set(outputs.levels)

    @pytest.mark.parametrize("detector", HEAD_WIDTHS)
    def test_a_head_of_its_own_width(self, detector):
        """A ``head_width`` of 0 is the detector's own."""
        own, same = (
            Settings(
                detector=detector, trunk="test_resnet", head_width=width, stacks=1, fc6_kernel=1
            )
            for width in (0, HEAD_WIDTHS[detector])
        )
        with torch.device("meta"):
            shapes = [
                {name: value.shape for name, value in build_detector(one).state_dict().items()}
                for one in (own, same)
            ]
        assert shapes[0] == shapes[1]

    def test_the_papers_detector_has_134_million_parameters(self):
        with torch.device("meta"):
            settings = Settings(detector="fcn", trunk="vgg16", variant="8s")
            count = count_parameters(build_detector(settings))
        assert count == pytest.approx(134.33e6, rel=1e-4)


class TestBaselines:
    """'Three clusters of LSP poses' (SPEC 1.14): weights bring their own."""

    @pytest.mark.parametrize(
        ("baseline", "kind"),
        [("type-supervision", TypeSupervisedRefiner), ("multi-branch", BranchedRefiner)],
    )
    def test_centers_are_stored(self, tmp_path, baseline, kind):
        settings = replace(TINY, baseline=baseline, last="body")
        model = build(settings, centers=CENTERS)
        save_weights(model, settings, tmp_path / "w.safetensors", half=False)
        loaded, _ = load_weights(tmp_path / "w.safetensors")
        assert isinstance(loaded.body, kind)
        assert_close(loaded.body.centers, torch.tensor(CENTERS).float())


class TestOlderFiles:
    """Weights that are out in the world keep their meaning."""

    def test_the_shipped_ones(self):
        predictor = load()
        assert predictor.stages == STAGES
        assert (predictor.crop, predictor.model.stride) == (Crop(176), 4)
        assert isinstance(predictor.model.detector, CompactDetector)

    @pytest.mark.parametrize("normalize", [True, False])
    def test_one_setting_once_stood_for_body_and_limbs(self, tmp_path, normalize):
        model, path = build(TINY), tmp_path / "old.safetensors"
        save_weights(model, TINY, path)
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        old = ("skeleton", "labels", "size", "trunk", "head_width", "refine_width", "kernels",
               "canvas", "limb_canvas", "residual", "last")  # fmt: skip
        settings = {key: TINY.__dict__[key] for key in old} | {"normalize": normalize}
        written(path, {FORMAT: json.dumps(settings)}, state)
        loaded, found = load_weights(path)
        expected = {**settings, "kernels": (3, 5), "normalize_limbs": normalize}
        assert found == Settings(**expected)  # the rest as it always was
        assert (loaded.body.normalize, loaded.limbs.normalize) == (normalize, normalize)


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

    @pytest.mark.parametrize(
        ("key", "value"), [("baseline", "votes"), ("detector", "swin"), ("last", "feet")]
    )
    def test_unknown_choices(self, tmp_path, key, value):
        notes = {FORMAT: json.dumps({key: value})}
        assert f"unknown {key} {value}" in self.refused(written(tmp_path / "w.safetensors", notes))

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


class TestAngleNet:
    """The posterior of the body angle has weights of its own, and files of its own kind."""

    @pytest.fixture
    def net(self) -> AngleNet:
        net = AngleNet("test_resnet", 32)
        for norm in (module for module in net.modules() if hasattr(module, "running_mean")):
            norm.running_mean.normal_()
        return net.eval()

    @pytest.fixture
    def angles(self, tmp_path, net):
        save_angle_net(net, "test_resnet", tmp_path / "new" / "angle.safetensors")
        return tmp_path / "new" / "angle.safetensors"

    @pytest.mark.parametrize("half", [True, False])
    def test_what_was_saved_comes_back(self, tmp_path, net, half):
        save_angle_net(net, "test_resnet", tmp_path / "a.safetensors", half=half)
        loaded, images = load_angle_net(tmp_path / "a.safetensors"), torch.rand(2, 3, 40, 40) * 255
        assert (loaded.size, loaded.training) == (32, False)
        tolerance = {"rtol": 0.02, "atol": 0.02} if half else {"rtol": 0, "atol": 0}
        assert_close(loaded(images), net(images), **tolerance)
        assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]

    def test_a_net_of_another_width(self, tmp_path):
        save_angle_net(AngleNet("test_resnet", 32, 5), "test_resnet", tmp_path / "a.safetensors")
        assert load_angle_net(tmp_path / "a.safetensors").mix.out_channels == 5

    def refused(self, path) -> str:
        with pytest.raises(InputError) as caught:
            load_angle_net(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_weights_of_the_other_kind(self, path, angles):
        assert "expected weights of an angle net" in self.refused(path)
        with pytest.raises(InputError, match="expected weights written by uprightpose"):
            load_weights(angles)

    def test_missing(self, tmp_path):
        assert "no such" in self.refused(tmp_path / "nothing.safetensors")

    @pytest.mark.parametrize("keep", [0, 4, 100, -10])
    def test_damaged(self, angles, keep):
        angles.write_bytes(angles.read_bytes()[:keep])
        assert "damaged" in self.refused(angles)

    @pytest.mark.parametrize(
        "settings",
        ["", "{", "3", '{"trunc": 3}', '{"size": "x"}', '{"trunk": "no such"}', '{"size": 32}'],
    )
    def test_settings_and_weights_that_disagree(self, tmp_path, net, settings):
        notes = {ANGLE_FORMAT: settings}
        path = written(tmp_path / "w.safetensors", notes, net.state_dict())
        assert "disagree" in self.refused(path)


def test_a_folder_without_arrays(tmp_path):
    with pytest.raises(InputError, match="found none"):
        read_folded(tmp_path)
