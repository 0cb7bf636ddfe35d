"""A sheet of people to look at one by one: what was predicted, what is true, where they differ.

It shows COCO's photos, which are not ours to pass on: it is never part of the repository.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from uprightpose.data.images import crop_image, read_image
from uprightpose.data.person import Person
from uprightpose.frames import Crop, apply_affine
from uprightpose.plots import COLORS, draw_people, side_of
from uprightpose.reproduce.coco_people import LIMBS, CocoPeople
from uprightpose.skeletons import LSP
from uprightpose.views import view_box

SEED, COUNT, LEAST = 2017, 20, 6
"""Of the draw, people drawn, and labeled limb joints that they have at least."""

TILE, ACROSS = 512, 5
"""Pixels of a person's side, and people in a row."""

WRONG = (230, 30, 30)


def choose_people(people: CocoPeople) -> list[int]:
    """Return who is shown: drawn once, so the same for every model.

    The draw goes over the annotations' ids in order: it depends on nothing but the data.
    """
    labeled = np.isfinite(people.truth[:, LIMBS]).all(axis=2).sum(axis=1)
    known = np.flatnonzero(labeled >= LEAST)
    generator = np.random.default_rng(SEED)
    return [int(one) for one in generator.permutation(known)[:COUNT]]


def draw_sheet(
    people: CocoPeople, found: Sequence[Person], shown: Sequence[int]
) -> UInt8[ndarray, "_ _ 3"]:
    """Draw people side by side, each in the square that the network saw.

    True joints are dots ringed in white, of the color of their side; a red line leads from a
    true joint to where it was predicted, if that is beyond the radius.

    Args:
        people: who was predicted.
        found: of one stage, one per sample.
        shown: numbers of those to draw, at least one.
    """
    tiles = [_tile(people, number, found[number], f"{at}") for at, number in enumerate(shown, 1)]
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % ACROSS)
    rows = [np.concatenate(tiles[at : at + ACROSS], axis=1) for at in range(0, len(tiles), ACROSS)]
    return np.concatenate(rows)


def _tile(people: CocoPeople, number: int, person: Person, caption: str) -> UInt8[ndarray, "_ _ 3"]:
    sample = people.samples[number]
    matrix = Crop(TILE).matrix(view_box(people.boxes[number]))
    picture = crop_image(read_image(sample.image), matrix, TILE)
    predicted = apply_affine(matrix, person.joints)
    tile = draw_people(picture, [replace(person, joints=predicted)], LSP)
    _draw_truth(tile, apply_affine(matrix, sample.joints), predicted)
    cv2.rectangle(tile, (0, 0), (len(caption) * 24 + 16, 44), (255, 255, 255), -1)
    cv2.putText(tile, caption, (8, 34), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 2, cv2.LINE_AA)
    return cv2.copyMakeBorder(tile, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def _draw_truth(
    tile: UInt8[ndarray, "_ _ 3"],
    truth: Float[ndarray, "k 2"],
    predicted: Float[ndarray, "k 2"],
) -> None:
    start, end = LSP.reference
    radius = 0.2 * float(np.hypot(*(truth[start] - truth[end])))
    for joint in LIMBS:
        if not np.isfinite(truth[joint]).all():
            continue
        there, here = (
            tuple(np.rint(one[joint]).astype(int).tolist()) for one in (truth, predicted)
        )
        if np.hypot(*(truth[joint] - predicted[joint])) > radius:
            cv2.line(tile, there, here, WRONG, 2, cv2.LINE_AA)
        cv2.circle(tile, there, 8, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(tile, there, 5, COLORS[side_of(LSP.joints[joint])], -1, cv2.LINE_AA)
