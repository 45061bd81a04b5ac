"""How well photos fall into groups: against human outlines, against class masks, and against other segmenters.

python benchmarks/grouping.py --data ../shared/data [--split dev|report] [--trunk efficientnet-lite2] [--only bsds|voc]
    [--limit N] [--out benchmarks/results/grouping.json] [--pictures docs/pictures]

On BSDS500's test photos every segmenter of scikit-image is tuned to the mean number of segments of ours, by its one
scale parameter, without a look at the outlines; nothing of ours was chosen on them.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from unsay.evaluation.datasets import find_set
from unsay.evaluation.grouping import Oracle, Outlined, Partition, agreement, read_bsds, tune
from unsay.evaluation.tables import text_table
from unsay.models.efficientnet_lite import MEAN, SCALE, EfficientNetLite, load_trunk
from unsay.results import Pixels
from unsay.segmentation.borders import draw_borders
from unsay.segmentation.grouping import STARTER, group_photo
from unsay.segmentation.recipe import Grouping, Network
from unsay.segmentation.vision import Array, prepare

AS_THE_STARTER = Network("", 512, 32, (MEAN,) * 3, (SCALE,) * 3)
TUNED_ON = 25
"""Photos from which a peer's parameter is tuned to a number of segments."""
SUPERPIXELS = STARTER.options["superpixels"]
RECIPES: dict[str, Grouping] = {
    "agglomerative, superpixels": STARTER,
    "the same, twice the height": replace(STARTER, options={**STARTER.options, "height": 0.38}),
    "the same, half the height": replace(STARTER, options={**STARTER.options, "height": 0.095}),
    "normalised cut, superpixels": Grouping(
        STARTER.maps, "normalised-cut", options={"smallest": 0.5, "groups": 20, "superpixels": SUPERPIXELS}
    ),
    "k-means, superpixels": Grouping(STARTER.maps, "k-means", options={"smallest": 4, "superpixels": SUPERPIXELS}),
    "Ward, 20 groups of patches": Grouping(STARTER.maps, options={"groups": 20}),
    "Ward, 10 groups of patches": Grouping(STARTER.maps, options={"groups": 10}),
    "normalised cut, patches": Grouping(STARTER.maps, "normalised-cut", options={"groups": 20}),
    "k-means, patches": Grouping(STARTER.maps, "k-means"),
}
Maps = dict[str, Array]
Segmenter = Callable[[Pixels, float], Partition]


def main() -> None:
    """Measure and print; write the figures where `--out` says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--trunk", default="efficientnet-lite2")
    parser.add_argument("--only", choices=("bsds", "voc"))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--pictures", type=Path, help="folder for drawings of groups over scikit-image's free photos")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    trunk = load_trunk(args.trunk)
    result: dict[str, Any] = {
        "command": f"python benchmarks/grouping.py --data ../shared/data --split {args.split} --trunk {args.trunk}",
        "settings": {name: asdict(recipe) for name, recipe in RECIPES.items()},
        "versions": {p: version(p) for p in ("numpy", "opencv-python-headless", "scikit-image", "scipy", "torch")},
        "python": platform.python_version(),
        "cores": 1,
        "borders": time_borders(trunk),
    }
    if args.only != "bsds":
        result[f"voc-animals {args.split}"] = judge_voc(args.data / "voc-animals", args.split, args.limit, trunk)
    if args.only != "voc":
        result["bsds500 test"] = judge_bsds(args.data / "bsds500", args.limit, trunk)
    if args.pictures is not None:
        draw_pictures(args.pictures, trunk)
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def judge_voc(data: Path, split: str, limit: int | None, trunk: EfficientNetLite) -> dict[str, Any]:
    """Oracle mIoU-7, covering of the class masks, groups and time of each recipe, with drawn borders and without."""
    samples = list(find_set("voc21").read(data, split, limit))
    maps = [trunk_maps(trunk, s.rgb) for s in samples]
    rows = {}
    for name, recipe in RECIPES.items():
        with Clock(len(samples)) as grouping:
            groups = [group_photo(s.rgb, m, recipe) for s, m in zip(samples, maps, strict=True)]
        with Clock(len(samples)) as drawing:
            drawn = [draw_borders(g, s.rgb) for s, g in zip(samples, groups, strict=True)]
        best, plain = Oracle(), Oracle()
        for sample, coarse, fine in zip(samples, groups, drawn, strict=True):
            best.add(sample.truth, fine)
            plain.add(sample.truth, enlarged(coarse, sample.rgb))
        rows[name] = {
            "oracle mIoU-7": best.miou7,
            "without borders": plain.miou7,
            "covering": best.covering,
            "groups": best.groups,
            "s to group": grouping.seconds,
            "s to draw": drawing.seconds,
        }
    show(rows, f"voc-animals {split}, {len(samples)} photos")
    return rows


def judge_bsds(data: Path, limit: int | None, trunk: EfficientNetLite) -> dict[str, Any]:
    """Covering, PRI and VI of each recipe, and of the peers at the mean number of segments of the first."""
    samples = list(read_bsds(data, limit=limit))
    maps = [trunk_maps(trunk, s.rgb) for s in samples]
    rows: dict[str, Any] = {}
    for name, recipe in RECIPES.items():
        with Clock(len(samples)) as clock:
            partitions = [
                draw_borders(group_photo(s.rgb, m, recipe), s.rgb) for s, m in zip(samples, maps, strict=True)
            ]
        rows[name] = asdict(agreement(samples, partitions)) | {"s": clock.seconds}
    wanted = rows[next(iter(RECIPES))]["segments"]
    for name, (segment, low, high) in peers().items():
        rows[name] = judge_peer(samples, segment, tuned_to(wanted, samples, segment, low, high))
    show(rows, f"bsds500 test, {len(samples)} photos")
    return rows


def tuned_to(wanted: float, samples: Sequence[Outlined], segment: Segmenter, low: float, high: float) -> float:
    """The setting at which a peer makes `wanted` segments a photo, on every so many of the photos."""
    some = samples[:: max(1, len(samples) // TUNED_ON)]
    return tune(lambda x: float(np.mean([len(np.unique(segment(s.rgb, x))) for s in some])), wanted, low, high)


def judge_peer(samples: Sequence[Outlined], segment: Segmenter, setting: float) -> dict[str, float]:
    """Score a peer at one setting."""
    with Clock(len(samples)) as clock:
        partitions = [segment(s.rgb, setting) for s in samples]
    return asdict(agreement(samples, partitions)) | {"s": clock.seconds, "setting": setting}


def peers() -> dict[str, tuple[Segmenter, float, float]]:
    """scikit-image's segmenters with the parameter that sets the scale, and its range; the rest at its defaults, but
    for what would never make few segments: Felzenszwalb's smallest segment (two are shown), quickshift's kernel.
    """
    from skimage.segmentation import felzenszwalb, quickshift, slic

    trees: dict[int, tuple[Any, Any]] = {}

    def shift(rgb: Pixels, distance: float) -> Partition:
        """At half size, where the kernel reaches twice as far. One search serves every distance: the tree is cut where
        a link is longer.
        """
        if id(rgb) not in trees:
            half = cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            links = quickshift(half, kernel_size=10, max_dist=1e3, return_tree=True, rng=0)  # type: ignore[no-untyped-call]
            trees[id(rgb)] = (np.asarray(links[1]), np.asarray(links[2]))
        return enlarged(cut_tree(*trees[id(rgb)], distance), rgb)

    return {
        "SLIC": (lambda rgb, x: slic(rgb, n_segments=max(1, round(1 / x)), start_label=0), 1e-3, 1.0),
        "Felzenszwalb, 100 px": (lambda rgb, x: felzenszwalb(rgb, scale=x, sigma=0.8, min_size=100), 10.0, 1e5),
        "Felzenszwalb, 1000 px": (lambda rgb, x: felzenszwalb(rgb, scale=x, sigma=0.8, min_size=1000), 10.0, 1e5),
        "quickshift": (shift, 1.0, 1e3),
    }


def cut_tree(parent: Partition, gaps: np.ndarray, distance: float) -> Partition:
    """Quickshift's links [H, W] without those longer than `distance` -> segments [H, W]."""
    own = np.arange(parent.size)
    root = np.where(gaps.ravel() > distance, own, parent.ravel())
    while not np.array_equal(root, root[root]):
        root = root[root]
    return np.unique(root, return_inverse=True)[1].reshape(parent.shape)


