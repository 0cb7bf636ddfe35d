"""The tree of the package: who may import whom, who may touch the world, and names.

``LAYERS`` is the way of one picture, top to bottom. A module imports only from lines above its
own; modules on one line are peers and know nothing of each other. A new module needs a place
here. ``__init__`` files are left out: they only gather names.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from uprightpose.frames import apply_affine

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "uprightpose"

LAYERS = (
    "errors process_setting background",
    "pipeline",
    "skeletons",
    "pose_types",
    "frames",
    "data.sample data.person data.writing data.annotation_files",
    "settings",
    "shipped_models",
    "data.lsp data.boxes data.predictions data.joint_arrays data.joint_json data.coco_people",
    "data.joint_files",
    "data.joint_matching",
    "data.images",
    "data.hourglass_file data.mpii_release data.picture_size",
    "data.flic data.mpii data.coco",
    "data.folders",
    "data.augment data.random_values",
    "data.warp data.pack",
    "data.loader",
    "detectors.trunks",
    "detectors.compact detectors.fcn detectors.resnet detectors.hourglass",
    "angle_net",
    "peaks",
    "score_maps",
    "normalize",
    "conv_plan",
    "fft_convolution",
    "large_conv",
    "framed refinement_net",
    "body_frame",
    "refine",
    "baselines limb_modes",
    "model",
    "losses",
    "curves resampling",
    "statistics",
    "metrics",
    "data.inspection",
    "protocols",
    "tables",
    "error_types",
    "table_text",
    "oks",
    "scoring",
    "compactness",
    "placebos",
    "weights",
    "scout",
    "looks",
    "inference views",
    "predict",
    "prediction_speed",
    "sample_predictions",
    "evaluate",
    "train.recipe",
    "train.stages train.people",
    "train.module",
    "train.angle train.on_maps",
    "train.fit",
    "train.start",
    "train.run",
    "plots",
    "predict_files",
    "figures",
    "reproduce.expected reproduce.people reproduce.report",
    "reproduce.scatter reproduce.coco_people",
    "reproduce.coco reproduce.coco_sheet",
    "reproduce.figures",
    "reproduce.paper reproduce.scales reproduce.machine reproduce.hypotheses reproduce.arms",
    "reproduce.simulated_maps",
    "reproduce.simulated_people",
    "reproduce.simulated_runs",
    "reproduce.tables",
    "reproduce.contrasts reproduce.requirements reproduce.rows",
    "reproduce.found_joints reproduce.turned_maps reproduce.credible",
    "reproduce.refiner_arms reproduce.gate",
    "reproduce.study_plan",
    "reproduce.study",
    "reproduce.timing",
    "reproduce.variants",
    "reproduce.study_page",
    "reproduce.rivals",
    "reproduce.normalization reproduce.together",
    "reproduce.idea_arms",
    "reproduce.ideas",
    "reproduce.beyond",
    "reproduce.mpii_server reproduce.results",
    "reproduce.page reproduce.panels reproduce.simulated_angles reproduce.simulated_results",
    "reproduce.experiment reproduce.simulated_page",
    "reproduce.simulation",
    "bench.machine",
    "bench.timing bench.item_by_item",
    "bench.growth",
    "bench.augmentation bench.convolution bench.decoding bench.rotation bench.scoring "
    "bench.prediction",
    "bench.suite",
    "bench.report",
    "commands.intervals",
    "commands.data",
    "commands.predict commands.score commands.evaluate commands.train commands.reproduce "
    "commands.bench commands.models",
    "cli",
    "__main__",
)
RANK = {f"uprightpose.{name}": rank for rank, line in enumerate(LAYERS) for name in line.split()}
PURE = (
    *(
        "detectors.",
        "peaks",
        "score_maps",
        "normalize",
        "framed",
        "body_frame",
        "refine",
        "baselines",
        "model",
        "losses",
    ),
    *(
        "conv_plan",
        "fft_convolution",
        "large_conv",
        "pose_types",
        "compactness",
        "placebos",
        "curves",
        "resampling",
        "metrics",
        "statistics",
        "protocols",
        "tables",
        "table_text",
        "error_types",
    ),
)
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager"}


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)


FILES = {
    module_name(file): file for file in sorted(PACKAGE.rglob("*.py")) if file.name != "__init__.py"
}


def rank_of(name: str) -> int:
    """Return the line of a module, or of the last module of a package."""
    inside = [rank for module, rank in RANK.items() if module.startswith(f"{name}.")]
    return RANK[name] if name in RANK else max(inside)


def is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports(tree: ast.AST, module: str) -> Iterator[str]:
    """Yield each module that ``module`` imports, in functions and for types too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")[: -node.level] if node.level else []
            source = ".".join([*package, *([node.module] if node.module else [])])
            for alias in node.names:
                below = f"{source}.{alias.name}"
                inside = source.split(".")[0] == "uprightpose" and is_module(below)
                yield below if inside else source


