"""The public names of the package, found when they are first used (PEP 562)."""

import subprocess
import sys

import pytest

import uprightpose

LIGHT = ("LSP", "FLIC", "MPII", "COCO", "Skeleton", "Limb", "InputError", "Person", "__version__")


def test_every_public_name_is_there():
    for name in uprightpose.__all__:
        assert getattr(uprightpose, name) is not None
    assert set(uprightpose.__all__) <= set(dir(uprightpose))
    assert sorted(set(uprightpose.__all__)) == sorted(uprightpose.__all__)


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="'uprightpose' has no attribute 'loud'"):
        _ = uprightpose.loud


def test_a_star_brings_the_names():
    names: dict[str, object] = {}
    exec("from uprightpose import *", names)
    assert set(uprightpose.__all__) <= set(names)


def test_names_without_tensors_load_no_torch():
    code = (
        f"import sys\nfrom uprightpose import {', '.join(LIGHT)}\n"
        "import uprightpose\ndir(uprightpose)\n"
        "sys.exit('torch is imported' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
