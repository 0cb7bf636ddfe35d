"""Tables 1-11 as recipes: their rows, sizes, and what they share (SPEC 2.3, 1.14, 1.16-1.17)."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from uprightpose.model import PoseNet
from uprightpose.reproduce.paper import TABLES
from uprightpose.reproduce.scales import LONGER, PAPER, SCALES, SMALL
from uprightpose.reproduce.tables import EXPERIMENTS, Place, Row, recipes, weights_of
from uprightpose.settings import Settings
from uprightpose.train.recipe import Recipe
from uprightpose.weights import build, count_parameters

HERE = Place(Path("/data"), Path("/out"), device="cpu")
ROWS = [(name, row) for name, table in EXPERIMENTS.items() for row in table.rows]

each_row = pytest.mark.parametrize(("name", "row"), ROWS, ids=lambda v: getattr(v, "title", v))


def chain(name, title, scale=PAPER, place=HERE, seed=0) -> list[Recipe]:
    row = next(row for row in EXPERIMENTS[name].rows if row.title == title)
    return recipes(row.training, EXPERIMENTS[name], scale, place, seed)


def network(recipe: Recipe, row: Row) -> PoseNet:
    values = {field.name: getattr(recipe, field.name) for field in fields(Settings)}
    with torch.device("meta"):
        return build(Settings(**{**values, "last": row.training.stage}))


def runs(name, title, scale=PAPER) -> list[str]:
    return [Path(recipe.out).name for recipe in chain(name, title, scale)]


@pytest.fixture(scope="module")
def sizes() -> dict[tuple[str, str], int]:
    """Parameters of every row at the paper's scale."""
    return {
        (name, row.title): count_parameters(network(chain(name, row.title)[-1], row))
        for name, row in ROWS
    }


class TestRows:
    def test_every_row_of_the_papers_method_is_there_in_its_order(self):
        for name, table in TABLES.items():
            ours = [row.title for row in table.rows if row.ours]
            assert [row.title for row in EXPERIMENTS[name].rows] == ours

    def test_contrasts_are_between_rows(self):
        for experiment in EXPERIMENTS.values():
            titles = {row.title for row in experiment.rows}
            assert experiment.contrasts
            assert {title for pair in experiment.contrasts for title in pair} <= titles

    def test_the_tables_of_normalization_are_tested_on_turned_pictures_too(self):
        turned = [name for name, experiment in EXPERIMENTS.items() if experiment.turned]
        assert turned == ["table1", "table9", "table10", "table11"]

    @pytest.mark.parametrize("scale", SCALES)
    @each_row
    def test_labels_data_and_rotation(self, scale, name, row):
        """'FLIC and MPII: rotation +/-30 degrees' (SPEC 1.17); labels and data: SPEC 2.3."""
        pc = ("table4", "table5", "table6", "table8")
        data = {"table5": "lsp lspet", "table10": "lsp lspet", "table7": "flic", "table8": "mpii"}
        data |= dict.fromkeys(("table3", "table6"), "lsp lspet mpii")
        for recipe in chain(name, row.title, SCALES[scale]):
            assert recipe.labels == ("pc" if name in pc else "oc")
            known = [one for one in ("lsp", "lspet", "flic", "mpii") if getattr(recipe, one)]
            assert known == data.get(name, "lsp").split()
            assert recipe.rotation == (30 if name in ("table7", "table8") else 180)

    @each_row
    def test_each_recipe_trains_one_stage_from_the_weights_before(self, name, row):
        before = None
        for recipe, step in zip(chain(name, row.title), row.training.steps, strict=True):
            steps = [getattr(recipe, f"{s}_steps") for s in ("detector", "body", "limbs", "all")]
            assert sum(count > 0 for count in steps) == 1
            assert recipe.start == before
            before = str(weights_of(recipe))
            assert before == f"{recipe.out}/{step.stage}.safetensors"


