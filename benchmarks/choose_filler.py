"""Bundles' fills beside each other on choosing data: random holes in six bands, with and without texture.

    python benchmarks/choose_filler.py BUNDLE... [--data DIR] [--names FILE] [--limit N]

The same holes as `unsay evaluate inpaint` would draw. Prints PSNR (dB) and SSIM over the whole photo. For decisions
while training; results that are reported come from `unsay evaluate inpaint` on other photos.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from unsay.bundle import load_bundle
from unsay.evaluation.inpaint import ALL_BANDS, hole_for, read_photo
from unsay.evaluation.inpaint_result import band_name
from unsay.evaluation.metrics import psnr, ssim
from unsay.evaluation.peers import RIM_ALONE, ours
from unsay.options import InpaintOptions
from unsay.results import Mask, Pixels

FLICKR8K = Path("../shared/data/flickr8k")


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", help="names or folders")
    parser.add_argument("--data", type=Path, default=FLICKR8K / "images")
    parser.add_argument("--names", type=Path, default=FLICKR8K / "captions-val.tsv", help="lines begin with file names")
    parser.add_argument("--limit", type=int, default=40)
    return parser.parse_args()


def fills(rgb: Pixels, hole: Mask, bundles: list[str]) -> dict[str, Pixels]:
    """The photo filled by every bundle, soft and with texture, and by the rim alone."""
    found = {"rim alone": RIM_ALONE.fill(rgb, hole)}
    for name in bundles:
        for texture in (False, True):
            filler = ours(load_bundle(name), InpaintOptions(texture=texture))
            found[f"{Path(name).name}, {'with texture' if texture else 'soft'}"] = filler.fill(rgb, hole)
    return found


def main() -> None:
    """Fill, judge, print."""
    args = parsed()
    lines = args.names.read_text(encoding="utf-8").splitlines()
    names = sorted({line.split("\t")[0] for line in lines if line.split("\t")[0].endswith(".jpg")})[: args.limit]
    scores: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for name in names:
        rgb = read_photo(args.data / name)
        for band in ALL_BANDS:
            hole = hole_for(name, *rgb.shape[:2], band, 0)[0]
            for label, filled in fills(rgb, hole, args.bundles).items():
                scores.setdefault((label, band), []).append((psnr(filled, rgb), ssim(filled, rgb)))
    labels = list(dict.fromkeys(label for label, _ in scores))
    print(f"{len(names)} photos; PSNR, SSIM\n")
    print("| | " + " | ".join(band_name(band) for band in ALL_BANDS) + " |")
    print("|---|" + "---:|" * len(ALL_BANDS))
    for label in labels:
        means = [np.mean(scores[label, band], 0) for band in ALL_BANDS]
        print(f"| {label} | " + " | ".join(f"{p:.2f}, {s:.4f}" for p, s in means) + " |")


if __name__ == "__main__":
    main()
