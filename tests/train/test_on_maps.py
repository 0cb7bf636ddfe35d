"""'A frozen detector gives the same maps each time': refiners learn on maps that lie ready."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from uprightpose.data.sample import State
from uprightpose.errors import InputError
from uprightpose.refine import BodyRefiner
from uprightpose.score_maps import encode_gaussians, with_background
from uprightpose.skeletons import LSP
from uprightpose.train.on_maps import LabeledMaps, fit_on_maps, labeled_maps

STRIDE, PEOPLE, SIZE = 4, 7, (14, 12)


@pytest.fixture
def people() -> LabeledMaps:
    """Seven people whose joints the maps show, but every wrist where the elbow is, too."""
    random = np.random.default_rng(0)
    cells = random.uniform(1, 10, (PEOPLE, 14, 2))
    maps = encode_gaussians(torch.from_numpy(cells).float(), SIZE, sigma=1.5)
    for side in ("left", "right"):
        wrist, elbow = (LSP.joints.index(f"{side}_{part}") for part in ("wrist", "elbow"))
        maps[:, wrist] = (0.8 * maps[:, wrist]).maximum(0.9 * maps[:, elbow])
    joints = (cells + 0.5) * STRIDE - 0.5
    return labeled_maps(with_background(maps).numpy().astype(np.float16), joints, STRIDE)


def fitted(people: LabeledMaps, steps: int = 3, **options: object) -> BodyRefiner:
    torch.manual_seed(0)
    refiner = BodyRefiner(LSP, width=4, kernels=(3, 3), residual=True)
    options = {"batch": 3, **options}
    fit_on_maps(
        refiner, lambda maps, _: [refiner.refine(maps)], people, LSP, steps=steps, **options
    )
    return refiner


def same(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_the_example_of_the_docstring(people: LabeledMaps) -> None:
    maps, joints = people.maps, people.joints
    refiner = BodyRefiner(LSP, width=16, residual=True)
    people = labeled_maps(maps, joints, stride=4)
    fit_on_maps(refiner, lambda maps, _: [refiner.refine(maps)], people, LSP, steps=1)
    assert not refiner.training


def test_it_learns(people: LabeledMaps, monkeypatch: pytest.MonkeyPatch) -> None:
    from uprightpose.train import on_maps

    losses, loss = [], on_maps.framed_loss

    def noting(*given: object, **options: object) -> Tensor:
        losses.append(loss(*given, **options))
        return losses[-1]

    monkeypatch.setattr(on_maps, "framed_loss", noting)
    fitted(people, 40, rate=0.02, batch=PEOPLE)
    assert losses[-1] < losses[0] - 0.05, [round(x.item(), 3) for x in losses[::6]]
    assert losses[-1] < min(losses[:20])


def test_the_seed_alone_decides(people: LabeledMaps) -> None:
    plain = fitted(people)
    np.random.default_rng(5).random(3)
    assert same(plain, fitted(people))
    assert not same(plain, fitted(people, seed=1))


@pytest.mark.parametrize("batch", [3, 5, 9])
def test_everyone_comes_as_often(people: LabeledMaps, batch: int) -> None:
    """One permutation after the other; ``who`` are the people whose maps these are."""
    seen: list[int] = []
    refiner = BodyRefiner(LSP, width=2, kernels=(3, 3), residual=True)

    def refine(maps: Tensor, who: Tensor) -> list:
        assert np.array_equal(maps.numpy(), people.maps[who.numpy()].astype(np.float32))
        seen.extend(who.tolist())
        return [refiner.refine(maps)]

    fit_on_maps(refiner, refine, people, LSP, steps=7, batch=batch)
    assert np.array_equal(np.bincount(seen), [batch] * PEOPLE)
    assert sorted(seen[:PEOPLE]) == list(range(PEOPLE))
    assert seen[:PEOPLE] != seen[PEOPLE : 2 * PEOPLE]


def test_rates_rise_and_fall(people: LabeledMaps, monkeypatch: pytest.MonkeyPatch) -> None:
    """'5 % warm-up and half a cosine'."""
    rates, step = [], torch.optim.AdamW.step

    def noting(self: torch.optim.AdamW, *given: object) -> object:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", noting)
    fitted(people, 40, rate=0.01)
    assert rates[:3] == pytest.approx([0.005, 0.01, 0.01])
    assert (np.diff(rates[2:]) < 0).all()
    assert rates[21] == pytest.approx(0.005, rel=1e-6)  # half of the cosine
    assert rates[-1] < 1e-4


def test_labels(people: LabeledMaps) -> None:
    joints = people.joints.copy()
    joints[2, 5, 0] = np.nan
    state = labeled_maps(people.maps, joints, STRIDE).state
    assert state[2, 5] == State.ABSENT
    assert (np.delete(state.reshape(-1), 2 * 14 + 5) == State.VISIBLE).all()


def test_unknown_joints_teach_nothing(people: LabeledMaps) -> None:
    hidden = people.joints.copy()
    hidden[:, 3] = np.nan
    far = hidden.copy()
    far[:, 3] = 17.0
    state = labeled_maps(people.maps, hidden, STRIDE).state
    one, other = (fitted(people._replace(joints=own, state=state)) for own in (hidden, far))
    assert same(one, other)


class TestRefused:
    def test_as_many_joints_as_maps(self, people: LabeledMaps) -> None:
        with pytest.raises(InputError, match="expected joints for 7 people's maps, found 6"):
            labeled_maps(people.maps, people.joints[:6], STRIDE)

    def test_nobody(self, people: LabeledMaps) -> None:
        none = labeled_maps(people.maps[:0], people.joints[:0], STRIDE)
        with pytest.raises(InputError, match="expected people to learn from, found none"):
            fitted(none)

    def test_divergence(self, people: LabeledMaps) -> None:
        with pytest.raises(InputError, match=r"own title diverged: .* lower the rate"):
            fitted(people, 4, rate=1e30, title="own title")
