"""What K masked region tokens cost, against one plain pass and against cropping each region, on a random ViT-B/16.

python benchmarks/region_tokens.py [--side N ...] [--start L0 ...] [--repeats N] [--out FILE]

Every network is run in turn with the plain one, so that a busy machine slows both; ratios are of medians. `seconds` are
wall-clock; `processor` counts the processor time of all threads, which do not spin, and suffers less from other work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsay.models.region_encoder import TransformerConfig
from unsay.models.vit import RegionViT, VisionTransformer, ViTConfig
from unsay.runtime import runtime
from unsay.training.segment_export import to_onnx

RESULTS = Path(__file__).parent / "results" / "region_tokens.json"
PATCH, GRID, CHANNELS, LAYERS = 16, 14, 512, 12


class Plain(nn.Module):
    """CLIP's embedding of a photo: one plain pass in full, as `transformers` computes it."""

    def __init__(self, regions: RegionViT) -> None:
        super().__init__()
        self.vit, self.projection = regions.vit, regions.projection

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels [1, 3, H, W] -> [1, E]."""
        return F.normalize(self.projection(self.vit(pixels)[:, 0]), dim=-1)


def tower(start: int) -> RegionViT:
    """A ViT-B/16 with CLIP's parts, the same random weights for every start."""
    torch.manual_seed(0)
    layers = TransformerConfig(768, 12, LAYERS, 3072, start, "quick_gelu")
    vit = VisionTransformer(ViTConfig(layers, PATCH, GRID, pre_norm=True))
    for parameter in (vit.class_token, vit.positions):
        nn.init.normal_(parameter, std=0.02)
    return RegionViT(vit, nn.Linear(768, CHANNELS, bias=False)).eval().requires_grad_(False)


def session(network: nn.Module, threads: int) -> Any:
    """The network as ONNX Runtime runs it, sizes free."""
    free = {"pixels": {2: "height", 3: "width"}, "coverage": {0: "regions", 1: "patches"}, "embeddings": {0: "regions"}}
    inputs: tuple[Tensor, ...] = (torch.rand(1, 3, 32, 48),)
    if isinstance(network, RegionViT):
        inputs += (torch.rand(3, 6),)
    names = ["pixels", "coverage"][: len(inputs)]
    model = to_onnx(
        network, inputs, names, ["embeddings"], {k: v for k, v in free.items() if k in {*names, "embeddings"}}
    )
    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def timed(run: Any, feed: dict[str, np.ndarray]) -> tuple[float, float]:
    """Wall-clock and processor seconds of one run."""
    wall, processor = time.perf_counter(), time.process_time()
    run.run(None, feed)
    return time.perf_counter() - wall, time.process_time() - processor


def tiles(regions: int, side: int) -> np.ndarray:
    """`regions` groups of about equal size, as coverage [K, P]."""
    patches = (side // PATCH) ** 2
    return np.asarray(np.arange(patches) * regions // patches == np.arange(regions)[:, None], np.float32)


def measure(plain: Any, masked: Any, side: int, regions: int, repeats: int) -> dict[str, float]:
    """Medians over `repeats`, the networks run in turn, after one run of each that does not count.

    `lean`: against one region that covers everything, which is a plain pass without what only patches need at its end.
    """
    pixels = np.random.default_rng(side).normal(0, 1, (1, 3, side, side)).astype(np.float32)
    coverage = tiles(regions, side)
    feeds = [(plain, {}), (masked, {"coverage": np.ones_like(coverage[:1])}), (masked, {"coverage": coverage})]
    times = [[timed(run, {"pixels": pixels, **more}) for run, more in feeds] for _ in range(repeats + 1)][1:]
    found: dict[str, float] = {}
    for index, clock in enumerate(("seconds", "processor")):
        one, lean, tokens = (statistics.median(run[network][index] for run in times) for network in range(3))
        found |= {f"plain_{clock}": round(one, 3), f"masked_{clock}": round(tokens, 3)}
        found |= {f"ratio_{clock}": round(tokens / one, 3), f"lean_ratio_{clock}": round(tokens / lean, 3)}
    return found


def crops(plain: Any, side: int, regions: int, repeats: int) -> dict[str, float]:
    """Each region cropped, brought to `side` and encoded by itself: as many plain passes as there are regions."""
    pixels = np.random.default_rng(side).normal(0, 1, (1, 3, side, side)).astype(np.float32)
    runs = [[timed(plain, {"pixels": pixels})[1] for _ in range(regions)] for _ in range(repeats)]
    every = statistics.median(sum(run) for run in runs)
    one = statistics.median(statistics.median(run) for run in runs)
    return {"processor": round(every, 3), "ratio_processor": round(every / one, 2)}


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "commit": commit.stdout.strip(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "load": round(os.getloadavg()[0], 1),
        "onnxruntime": runtime().__version__,
        "torch": torch.__version__,
    }


def main() -> None:
    """Measure, print ratios, write them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, nargs="+", default=[224, 336])
    parser.add_argument("--start", type=int, nargs="+", default=[0, 6, 9, 11])
    parser.add_argument("--regions", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    plain = session(Plain(tower(0)), args.threads)
    rows: dict[str, dict[str, Any]] = {str(side): {} for side in args.side}
    for start in args.start:
        masked = session(tower(start), args.threads)
        for side in args.side:
            found = measure(plain, masked, side, args.regions, args.repeats)
            rows[str(side)][f"start {start}"] = found
            ratios = (
                f"{found['ratio_processor']:.3f} of a plain pass, {found['lean_ratio_processor']:.3f} of a lean one"
            )
            print(f"side {side}, start {start:2}: {ratios}", flush=True)
        del masked
    for side in args.side:
        found = crops(plain, side, args.regions, 5)
        rows[str(side)]["crops"] = found
        print(f"side {side}, crops: {found['ratio_processor']:.1f} plain passes", flush=True)
    settings = {"model": "ViT-B/16, random", "regions": args.regions, "repeats": args.repeats, "threads": args.threads}
    args.out.write_text(json.dumps({**settings, **machine(), "sides": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
