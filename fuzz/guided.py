"""Coverage-guided fuzzing by atheris: `python -m fuzz.guided photo|mask|metadata|words|manifest [libFuzzer's options]`.

A harness is a module with `load`, which gives the test of one input, and `start`, the inputs to begin with.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path

import atheris

HARNESSES = ("photo", "mask", "metadata", "words", "manifest")


def main() -> None:
    """Run one harness until it is stopped, or as its options say."""
    name, *options = sys.argv[1:] or [""]
    if name not in HARNESSES:
        sys.exit(f"no harness {name!r}: use one of {', '.join(HARNESSES)}")
    with atheris.instrument_imports(include=["unsay"]):  # it follows the branches of modules imported under its eyes
        harness = importlib.import_module(f"fuzz.{name}_harness")
        test = harness.load()
        from unsay.errors import UnsayError

    def run(data: bytes) -> None:
        with contextlib.suppress(UnsayError):
            test(data)

    corpus = Path(".cache") / "fuzz" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(harness.start()):
        (corpus / f"seed-{number}").write_bytes(data)
    limits = ["-timeout=60", "-rss_limit_mb=2048", f"-artifact_prefix=tests/hostile/{name}-"]
    atheris.Setup([sys.argv[0], *limits, *options, str(corpus)], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
