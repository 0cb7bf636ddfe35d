"""Looking at a person again, from another angle: what may be seen, and maps that are kept."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from uprightpose.angle_net import AngleNet
from uprightpose.data.augment import Augmentation
from uprightpose.data.images import MEAN_COLOR
from uprightpose.data.loader import SampleStream
from uprightpose.data.pack import Pack
from uprightpose.data.sample import Sample
from uprightpose.frames import Crop, inside_square
from uprightpose.reproduce.turned_maps import (
    TestPictures,
    TrainingPictures,
    make_hypotheses,
    make_maps,
)
from uprightpose.scout import turn_points
from uprightpose.skeletons import LSP

SIDE = 32
BOX = (20.0, 10.0, 30.0, 30.0)
TURNS = np.array([0.5, -2.2, 1.1])


def sample(path: Path, image: np.ndarray, number: int) -> Sample:
    cv2.imwrite(str(path), image)
    joints = np.random.default_rng(number).uniform((22, 12), (48, 38), (14, 2))
    return Sample(path, joints, np.full(14, 2, np.uint8), "pc", BOX, "test", "lsp", number)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Three even pictures of 60 x 70 pixels, a dark dot under each person's first joint."""
    found = []
    for number in range(3):
        one = sample(tmp_path / f"{number}.png", np.zeros((60, 70, 3), np.uint8), number)
        y, x = np.mgrid[:60, :70]
        across, down = one.joints[0]
        bump = np.exp(-((x - across) ** 2 + (y - down) ** 2) / 18)[..., None]
        found.append(
            sample(tmp_path / f"{number}.png", (230 - 200 * bump).astype(np.uint8), number)
        )
    return found


def dot(crop: np.ndarray) -> np.ndarray:
    dark = np.clip(225 - crop.astype(float)[..., 0], 0, None)
    y, x = np.mgrid[: len(crop), : len(crop)]
    near = dark > 110  # darker than what is not shown
    return np.array([(x * dark)[near].sum(), (y * dark)[near].sum()]) / dark[near].sum()


class TestSquares:
    @pytest.mark.parametrize("turns", [None, TURNS])
    @pytest.mark.parametrize("angle", [0.0, 0.7, -1.9])
    def test_a_dot_stays_under_its_joint(
        self, samples: list[Sample], turns: np.ndarray | None, angle: float
    ) -> None:
        pictures = TestPictures(samples, Crop(SIDE), turns)
        angles = np.full(3, angle)
        crops = pictures.crops(np.arange(3), angles)
        joints = turn_points(pictures.joints(), angles, SIDE)
        for crop, (place, *_) in zip(crops, joints, strict=True):
            if (np.abs(place - 15.5) < 10).all():
                assert np.abs(dot(crop) - place).max() < 1

    def test_people_in_any_order(self, samples: list[Sample]) -> None:
        pictures = TestPictures(samples, Crop(SIDE), TURNS)
        every = pictures.crops(np.arange(3), TURNS)
        assert np.array_equal(pictures.crops(np.array([2, 0]), TURNS[[2, 0]]), every[[2, 0]])

    @pytest.mark.parametrize("angle", [0.3, np.pi / 4, -2.0])
    def test_what_the_turned_square_did_not_show_stays_unseen(
        self, tmp_path: Path, angle: float
    ) -> None:
        """The turned copy is a picture of its own: its corners hold nothing of the first."""
        one = [sample(tmp_path / "white.png", np.full((60, 70, 3), 255, np.uint8), 0)]
        shown = inside_square(angle, SIDE)
        assert 0.6 < shown.mean() < 1
        turned = TestPictures(one, Crop(SIDE), TURNS[:1]).crops(np.arange(1), np.array([angle]))[0]
        assert (turned[~shown] == MEAN_COLOR).all()
        assert (turned[shown] == 255).mean() > 0.95
        natural = TestPictures(one, Crop(SIDE)).crops(np.arange(1), np.array([angle]))[0]
        assert (natural[~shown] == 255).mean() > 0.95  # of the picture as taken there is more

    def test_a_pixel_is_shown_where_it_lay_in_the_square(self) -> None:
        for angle in (0.3, 2.0, -0.9):
            places = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=2) * 1.0
            before = turn_points(places, np.full(SIDE, -angle), SIDE)
            lay = ((before >= -0.5) & (before <= SIDE - 0.5)).all(axis=2)
            assert np.array_equal(inside_square(angle, SIDE), lay)
        assert inside_square(0.0, SIDE).all()


class TestTurnPoints:
    def test_the_opposite_angle_undoes_it(self) -> None:
        points = np.random.default_rng(0).uniform(0, SIDE, (3, 14, 2))
        there = turn_points(points, TURNS, SIDE)
        assert np.allclose(turn_points(there, -TURNS, SIDE), points)
        assert np.abs(there - points).max() > 5

    def test_positive_angles_turn_clockwise(self) -> None:
        up = np.array([[[15.5, 5.5]]])
        assert np.allclose(turn_points(up, np.array([np.pi / 2]), SIDE), [[[25.5, 15.5]]])