class TestPaperScale:
    """The full sizes of SPEC 1."""

    # SPEC 8.4 and the detectors' own tests, plus the sigmoids' w and b, 2 per refinement network
    REFINED, BODY = 44_678_301 + 6 * 2, 7_530_639 + 2

    def test_refinement_has_the_papers_size(self, sizes):
        for name in ("table2", "table3", "table4", "table5"):
            assert sizes[name, "FCN+Refine"] - sizes[name, "FCN"] == self.REFINED
        assert sizes["table6", "ResNet+Refine"] - sizes["table6", "ResNet-152"] == self.REFINED
        assert sizes["table6", "Hg+Refine"] - sizes["table6", "Hourglass"] == self.REFINED

    def test_table_9_adds_a_network_per_stage(self, sizes):
        detector = sizes["table9", "FCN"]
        for norm in ("without", "with"):
            assert sizes["table9", f"Stage 1 {norm} body norm."] - detector == self.BODY
            assert sizes["table9", f"Stage 2 {norm} limb norm."] - detector == self.REFINED

    def test_baselines_of_table_1(self, sizes):
        """3K+1 outputs, 15 + 28 more; three networks (SPEC 1.9: 22 591 917)."""
        added = {
            title: sizes["table1", title] - sizes["table1", "FCN"]
            for title in ("Type supervision", "Multi-branch", "Global normalization")
        }
        assert added["Global normalization"] == self.BODY
        assert added["Type supervision"] == self.BODY + 28 * (128 + 1)
        assert added["Multi-branch"] == 22_591_917 + 3 * 2

    def test_detectors(self, sizes):
        """134 333 549 without deconvolution (SPEC 8.4), its kernels of side 2s by channel, and
        the 1x1 layers that fuse 2 and 3 heads."""
        plain, heads = 134_333_549, {stride: 15 * (2 * stride) ** 2 for stride in (8, 16, 32)}
        fused = (30 * 15 + 15) + (45 * 15 + 15)
        assert sizes["table1", "FCN"] == sizes["table11", "FCN 8s"] == plain + heads[8]
        assert sizes["table11", "FCN 8s (Extra)"] == plain + sum(heads.values())
        assert sizes["table9", "FCN"] == plain + sum(heads.values()) + fused

    def test_kernels_pictures_and_targets(self):
        fcn, body, *_ = chain("table2", "FCN+Refine")
        assert (fcn.size, fcn.content, fcn.loss_stride) == (352, 340, 1)
        assert (fcn.trunk, fcn.optimizer, fcn.batch, fcn.drawn) == ("vgg16", "sgd", 16, "disks")
        assert (fcn.rate, fcn.fine_tune_rate, fcn.occluded) == (1e-3, 2e-4, "background")
        assert (body.kernels, body.refine_width) == ((9, 15, 15), 128)
        resnet, hourglass = chain("table7", "Refine")[0], chain("table8", "Hourglass")[0]
        assert (resnet.trunk, resnet.size, resnet.drawn) == ("resnet152", 256, "disks")
        assert (hourglass.stacks, hourglass.size, hourglass.drawn) == (8, 256, "gaussians")
        assert chain("table6", "Hourglass")[0].size == 256
        assert chain("table6", "ResNet-152")[0].content == 340

    def test_more_data_take_more_steps_and_fewer_passes(self):
        people = {"lsp": 1000, "lspet": 10_000, "flic": 3987, "mpii": 22_246}
        passes = {
            sets: PAPER.steps_of("detector", sets, 1) * 16 / sum(people[one] for one in sets)
            for sets in LONGER
        }
        assert passes["lsp",] == 320
        assert all(20 < count < 320 for sets, count in passes.items() if sets != ("lsp",))


class TestVariants:
    def test_table_1_refines_the_original_detector_without_normalization_or_with(self):
        for title, baseline in (
            ("Type supervision", "type-supervision"),
            ("Multi-branch", "multi-branch"),
            ("Global normalization", "none"),
        ):
            detector, body = chain("table1", title)
            assert (detector.variant, body.variant) == ("8s", "8s")
            assert (body.baseline, body.normalize) == (baseline, True)

    def test_baselines_see_as_many_pictures_of_each_type_as_normalization_in_all(self):
        """'Extra augmentation so that each type has as many samples' (SPEC 1.14)."""
        steps = {row.title: chain("table1", row.title)[-1].body_steps for row in table("table1")}
        alone = steps["Global normalization"]
        assert steps["Type supervision"] == steps["Multi-branch"] == 3 * alone

    def test_table_9_turns_nothing_limbs_or_both(self):
        flags = [
            (recipe.normalize, recipe.normalize_limbs)
            for recipe in (chain("table9", row.title)[-1] for row in table("table9"))
        ]
        assert flags[1:] == [(False, True), (True, True), (True, False), (True, True)]

    def test_both_limb_rows_sit_on_stage_1_with_normalization(self):
        """SPEC 2.1, register 32; and neither is fine-tuned (register 27)."""
        body = runs("table9", "Stage 1 with body norm.")
        for title in ("Stage 2 without limb norm.", "Stage 2 with limb norm."):
            assert runs("table9", title)[:2] == body
        assert not any(recipe.all_steps for row in table("table9") for recipe in chain_of(row))

    def test_table_11_has_seven_variants(self):
        variants = {chain("table11", row.title)[0].variant for row in table("table11")}
        assert len(variants) == 7


