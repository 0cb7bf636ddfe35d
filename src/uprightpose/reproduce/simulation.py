"""Is refinement with normalization better than the same network without (SPEC 5.3)?

Score maps are drawn, so that all else can be equal. Goes on where it was interrupted.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from uprightpose.reproduce.arms import ARMS, Arm
from uprightpose.reproduce.hypotheses import Pictures
from uprightpose.reproduce.report import Report
from uprightpose.reproduce.simulated_angles import angle_table
from uprightpose.reproduce.simulated_page import simulation_report
from uprightpose.reproduce.simulated_people import Batch, People, draw_test_people
from uprightpose.reproduce.simulated_results import answer_hypotheses, score_arms
from uprightpose.reproduce.simulated_runs import Finished, Sizes, finish_arm, is_finished

FOLDER = "simulation"
"""In the folder of results: a file for each arm and seed."""


def reproduce_simulation(
    people: People, out: Path, *, seeds: int, times: float, draws: int, sizes: Sizes | None = None
) -> Report:
    """Train and test every arm that is not finished yet, and lay out the answers.

    Args:
        people: to learn from and to test on.
        out: for results.
        seeds: runs of each arm, seeds 0, 1, ...
        times: factor of all steps.
        draws: of bootstrap and exchange; 0 for none.
        sizes: of the arms; by default those of the published run.
    """
    sizes = sizes or Sizes()
    sizes = replace(sizes, steps=max(1, round(sizes.steps * times)))
    sets: tuple[Pictures, ...] = ("natural", "turned")
    tests = {pictures: draw_test_people(people.test, pictures) for pictures in sets}
    finished = _finish(people, tests, out / FOLDER, seeds, sizes)
    print("scoring", flush=True)
    tested = {
        pictures: score_arms(finished, pictures, batch, draws) for pictures, batch in tests.items()
    }
    angles = {
        pictures: angle_table(batch, finished["limb"], pictures)
        for pictures, batch in tests.items()
    }
    answers = answer_hypotheses(tested, draws)
    return simulation_report(finished, tested, answers, angles, sizes, draws)


def _finish(
    people: People, tests: dict[Pictures, Batch], folder: Path, seeds: int, sizes: Sizes
) -> dict[str, list[Finished]]:
    """Return all arms by title and seed; a seed is finished before the next begins."""
    runs = [(seed, arm) for seed in range(seeds) for arm in ARMS]
    finished: dict[str, list[Finished]] = {arm.title: [] for arm in ARMS}
    start, done = time.monotonic(), 0.0
    for number, (seed, arm) in enumerate(runs):
        if not is_finished(folder, arm, seed, people, sizes):
            left = _remaining(runs[number:], folder, people, sizes, done, start)
            print(f"arm {number + 1} of {len(runs)}, seed {seed}: {arm.title}{left}", flush=True)
            finish_arm(arm, seed, people, tests, sizes, folder)
            done += arm.cost
        finished[arm.title].append(finish_arm(arm, seed, people, tests, sizes, folder))
    return finished


def _remaining(
    runs: Sequence[tuple[int, Arm]],
    folder: Path,
    people: People,
    sizes: Sizes,
    done: float,
    start: float,
) -> str:
    """Say how long the arms that are not finished will take; nothing before the first one is."""
    if not done:
        return ""
    cost = sum(arm.cost for seed, arm in runs if not is_finished(folder, arm, seed, people, sizes))
    return f"; about {(time.monotonic() - start) / done * cost / 60:.0f} minutes left"