def upward_imports(source: str, module: str) -> list[str]:
    """Return the modules of the package that ``module`` imports but may not."""
    found = set(imports(ast.parse(source), module))
    ours = {name for name in found if name.split(".")[0] == "uprightpose"}
    return sorted(n for n in ours if n == "uprightpose" or rank_of(n) >= rank_of(module))


@pytest.mark.parametrize("module", FILES)
class TestEachModule:
    def test_has_a_place_in_the_tree(self, module):
        assert module in RANK, f"give {module} a line in LAYERS, below all that it imports"

    def test_imports_only_from_lines_above(self, module):
        if module in RANK:
            assert upward_imports(FILES[module].read_text(), module) == []

    def test_pure_modules_touch_nothing_outside(self, module):
        """Tensors in, tensors out: no files, clocks, printing or device of their own."""
        if not module.removeprefix("uprightpose.").startswith(PURE):
            return
        tree = ast.parse(FILES[module].read_text())
        roots = {name.split(".")[0] for name in imports(tree, module)}
        assert not roots & {"os", "pathlib", "time", "datetime", "logging", "subprocess", "tqdm"}
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        names = {call.id for call in calls if isinstance(call, ast.Name)}
        methods = {call.attr for call in calls if isinstance(call, ast.Attribute)}
        assert not names & {"print", "open", "eval", "exec"}
        assert not methods & {"cuda", "manual_seed"}


class TestTheCheckItself:
    @pytest.mark.parametrize(
        "line",
        [
            "from uprightpose.model import PoseNet",
            "from uprightpose import model",
            "from uprightpose import PoseNet",
            "import uprightpose.cli",
            "import uprightpose",
            "from .losses import pose_loss",
            "from . import losses",
            "from uprightpose.train import Recipe",
            "def late():\n    from uprightpose.refine import BodyRefiner",
            "if TYPE_CHECKING:\n    from uprightpose.normalize import Rotation",
        ],
    )
    def test_upward_and_own_imports_are_found(self, line):
        assert upward_imports(line, "uprightpose.normalize")

    @pytest.mark.parametrize(
        "line",
        [
            "import torch",
            "from uprightpose.skeletons import LSP",
            "from uprightpose import frames",
            "from uprightpose.detectors import DETECTORS",
            "from .score_maps import decode",
        ],
    )
    def test_downward_and_foreign_imports_pass(self, line):
        assert upward_imports(line, "uprightpose.normalize") == []

    def test_peers_may_not_import_each_other(self):
        assert upward_imports("from uprightpose.data.lsp import read_lsp", "uprightpose.data.boxes")

    def test_the_package_is_read(self):
        assert len(FILES) > 10


def test_no_file_or_folder_has_a_name_that_tells_nothing():
    folders = (PACKAGE, ROOT / "tests", ROOT / "examples", ROOT / "benchmarks")
    found = [
        str(path.relative_to(ROOT))
        for folder in folders
        for path in folder.rglob("*")
        if EMPTY_NAMES & set(path.stem.removeprefix("test_").split("_"))
        and "__pycache__" not in path.parts
    ]
    assert found == []


def test_shapes_in_signatures_are_checked_in_tests():
    apply_affine(np.eye(2, 3), np.zeros((4, 2)))
    with pytest.raises(TypeError, match="apply_affine"):
        apply_affine(np.eye(3), np.zeros((4, 2)))


class TestStartIsLight:
    """``import uprightpose`` and ``uprightpose --help`` answer at once: torch comes later."""

    @pytest.mark.parametrize(
        "code",
        [
            "import uprightpose",
            "import uprightpose, contextlib\n"
            "from uprightpose.cli import main\n"
            "sys.argv = ['uprightpose', '--help']\n"
            "with contextlib.suppress(SystemExit):\n"
            "    main()",
        ],
        ids=["import", "help"],
    )
    def test_torch_is_not_imported(self, code):
        code = f"import sys\n{code}\nsys.exit('torch is imported' if 'torch' in sys.modules else 0)"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