def time_borders(trunk: EfficientNetLite) -> dict[str, float]:
    """Seconds to draw the borders of one photo's groups at several sizes; the pipeline never goes above 640."""
    from skimage.data import coffee

    photo = np.asarray(coffee(), np.uint8)  # type: ignore[no-untyped-call]
    groups = group_photo(photo, trunk_maps(trunk, photo), STARTER)
    seconds = {}
    for side in (640, 1200, 4200):
        large = np.asarray(cv2.resize(photo, (side, side * 2 // 3), interpolation=cv2.INTER_CUBIC), np.uint8)
        with Clock(1) as clock:
            draw_borders(groups, large)
        seconds[f"{large.shape[1]}x{large.shape[0]}"] = clock.seconds
    print(f"borders of {int(groups.max()) + 1} groups, s: {seconds}", flush=True)
    return seconds


def draw_pictures(folder: Path, trunk: EfficientNetLite) -> None:
    """The outlines of the groups over four photos that are free to publish, `groups-*.jpg`."""
    from skimage import data
    from skimage.segmentation import mark_boundaries

    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        photo = np.asarray(getattr(data, name)(), np.uint8)
        groups = draw_borders(group_photo(photo, trunk_maps(trunk, photo), STARTER), photo)
        drawn = mark_boundaries(photo, groups, color=(1, 1, 0), mode="thick")  # type: ignore[no-untyped-call]
        small = cv2.resize((drawn * 255).astype(np.uint8), None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"groups-{name}.jpg"), small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])


@torch.inference_mode()
def trunk_maps(trunk: EfficientNetLite, rgb: Pixels) -> Maps:
    """The trunk's maps of a photo, which enters as it does in the starter."""
    pixels = torch.from_numpy(prepare(rgb, AS_THE_STARTER))
    fine, last, _ = trunk(pixels)
    return {"fine": fine[0].numpy(), "last": last[0].numpy()}


def enlarged(groups: Partition, rgb: Pixels) -> np.ndarray:
    """Groups at the photo's size, borders left where the grid has them."""
    size = (rgb.shape[1], rgb.shape[0])
    return np.asarray(cv2.resize(groups.astype(np.int16), size, interpolation=cv2.INTER_NEAREST), np.int32)


class Clock:
    """Processor seconds a photo, spent inside `with`."""

    def __init__(self, photos: int) -> None:
        self.photos, self.seconds = photos, 0.0

    def __enter__(self) -> Clock:
        self.start = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = (time.process_time() - self.start) / self.photos


def show(rows: dict[str, Any], title: str) -> None:
    """Print one table."""
    columns = list(next(iter(rows.values())))
    cells: list[list[str | float | int]] = [[name, *(float(row[c]) for c in columns)] for name, row in rows.items()]
    print(f"\n{title}\n{text_table(['', *columns], cells)}", flush=True)


if __name__ == "__main__":
    main()