class TestTraining:
    def test_crops_and_labels_are_those_of_the_stream(self) -> None:
        random = np.random.default_rng(0)
        pixels = random.integers(0, 255, (4, 48, 48, 3), np.uint8)
        joints, state = random.uniform(12, 36, (4, 14, 2)), np.full((4, 14), 2, np.uint8)
        pack = Pack(pixels, joints, state, (8.0, 8.0, 32.0, 32.0))
        stream = SampleStream(pack, LSP, Crop(SIDE), Augmentation(), 3)
        pictures = TrainingPictures(stream, 9)
        assert len(pictures) == 9
        assert pictures.labels()[0].shape == (9, 14, 2)
        places, angles = np.array([7, 2]), np.array([0.4, -1.0])
        batch = stream.batch([7, 2], angles)
        crops = pictures.crops(places, angles)
        assert np.array_equal(crops, batch.images.permute(0, 2, 3, 1).numpy())
        turned = turn_points(pictures.labels()[0][places], angles, SIDE)
        assert np.abs(turned - batch.joints.numpy()).max() < 1e-3


class Painted:
    """People whose squares are of one grey each, and show which angle they were asked for."""

    def __init__(self, count: int) -> None:
        self.count, self.asked = count, []

    def __len__(self) -> int:
        return self.count

    def crops(self, places: np.ndarray, angle: np.ndarray) -> np.ndarray:
        self.asked += list(zip(places.tolist(), angle.tolist(), strict=True))
        grey = (10 * places[:, None, None, None]).astype(np.uint8)
        return np.tile(grey, (1, SIDE, SIDE, 3))


class TestMakeMaps:
    @pytest.fixture
    def detector(self) -> nn.Module:
        from uprightpose.settings import Settings
        from uprightpose.weights import build

        settings = Settings(trunk="test_resnet", head_width=4, last="detector")
        return build(settings).eval()

    def test_everyone_once_by_their_own_angle(self, detector: nn.Module, tmp_path: Path) -> None:
        people, angle = Painted(21), np.linspace(-3, 3, 21)
        maps = make_maps(detector, people, angle, tmp_path / "maps" / "a.npy")
        assert (maps.shape, maps.dtype) == ((21, 15, SIDE // 4, SIDE // 4), np.float16)
        assert people.asked == list(enumerate(angle.tolist()))
        alone = make_maps(detector, Painted(21), angle, tmp_path / "b.npy", np.array([17, 3]))
        assert np.abs(alone - maps[[17, 3]]).max() < 1e-2
        assert np.abs(maps[17] - maps[3]).max() > 0.0

    def test_what_is_there_is_not_made_again(self, detector: nn.Module, tmp_path: Path) -> None:
        path, angle = tmp_path / "a.npy", np.zeros(3)
        first = np.array(make_maps(detector, Painted(3), angle, path))
        again = Painted(3)
        assert np.array_equal(make_maps(None, again, angle, path), first)
        assert not again.asked

    def test_the_file_is_written_whole(self, detector: nn.Module, tmp_path: Path) -> None:
        class Broken(Painted):
            def crops(self, places: np.ndarray, angle: np.ndarray) -> np.ndarray:
                if places[0]:
                    raise KeyboardInterrupt
                return super().crops(places, angle)

        path = tmp_path / "a.npy"
        with pytest.raises(KeyboardInterrupt):
            make_maps(detector, Broken(20), np.zeros(20), path)
        assert not path.exists()
        assert len(make_maps(detector, Painted(20), np.zeros(20), path)) == 20
        assert [file.name for file in tmp_path.iterdir()] == ["a.npy"]

    def test_nobody(self, detector: nn.Module, tmp_path: Path) -> None:
        maps = make_maps(detector, Painted(0), np.zeros(0), tmp_path / "a.npy")
        assert maps.shape[:2] == (0, 15)

    def test_a_side_is_averaged_down_to(self, detector: nn.Module, tmp_path: Path) -> None:
        seen = []
        detector.detector.register_forward_hook(lambda _, given, __: seen.append(given[0]))

        class Stripes(Painted):
            def crops(self, places: np.ndarray, angle: np.ndarray) -> np.ndarray:
                crops = super().crops(places, angle)
                crops[:, ::2] = 100
                crops[:, 1::2] = 200
                return crops

        maps = make_maps(detector, Stripes(2), np.zeros(2), tmp_path / "a.npy", side=SIDE // 2)
        assert maps.shape[2:] == (SIDE // 8, SIDE // 8)
        assert seen[0].shape == (2, 3, SIDE // 2, SIDE // 2)
        assert (seen[0] == 150).all()


class TestMakeHypotheses:
    def test_everyone_and_kept(self, tmp_path: Path) -> None:
        net, path = AngleNet("test_resnet", 32).eval(), tmp_path / "maps" / "a.npy"
        people = Painted(19)
        found = make_hypotheses(net, people, path)
        assert found.angle.shape == found.mass.shape == (19, 2)
        assert [place for place, _ in people.asked] == list(range(19))
        again = Painted(19)
        assert torch.equal(make_hypotheses(net, again, path).angle, found.angle)
        assert not again.asked
        assert [file.name for file in path.parent.iterdir()] == ["a.npy"]
