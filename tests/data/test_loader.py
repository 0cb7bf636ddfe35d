"""The endless, seekable stream over packed pictures, and its batches made ahead."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from uprightpose.bench.item_by_item import stack_items
from uprightpose.data.augment import Augmentation
from uprightpose.data.loader import Batches, SampleStream, Steps
from uprightpose.data.pack import Pack
from uprightpose.data.sample import State
from uprightpose.data.warp import TOLERANCE, warp_on_device
from uprightpose.frames import Crop
from uprightpose.metrics import body_angle
from uprightpose.pose_types import nearest_type, standardize
from uprightpose.skeletons import LSP

SIZE = 48
ALL = Augmentation(shift=0.05)
LEGS = ((24, 58), (25, 46), (26, 35), (34, 35), (35, 46), (36, 58))
ARMS = ((18, 36), (20, 27), (24, 18), (36, 18), (40, 27), (42, 36))
STANDING = np.array([*LEGS, *ARMS, (30, 16), (30, 6)], dtype=float)


def stream(pack, augmentation=ALL, seed=0) -> SampleStream:
    return SampleStream(pack, LSP, Crop(SIZE), augmentation, seed)


def same(one, other) -> bool:
    return all(
        a is b is None or torch.equal(a.nan_to_num(-1.0), b.nan_to_num(-1.0))
        for a, b in zip(one, other, strict=True)
    )


class TestSampleStream:
    """'Item i depends on the seed and i alone': an interrupted run goes on as it would have."""

    def test_items(self, pack):
        image, joints, state, item = stream(pack)[0][:4]
        assert (item.shape, item.dtype) == ((), torch.int64)
        assert (image.shape, image.dtype) == ((3, SIZE, SIZE), torch.uint8)
        assert (joints.shape, joints.dtype) == ((14, 2), torch.float32)
        assert (state.shape, state.dtype) == ((14,), torch.uint8)

    def test_dots_stay_under_their_joints(self, pack, place_of_dot):
        flips, items = 0, stream(pack, Augmentation(scale=(0.8, 1.1), shift=0.03))
        for index in range(40):
            image, joints, state = items[index][:3]
            assert torch.equal(joints.isnan().any(dim=1), state == State.ABSENT)
            dot = place_of_dot(image.permute(1, 2, 0).numpy())
            near = [np.abs(dot - joints[joint].numpy()).max() < 0.5 for joint in (11, 6)]
            assert any(near)
            flips += near[1]
        assert 10 < flips < 30  # the other side's wrist after mirroring

    def test_states_are_mirrored_with_the_joints(self, pack):
        mirrored = stream(pack, Augmentation(flip=1.0))
        plain = stream(pack, Augmentation(flip=0.0))
        for index in range(5):
            assert torch.equal(mirrored[index].state, plain[index].state[list(LSP.mirror)])

    def test_history_does_not_matter(self, pack):
        forward, backward = stream(pack), stream(pack)
        indices = [0, 3, 4, 5, 9, 10, 23, 1234567]
        first = {index: forward[index] for index in indices}
        for index in reversed(indices):
            assert same(backward[index], first[index])

    def test_every_block_shows_everyone_once(self, pack):
        plain = stream(pack, augmentation=None)
        for block in range(3):
            absent = [plain[5 * block + i].state.tolist().index(State.ABSENT) for i in range(5)]
            assert sorted(absent) == [0, 1, 2, 3, 4]

    def test_blocks_and_seeds_differ(self, pack):
        plain = stream(pack, augmentation=None)
        orders = {
            tuple(plain[5 * block + i].state.tolist().index(0) for i in range(5))
            for block in range(8)
        }
        assert len(orders) > 3
        assert not same(stream(pack, seed=1)[7], stream(pack, seed=2)[7])
        assert same(stream(pack, seed=1)[7], stream(pack, seed=1)[7])

    def test_everyone_is_drawn_anew_in_every_block(self, pack):
        items, seen = stream(pack), set()
        for index in range(20):
            scale = items[index].joints[[0, 1, 2, 3, 4, 13]].nan_to_num(0).std().item()
            seen.add(round(scale, 4))
        assert len(seen) == 20

    def test_without_augmentation_the_box_fills_the_crop(self, pack):
        plain = stream(pack, augmentation=None)
        for index in range(5):
            joints = plain[index].joints
            absent = plain[index].state.tolist().index(0)
            expected = (pack.joints[absent] + 0.5 - 16) * SIZE / 64 - 0.5
            assert np.nanmax(np.abs(joints.numpy() - expected)) < 1e-4

    def test_item_is_the_persons_place_in_the_pack(self, pack):
        items = stream(pack, augmentation=None)
        for index in range(10):
            batch = items[index]
            assert torch.equal(batch.state, torch.from_numpy(pack.state[batch.item]))

    def test_some_items_alone(self, pack):
        """Out-of-fold detectors never see the people whose maps they make (SPEC 1.16)."""
        some = SampleStream(pack, LSP, Crop(SIZE), ALL, items=np.array([4, 1, 2]))
        for block in range(4):
            seen = [int(some[3 * block + place].item) for place in range(3)]
            assert sorted(seen) == [1, 2, 4]

    def test_content_leaves_a_margin(self, pack):
        """'340 x 340, padded to 352' (SPEC 1.2)."""
        wide = SampleStream(pack, LSP, Crop(SIZE, 40), None)[0]
        plain = stream(pack, augmentation=None)[0]
        middle = SIZE / 2 - 0.5
        expected = middle + (plain.joints - middle) * 40 / SIZE
        assert np.nanmax((wide.joints - expected).abs()) < 1e-3
        assert wide.images.shape == plain.images.shape

    def test_the_pack_is_left_alone(self, pack):
        before = pack.state.copy(), pack.joints.copy()
        batch = stream(pack)[0]
        batch.state.zero_()
        batch.joints.zero_()
        assert np.array_equal(pack.state, before[0])
        assert np.array_equal(pack.joints, before[1], equal_nan=True)


class TestTurned:
    """People who are turned upright first, and crops that are turned further."""

    INDICES = (0, 7, 8, 23, 4)

    def angles(self, batch) -> np.ndarray:
        return body_angle(batch.joints.double().numpy(), LSP)

    @pytest.fixture
    def people(self, pack) -> Pack:
        """The five, all of their joints known, their bodies at five angles."""
        random = np.random.default_rng(1)
        joints = random.uniform(35, 60, pack.joints.shape)
        return replace(pack, joints=joints, state=np.full(pack.state.shape, 2, np.uint8))

    @pytest.mark.parametrize("flip", [0.0, 0.5, 1.0])
    def test_upright_bodies_mirrored_or_not(self, people, flip):
        turns = body_angle(people.joints, LSP)
        assert np.ptp(turns) > 1
        still = Augmentation(rotation=0.0, flip=flip, shift=0.1)
        made = SampleStream(people, LSP, Crop(SIZE), still, upright=turns)
        assert np.abs(self.angles(made.batch(range(15)))).max() < 1e-4

    def test_what_is_drawn_turns_from_there(self, people):
        turns = body_angle(people.joints, LSP)
        calm = Augmentation(rotation=30.0)
        made = SampleStream(people, LSP, Crop(SIZE), calm, upright=turns)
        found = np.degrees(np.abs(self.angles(made.batch(range(60)))))
        assert found.max() < 30.01
        assert found.max() > 20

    def test_a_dot_stays_under_its_joint(self, pack, place_of_dot):
        turns = np.array([0.3, -1.0, 0.5, 0.8, -0.4])
        plain = Augmentation(rotation=0.0, flip=0.0, scale=(0.8, 0.9))
        made = SampleStream(pack, LSP, Crop(SIZE), plain, upright=turns)
        for index in range(10):
            image, joints = made.batch([index], np.array([0.2 * index]))[:2]
            dot = place_of_dot(image[0].permute(1, 2, 0).numpy())
            assert np.abs(dot - joints[0, 11].numpy()).max() < 0.5

    def test_further_turns_pictures_and_joints_about_the_middle(self, people):
        """Turned by half a circle, a crop shows its pixels in reverse, whatever was drawn."""
        made = SampleStream(people, LSP, Crop(SIZE), ALL, 3)
        half = np.full(len(self.INDICES), np.pi)
        one, other = made.batch(self.INDICES), made.batch(self.INDICES, half)
        difference = other.images.flip(2, 3).int() - one.images.int()
        assert difference.abs().max() <= 1
        assert torch.allclose(other.joints, SIZE - 1 - one.joints, atol=1e-3)
        assert torch.equal(other.state, one.state)

    def test_further_by_nothing_is_the_same_crop(self, pack):
        made = stream(pack)
        assert same(made.batch(self.INDICES)[2:4], made.batch(self.INDICES, np.zeros(5))[2:4])
        one, other = made.batch(self.INDICES), made.batch(self.INDICES, np.zeros(5))
        assert (one.images.int() - other.images.int()).abs().max() <= 1
        assert torch.allclose(one.joints, other.joints, atol=1e-4, equal_nan=True)

    @pytest.mark.parametrize("upright", [None, np.array([0.3, -1.0, 0.5, 0.8, -0.4])])
    def test_labels_are_those_of_the_batch(self, pack, upright):
        made = SampleStream(pack, LSP, Crop(SIZE), ALL, 2, upright=upright)
        joints, state = made.labels(self.INDICES)
        batch = made.batch(self.INDICES)
        assert np.array_equal(joints.astype(np.float32), batch.joints.numpy(), equal_nan=True)
        assert np.array_equal(state, batch.state.numpy())


class TestBalancedTypes:
    """'Both get extra augmentation so that each type has as many samples: oversample so that
    types are equally frequent' (SPEC 1.14)."""

    TURNS = np.radians([0.0, 150.0, 200.0])  # the first is nearest for more than half the circle

    @pytest.fixture
    def people(self) -> Pack:
        """Seven people of nearly one pose, at the side of 64 pixels of a pack's 96."""
        random = np.random.default_rng(2)
        joints = (STANDING - [30, 32]) * 0.9 + 47.5 + random.normal(0, 0.6, (7, 14, 2))
        blank = np.zeros((7, 96, 96, 3), np.uint8)
        return Pack(blank, joints, np.full((7, 14), 2, np.uint8), (16.0, 16.0, 64.0, 64.0))

    @pytest.fixture
    def centers(self, people) -> np.ndarray:
        pose = standardize(people.joints)[0]
        turns = [[[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]] for t in self.TURNS]
        return np.stack([pose @ np.array(turn).T for turn in turns])

    def types(self, items, centers, count=210) -> np.ndarray:
        joints = np.stack([items[index].joints.double().numpy() for index in range(count)])
        return nearest_type(joints, centers)

    def balanced(self, people, centers, augmentation=ALL, **options) -> SampleStream:
        return SampleStream(people, LSP, Crop(SIZE), augmentation, centers=centers, **options)

    def test_types_take_turns(self, people, centers):
        found = self.types(self.balanced(people, centers), centers)
        assert (found == np.arange(210) % 3).mean() > 0.98
        unequal = np.bincount(self.types(stream(people), centers), minlength=3) / 210
        assert unequal.max() > 0.45

    def test_the_first_draw_is_taken_if_it_fits(self, people, centers):
        plain, items = stream(people), self.balanced(people, centers)
        fits = self.types(plain, centers, 60) == np.arange(60) % 3
        assert 10 < fits.sum() < 35
        for index in range(60):
            assert same(plain[index], items[index]) == fits[index], index

    def test_every_person_comes_as_often(self, people, centers):
        items = self.balanced(people, centers)
        seen = np.bincount([int(items[index].item) for index in range(210)], minlength=7)
        assert (seen == 30).all()

    def test_history_does_not_matter(self, people, centers):
        forward, backward = (self.balanced(people, centers, seed=3) for _ in range(2))
        first = [forward[index] for index in range(30)]
        assert all(same(backward[index], first[index]) for index in reversed(range(30)))

    def test_a_type_out_of_reach_ends_the_search(self, people, centers):
        upright = self.balanced(people, centers, Augmentation(rotation=10, flip=0.0))
        assert set(self.types(upright, centers, 30)) == {0}

    def test_states_follow_a_mirrored_draw(self, people, centers):
        people.state[:, LSP.joints.index("left_wrist")] = State.OCCLUDED
        items = self.balanced(people, centers, Augmentation(flip=1.0))
        for index in range(6):
            hidden = LSP.joints[items[index].state.tolist().index(State.OCCLUDED)]
            assert hidden == "right_wrist"


