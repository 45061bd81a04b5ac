from __future__ import annotations

import json
import resource
import subprocess
import sys
import types

import pytest

import unsay

HEAVY = {"cv2", "numpy", "onnxruntime", "pyvips", "rich", "scipy", "skimage", "sklearn", "tokenizers", "torch", "PIL"}
NEVER = {"torch", "transformers", "skimage", "PIL", "pytorch_lightning", "spacy", "onnx"}


def test_public_names() -> None:
    public = {name for name in dir(unsay) if not name.startswith("_")}
    assert public == {
        "BadInput", "Bundle", "BundleError", "NotFound", "Segmentation", "UnsayError",
        "cutout", "erase", "inpaint", "load_bundle", "segment",
    }  # fmt: skip
    assert set(unsay.__all__) == public
    for name in ("cutout", "erase", "inpaint", "segment", "load_bundle"):
        assert isinstance(getattr(unsay, name), types.FunctionType)
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"):
        _ = unsay.nonesuch


def modules_after(code: str) -> set[str]:
    """Top-level modules loaded in a fresh interpreter after `code`."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def processor_seconds(*arguments: str) -> float:
    """Processor time of a fresh interpreter with `arguments`: what a start-up costs, however busy the machine is."""

    def children() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = children()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    return children() - before


def test_import_is_light() -> None:
    assert not modules_after("import unsay") & HEAVY
    assert min(processor_seconds("-c", "import unsay") for _ in range(3)) < 0.3


def test_help_is_light() -> None:
    code = "from unsay.cli import main\nmain(['erase', '--help'])\nmain(['--version'])\nmain(['completion', 'bash'])"
    assert not modules_after(code) & HEAVY
    assert min(processor_seconds("-m", "unsay.cli", "--help") for _ in range(3)) < 0.5


def test_the_running_half_needs_no_training_library() -> None:
    assert not modules_after("import unsay.verbs, unsay.cli") & NEVER
