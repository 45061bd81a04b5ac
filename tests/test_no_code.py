"""No file of ours unpickles what it reads, evaluates it, or loads it without saying that neither may happen."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import unsay

SOURCE = Path(unsay.__file__).parent
LEARNING = ("training", "models")
FILES = sorted(SOURCE.rglob("*.py"))
BENCHMARKS = sorted((SOURCE.parents[1] / "benchmarks").rglob("*.py"))
RUNNING = [path for path in FILES if path.relative_to(SOURCE).parts[0] not in LEARNING]
UNSAFE_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle", "runpy", "code"}
LEARNING_MODULES = {"torch", "onnx", "yaml", "transformers", "huggingface_hub", "safetensors", "pytorch_lightning"}
NETWORK_MODULES = {"socket", "ssl", "http", "urllib", "requests", "httpx", "aiohttp", "ftplib", "smtplib"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system"}
GUARDED = {
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "torch.load": ("weights_only", True),
    "np.savez": ("allow_pickle", False),
}
"""Calls -> the argument that has to be given, and its value: what is left out may be another in another version."""
SOCKETS = {"web/server.py", "batch/engine.py"}
"""The page's server takes connections; a batch asks the cluster that its user names whether it answers."""
JUDGES = {"evaluation/deep.py"}
"""Opens the published networks by which papers judge fills, with the packages of their authors, where they lie."""


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def problems(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in UNSAFE_CALLS:
            yield f"line {node.lineno}: {name}"
        if name in GUARDED:
            wanted, value = GUARDED[name]
            given = {k.arg: k.value for k in node.keywords}.get(wanted)
            if not isinstance(given, ast.Constant) or given.value is not value:
                yield f"line {node.lineno}: {name} without {wanted}={value}"


def named(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_file_turns_data_into_code(path: Path) -> None:
    assert not list(problems(ast.parse(path.read_bytes())))


def test_one_module_alone_opens_the_runtime() -> None:
    """There its reporting is turned off first, see `unsay.runtime`; benchmarks go that way too."""
    found = {path for path in [*FILES, *BENCHMARKS] if "onnxruntime" in set(imported(ast.parse(path.read_bytes())))}
    assert found == {SOURCE / "runtime.py"}


@pytest.mark.parametrize("path", RUNNING, ids=named)
def test_the_running_half_imports_nothing_that_could(path: Path) -> None:
    names = (
        set(imported(ast.parse(path.read_bytes())))
        - {"urllib.parse"}
        - ({"socket"} if named(path) in SOCKETS else set())
    )
    roots = {name.partition(".")[0] for name in names}
    assert not roots & (UNSAFE_MODULES | NETWORK_MODULES)
    assert not roots & LEARNING_MODULES - ({"torch"} if named(path) in JUDGES else set())


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("np.load(path)", "np.load without allow_pickle=False"),
        ("np.load(path, allow_pickle=True)", "np.load without"),
        ("torch.load(path, weights_only=maybe)", "torch.load without"),
        ("eval('1')", "eval"),
        ("yaml.load(text)", "yaml.load"),
    ],
)
def test_what_this_page_would_find(code: str, found: str) -> None:
    assert found in " ".join(problems(ast.parse(code)))