def table(name) -> tuple[Row, ...]:
    return EXPERIMENTS[name].rows


def chain_of(row) -> list[Recipe]:
    return recipes(row.training, EXPERIMENTS["table9"], PAPER, HERE)


class TestSharing:
    """'Identical recipes must be trained once.'"""

    def test_tables_share_detectors_and_refinements(self):
        assert runs("table1", "FCN") == runs("table11", "FCN 8s")
        assert runs("table9", "FCN") == runs("table11", "FCN 8s (Fusion)") == runs("table2", "FCN")
        whole = runs("table2", "FCN+Refine")
        assert whole[:3] == runs("table9", "Stage 2 with limb norm.")

    def test_what_differs_is_not_shared(self):
        titles = [
            (name, row.title) for name in ("table1", "table9", "table11") for row in table(name)
        ]
        last = {runs(*pair)[-1] for pair in titles}
        assert len(last) == len(titles) - 2  # FCN 8s, FCN 8s (Fusion)
        assert not set(runs("table4", "FCN")) & set(runs("table2", "FCN"))  # labels
        assert not set(runs("table5", "FCN")) & set(runs("table4", "FCN"))  # data
        assert not set(runs("table2", "FCN", SMALL)) & set(runs("table2", "FCN"))

    def test_seeds_and_steps_are_part_of_a_name(self):
        title = "Stage 1 with body norm."
        known = [recipe.out for recipe in chain("table9", title)]
        for other in (
            chain("table9", title, seed=1),
            chain("table9", title, place=replace(HERE, times=2)),
        ):
            assert not set(known) & {recipe.out for recipe in other}

    def test_what_it_was_trained_on_is_part_of_a_name(self):
        one = chain("table4", "FCN", place=replace(HERE, times=3))[0]
        more = chain("table5", "FCN")[0]
        assert one.detector_steps == more.detector_steps
        assert one.out != more.out

    def test_how_the_detector_was_trained_is_part_of_its_refinements_names(self):
        longer = replace(SMALL, steps={**SMALL.steps, "detector": 5})
        title = "Stage 1 with body norm."
        known, other = runs("table9", title, SMALL), runs("table9", title, longer)
        assert not set(known) & set(other)

    def test_folders_and_threads_are_not(self):
        elsewhere = Place(Path("/more/data"), Path("/out"), device="cuda", threads=2)
        for name, row in ROWS:
            known, moved = chain(name, row.title, SMALL), chain(name, row.title, SMALL, elsewhere)
            assert [recipe.out for recipe in known] == [recipe.out for recipe in moved]


class TestSmallScale:
    @pytest.mark.parametrize("name", ["table1", "table9", "table10"])
    def test_refinement_learns_maps_of_people_whom_the_detector_has_not_seen(self, name):
        """'Out-of-fold score maps for the refinement'; rows of one detector share the folds."""
        refining = [recipe for row in table(name) for recipe in chain(name, row.title, SMALL)[1:]]
        (detector,) = {chain(name, row.title, SMALL)[0].out for row in table(name)}
        steps = chain(name, table(name)[0].title, SMALL)[0].detector_steps
        assert {one.out_of_fold for one in refining} == {2}
        assert {one.fold_steps for one in refining} == {steps}
        assert {one.folds for one in refining} == {f"{detector}-folds"}
        assert not any(one.out_of_fold for row in table(name) for one in chain_of(row))

    def test_budget_of_tables_1_9_and_11(self):
        """Pictures that detectors and refinements see, each training once, with one seed."""
        seen: dict[str, tuple[str, int]] = {}
        for name in ("table1", "table9", "table11"):
            for row in table(name):
                for recipe in chain(name, row.title, SMALL):
                    stage = weights_of(recipe).stem
                    steps = getattr(recipe, f"{stage}_steps")
                    seen[recipe.out] = stage, steps * recipe.batch
        pictures = {"detector": 0, "body": 0, "limbs": 0}
        for stage, count in seen.values():
            pictures[stage] += count
        assert pictures["detector"] <= 80_000
        assert pictures["body"] <= 60_000
        assert pictures["limbs"] <= 13_000

    @each_row
    def test_networks_build(self, name, row):
        recipe = chain(name, row.title, SMALL)[-1]
        assert count_parameters(network(recipe, row)) < 13e6
        hourglass = recipe.detector == "hourglass"
        assert recipe.trunk_weights == ("none" if hourglass else "/data/resnet18")