class TestSteps:
    """Training goes on at any step with the batches that were left."""

    def test_batches(self):
        steps = Steps(2, 5, 3)
        assert list(steps) == [[6, 7, 8], [9, 10, 11], [12, 13, 14]]
        assert len(steps) == 5  # as Lightning counts: skipped ones included
        assert list(Steps(4, 4, 3)) == []

    @pytest.mark.parametrize("parts", [1, 2, 3])
    def test_processes_share_each_batch_in_order(self, parts):
        whole = list(Steps(1, 4, 6))
        shares = [list(Steps(1, 4, 6, part, parts)) for part in range(parts)]
        for step, batch in enumerate(whole):
            assert [index for share in shares for index in share[step]] == batch
        assert {len(share) for steps in shares for share in steps} == {6 // parts}
        assert {len(Steps(1, 4, 6, part, parts)) for part in range(parts)} == {4}


class TestBatch:
    """A batch is what its items are, computed as arrays."""

    INDICES = (3, 4, 5, 9, 10, 2**33 + 1, 0)  # of several blocks, in any order

    @pytest.mark.parametrize(
        "augmentation",
        [
            None,
            Augmentation(),
            Augmentation(upright_share=0.5, shift=0.1, erase=0.7),
            Augmentation(scale=(0.2, 0.7)),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("centers", [False, True])
    @pytest.mark.parametrize("crop", [Crop(48), Crop(40, 32)], ids=str)
    def test_byte_for_byte_the_definition(self, pack, augmentation, centers, crop):
        """Recipes and seeds keep their meaning: the same pictures as one after the other."""
        centers = np.random.default_rng(0).normal(size=(3, 14, 2)) if centers else None
        items = np.array([4, 0, 3, 1])
        made = SampleStream(pack, LSP, crop, augmentation, 7, items=items, centers=centers)
        assert same(made.batch(self.INDICES)[:4], stack_items(made, list(self.INDICES))[:4])

    def test_one_item(self, pack):
        made = stream(pack)
        whole = made.batch([7, 8])
        for row in range(2):
            assert same(made[7 + row][:4], [part[row] for part in whole[:4]])

    def test_pictures_lie_as_networks_read_them(self, pack):
        """Channels last, without another copy."""
        images = stream(pack).batch([0, 1, 2]).images
        assert images.is_contiguous(memory_format=torch.channels_last)

    def test_cropped_later(self, pack):
        """The same draws, joints and states; values within a grey level (``augment_on``)."""
        keys = {"augmentation": Augmentation(shift=0.1, erase=0.8), "seed": 3}
        here = SampleStream(pack, LSP, Crop(48, 44), **keys).batch(self.INDICES)
        later = SampleStream(pack, LSP, Crop(48, 44), **keys, warp=False).batch(self.INDICES)
        assert later.images.shape == (7, 3, 96, 96)
        assert later.images.dtype == torch.uint8
        assert same(here[1:4], later[1:4])
        crops = warp_on_device(later.images, later.grids, later.covers, 48)
        assert (crops - here.images).abs().max() < TOLERANCE

    def test_several_threads_at_once(self, pack):
        made, alone, found = stream(pack), stream(pack), {}

        def read(first: int) -> None:
            for index in range(first, 300, 3):
                found[index] = made.batch([index, 5 * index + 7])

        threads = [threading.Thread(target=read, args=(first,)) for first in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 300
        for index in range(0, 300, 7):
            assert same(found[index], alone.batch([index, 5 * index + 7]))


class TestBatches:
    """Batches are made while the network learns; it says how long it waited for them."""

    @pytest.mark.parametrize(("workers", "threads"), [(0, 1), (0, 3), (1, 1), (2, 1)])
    def test_resuming_continues_the_same_batches(self, pack, workers, threads):
        def batches(start):
            steps = Steps(start, 5, 4)
            return list(Batches(stream(pack), steps, workers=workers, threads=threads))

        whole, rest = batches(0), batches(3)
        assert whole[0].images.shape == (4, 3, SIZE, SIZE)
        assert whole[0].joints.shape == (4, 14, 2)
        assert len(rest) == 2
        for one, other in zip(whole[3:], rest, strict=True):
            assert same(one, other)
        for step, batch in enumerate(whole):
            assert same(batch, stream(pack).batch(range(4 * step, 4 * step + 4)))

    @pytest.mark.parametrize("workers", [0, 1])
    def test_parts_of_a_batch(self, pack, workers):
        """Each process reads its part (``devices``, ``nodes``)."""
        parts = [
            next(iter(Batches(stream(pack), Steps(2, 3, 6, part, 2), workers=workers)))
            for part in range(2)
        ]
        whole = stream(pack).batch(range(12, 18))
        assert same(
            whole, [None if p[0] is None else torch.cat(p) for p in zip(*parts, strict=True)]
        )

    def test_length_as_lightning_counts(self, pack):
        assert len(Batches(stream(pack), Steps(3, 5, 4))) == 5

    def test_closing_ends_every_thread(self, pack):
        before = set(threading.enumerate())  # other tests' batches may wait to be collected
        batches = Batches(stream(pack), Steps(0, 50, 4), threads=2)
        batches.close()  # nothing was begun
        reader = iter(batches)
        next(reader)
        assert set(threading.enumerate()) - before
        batches.close()
        assert not set(threading.enumerate()) - before
        assert list(reader) == []
        batches.close()

    def test_again_from_the_first(self, pack):
        batches = Batches(stream(pack), Steps(0, 5, 4))
        first = next(iter(batches))
        assert same(next(iter(batches)), first)
        assert batches.made == 1
        batches.close()

    def test_what_it_waited(self, pack, monkeypatch):
        """'The share of a training step that waits for data', and people per second."""
        made = stream(pack)
        batches = Batches(made, Steps(0, 4, 3))
        assert (batches.speed, batches.waiting) == (0.0, 0.0)
        plain = made.batch

        def slow(indices):
            time.sleep(0.05)
            return plain(indices)

        monkeypatch.setattr(made, "batch", slow)
        for _ in batches:  # a network that takes no time
            pass
        assert batches.made == 4
        assert 0.2 <= batches.waited <= batches.seconds
        assert batches.waiting > 0.8
        assert batches.speed == 12 / batches.seconds
        reader = iter(batches)
        for _ in range(3):
            next(reader)
            time.sleep(0.1)  # a network that takes longer than its data
        next(reader)
        batches.close()
        assert batches.waiting < 0.4

    def test_the_last_step_counts(self, pack):
        batches = Batches(stream(pack), Steps(0, 1, 3))
        next(iter(batches))
        time.sleep(0.05)
        batches.close()
        assert batches.seconds >= 0.05
