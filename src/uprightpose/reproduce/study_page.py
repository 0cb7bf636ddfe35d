"""Tables of variants: accuracy by body angle beside cost, and paired differences over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from uprightpose.error_types import TYPES, error_types, overall_shares, type_shares
from uprightpose.metrics import ANGLE_BINS, angle_bins
from uprightpose.protocols import PROTOCOLS
from uprightpose.reproduce.contrasts import ScoredPeople, contrast_rows, correct
from uprightpose.reproduce.report import markdown_table
from uprightpose.reproduce.study import COPIES
from uprightpose.reproduce.variants import Variant
from uprightpose.skeletons import LSP
from uprightpose.tables import Difference, Table, pck_table

RULES = PROTOCOLS["lsp"]
BINS = tuple(f"{low}-{high}" for low, high in ANGLE_BINS)
GROUPS = ("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Total", "AUC")

Truth = Mapping[str, Float[ndarray, "n k 2"]]
Pair = tuple[str, str]


class Comparison:
    """Variants on the same people, scored once.

    Args:
        variants: rows, in order; their titles differ.
        truth: by copy.
        draws: of bootstrap and exchange; 0 for none.
    """

    def __init__(self, variants: Sequence[Variant], truth: Truth, draws: int) -> None:
        """Find who belongs to which range of body angles."""
        self.variants, self.truth, self.draws = variants, truth, draws
        self.titled = {one.title: one for one in variants}
        self._contrasts: dict[tuple[Pair, str, str], dict[str, Difference]] = {}
        self.who: dict[str, dict[str, Bool[ndarray, " n"]]] = {
            copy: {"all": np.ones(len(joints), bool), **angle_bins(joints, LSP)}
            for copy, joints in truth.items()
        }

    def tables(self, title: str, copy: str, who: str = "all", *, draws: int = 0) -> list[Table]:
        """Return a variant's scores, seed by seed."""
        chosen = self.who[copy][who]
        truth = self.truth[copy][chosen]
        joints = self.titled[title].joints[copy]
        return [pck_table(one[chosen], truth, RULES, "pc", draws=draws) for one in joints]

    def score(self, title: str, copy: str, who: str = "all", column: str = "Total") -> float:
        """Return the mean over seeds of one column, NaN where there is nobody."""
        if not self.who[copy][who].any():
            return float("nan")
        return float(np.mean([one.scores[column] for one in self.tables(title, copy, who)]))

    def contrast(self, pair: Pair, copy: str, who: str = "all") -> dict[str, Difference]:
        """Return first minus second by column, over seeds and people; drawn once, then kept."""
        key = (pair, copy, who)
        if key not in self._contrasts:
            self._contrasts[key] = self._contrast(pair, copy, self.who[copy][who])
        return self._contrasts[key]

    def _contrast(
        self, pair: Pair, copy: str, chosen: Bool[ndarray, " n"]
    ) -> dict[str, Difference]:
        truth = self.truth[copy][chosen]
        first, second = (self.titled[title].joints[copy][:, chosen] for title in pair)
        seeds = max(len(first), len(second))
        one, other = (
            np.repeat(joints, seeds, axis=0) if len(joints) < seeds else joints
            for joints in (first, second)
        )
        people = ScoredPeople(truth, np.full(len(truth), np.nan), np.arange(len(truth)))
        return contrast_rows(one, other, people, RULES, draws=self.draws)

    def by_angle(self, milliseconds: Mapping[str, float] | None = None) -> dict[str, str]:
        """Return Markdown tables of accuracy by body angle beside time per person, by copy.

        Args:
            milliseconds: of one pass of the detector (``"detector"``) and of each other step; by
                default time is left out.
        """
        costs = ["passes", "ms"] if milliseconds else []
        heads = ["", *costs, *(f"{name} degrees" for name in BINS), "Total", "AUC"]
        sections = {}
        for copy in COPIES:
            rows = []
            for one in self.variants:
                if milliseconds:
                    time = self.milliseconds(one, copy, milliseconds)
                    costs = [f"{one.passes[copy]:.2f}", f"{time:.1f}"]
                cells = [f"{self.score(one.title, copy, who):.1f}" for who in BINS]
                total = f"{self.score(one.title, copy):.2f}"
                area = f"{self.score(one.title, copy, column='AUC'):.2f}"
                rows.append([one.title, *costs, *cells, total, area])
            counts = ", ".join(f"{name}: {int(self.who[copy][name].sum())}" for name in BINS)
            text = markdown_table(heads, rows)
            sections[f"{copy} pictures, by true body angle (people: {counts})"] = text
        return sections

    def milliseconds(self, variant: Variant, copy: str, milliseconds: Mapping[str, float]) -> float:
        """Return a variant's time per person."""
        own = sum(milliseconds[step] for step in variant.steps)
        return variant.passes[copy] * milliseconds[variant.detector] + own

    def groups(self) -> dict[str, str]:
        """Return Markdown tables of the groups of joints, every seed, by copy."""
        sections = {}
        for copy in COPIES:
            rows = []
            for one in self.variants:
                tables = self.tables(one.title, copy)
                for seed, table in enumerate(tables):
                    name = f"seed {seed}" if len(tables) > 1 else "-"
                    rows.append([one.title, name, *(f"{table.scores[g]:.2f}" for g in GROUPS)])
            sections[f"{copy} pictures, every seed"] = markdown_table(["", "", *GROUPS], rows)
        return sections

    def errors(self) -> str:
        """Return the types of error, in percent of all joints, means over seeds, as Markdown."""
        rows = []
        for copy in COPIES:
            for one in self.variants:
                every = [
                    overall_shares(type_shares(error_types(joints, self.truth[copy], RULES), RULES))
                    for joints in one.joints[copy]
                ]
                means = [float(np.mean([shares[kind] for shares in every])) for kind in TYPES]
                rows.append([one.title, copy, *(f"{mean:.2f}" for mean in means)])
        return markdown_table(["", "pictures", *TYPES], rows)

    def contrasts(self, pairs: Sequence[Pair], whos: Sequence[str] = ("all", *BINS)) -> str:
        """Return the paired differences of Total as Markdown; Holm's correction over pairs."""
        rows = []
        for copy in COPIES:
            for who in whos:
                if not self.who[copy][who].any():
                    continue
                found = correct([self.contrast(pair, copy, who) for pair in pairs])
                for (first, second), columns in zip(pairs, found, strict=True):
                    total, area = columns["Total"], columns["AUC"]
                    name = f"{first} - {second}"
                    cells = [_interval(total), _p(total), _interval(area)]
                    rows.append([name, copy, who, *cells])
        heads = ["first - second", "pictures", "angle", "Total", "p, Holm", "AUC"]
        return markdown_table(heads, rows)

    def numbers(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        """Return all scores and the contrasts of everyone, for programs."""
        scores = {
            one.title: {
                copy: {
                    "passes": one.passes[copy],
                    "seeds": [_rounded(t.scores) for t in self.tables(one.title, copy)],
                    "Total by angle": {
                        who: round(self.score(one.title, copy, who), 3)
                        for who in BINS
                        if self.who[copy][who].any()
                    },
                }
                for copy in COPIES
            }
            for one in self.variants
        }
        contrasts = [
            {"first": a, "second": b, "pictures": copy, "Total": _plain(found["Total"])}
            for copy in COPIES
            for (a, b) in pairs
            for found in [self.contrast((a, b), copy)]
        ]
        return {"variants": scores, "contrasts": contrasts}


def chain_finding(comparison: Comparison, over: Pair, beside: Pair, copy: str) -> str:
    """Return what the whole chain gains, as a sentence.

    Args:
        comparison: has all rows.
        over: the chain and its detector.
        beside: the chain and the same refinement without normalization.
        copy: of the pictures.
    """
    gain, more = (comparison.contrast(pair, copy)["Total"] for pair in (over, beside))
    return (
        f"{copy} pictures: the full chain exceeds its detector by {_interval(gain)} (bar 1.0) and "
        f"the same refinement without normalization by {_interval(more)} (bar 0.5)."
    )


def _rounded(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: round(scores[name], 3) for name in GROUPS}


def _plain(one: Difference) -> dict[str, float]:
    return {"value": one.value, "low": one.low, "high": one.high, "p": one.p}


def _interval(one: Difference) -> str:
    if one.low != one.low:  # NaN, without draws
        return f"{one.value:+.2f}"
    return f"{one.value:+.2f} [{one.low:+.2f}, {one.high:+.2f}]"


def _p(one: Difference) -> str:
    return "-" if one.p_holm != one.p_holm else f"{one.p_holm:.4f}"
