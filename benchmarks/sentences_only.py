"""The starter without ImageNet's class names: a bundle that knows words from the training sentences alone.

    python benchmarks/sentences_only.py -o runs/sentences-only
    unsay evaluate segment --bundle runs/sentences-only --data ../shared/data/voc-animals --split report

The region encoder's `logits` are taken out of its graph and the classes out of the lexicon; its constants stay those of
the whole bundle, or come from a file of `benchmarks/choose_constants.py`. It still looks through a CNN that ImageNet's
labels taught.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import onnx

from unsay.bundle import MANIFEST, load_bundle
from unsay.training.bundling import write_part


def without_classes(source: Path, out: Path, chosen: Path | None = None) -> None:
    """Write the bundle in `source` to the folder `out` with all that knows ImageNet's classes left out."""
    shutil.copytree(source, out)
    graph = onnx.load(out / "regions.onnx")
    [logits] = [output for output in graph.graph.output if output.name == "logits"]
    graph.graph.output.remove(logits)
    onnx.save(graph, out / "regions.onnx")
    words = json.loads((out / "words.json").read_text(encoding="utf-8"))
    words["classes"] = {}
    words.pop("related", None)
    (out / "words.json").write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")
    section = json.loads((out / MANIFEST).read_bytes())["segment"]
    if chosen is not None:
        section["recognition"].update(json.loads(chosen.read_bytes())["recognition"])
    files = [section["encoder"]["file"], section["lexicon"]["words"]]
    write_part(out, "segment", section, files=files, name="sentences-only")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="starter")
    parser.add_argument("--constants", type=Path, help="what benchmarks/choose_constants.py wrote")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    without_classes(load_bundle(arguments.bundle).path, arguments.output, arguments.constants)
    print(arguments.output)


if __name__ == "__main__":
    main()
