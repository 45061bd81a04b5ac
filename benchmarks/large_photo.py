"""A thing of 256 pixels taken out of a photo of 16 megapixels, for people to look at: before, after, true background.

    python benchmarks/large_photo.py .cache/free --photos OneStandsOut Path --cutout frog -o docs/pictures/large.jpg

FOLDER is what `scripts/fetch-free-photos` makes. Its sharpest photos have 4 megapixels: each is mirrored to four times
the area, so that what is erased lies in as much detail as such a photo has. The thing's mask is given, grown as
`unsay erase` grows it. Views are at full size. Prints the seconds, PSNR and texture over the thing.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from unsay.bundle import load_bundle
from unsay.evaluation.inpaint import read_photo
from unsay.evaluation.metrics import psnr, texture_ratio
from unsay.evaluation.peers import ours
from unsay.inpainting import grow_mask, settled
from unsay.options import InpaintOptions
from unsay.results import Mask, Pixels
from unsay.training.cutouts import list_backgrounds, list_cutouts, read_cutout

WIDTH = 256
VIEW = 384
"""Side of a view; the thing is in its middle."""
PLACE = (0.62, 0.3)
"""Where the thing's middle is laid, as shares of the unmirrored photo's height and width."""
GAP = 6


def mirrored(photo: Pixels) -> Pixels:
    """Twice as wide and twice as high."""
    wide = np.concatenate([photo, photo[:, ::-1]], 1)
    return np.ascontiguousarray(np.concatenate([wide, wide[::-1]], 0))


def laid_on(photo: Pixels, cutout: np.ndarray, y: int, x: int) -> tuple[Pixels, Mask]:
    """The photo with the cut-out [h, w, 4] around (y, x), and where it is."""
    high, wide = cutout.shape[:2]
    there = (slice(y - high // 2, y - high // 2 + high), slice(x - wide // 2, x - wide // 2 + wide))
    alpha = cutout[..., 3:].astype(np.float32) / 255
    scene, mask = photo.copy(), np.zeros(photo.shape[:2], bool)
    scene[there] = np.rint(cutout[..., :3] * alpha + photo[there] * (1 - alpha)).astype(np.uint8)
    mask[there] = cutout[..., 3] > 0
    return scene, mask


def row(path: Path, cutout: np.ndarray, bundle: str) -> Pixels:
    """Before, after and truth around the thing, side by side."""
    photo = read_photo(path)
    y, x = (round(share * side) for share, side in zip(PLACE, photo.shape[:2], strict=True))
    truth = mirrored(photo)
    scene, mask = laid_on(truth, cutout, y, x)
    options = settled(InpaintOptions(None, None), scene.shape)
    hole = grow_mask(mask, options.grow or 0)
    start = time.perf_counter()
    filled = ours(load_bundle(bundle), InpaintOptions(0, options.feather)).fill(scene, hole)
    seconds = time.perf_counter() - start
    scores = f"PSNR {psnr(filled, truth, mask):.2f}, texture {texture_ratio(filled, truth, mask):.2f}"
    print(f"{path.parts[-4]}: {scene.shape[1]}x{scene.shape[0]}, {seconds:.2f} s, {scores}")
    at = (slice(y - VIEW // 2, y + VIEW // 2), slice(x - VIEW // 2, x + VIEW // 2))
    gap = np.full((VIEW, GAP, 3), 255, np.uint8)
    return np.concatenate([scene[at], gap, filled[at], gap, truth[at]], 1)


def main() -> None:
    """Compose, fill, lay out, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", nargs="+", required=True, help="names of wallpapers")
    parser.add_argument("--cutout", required=True, help="its noun; the first one by path")
    parser.add_argument("--bundle", default="starter")
    parser.add_argument("--output", "-o", type=Path, required=True)
    args = parser.parse_args()
    found = next(c for c in list_cutouts([args.folder], "test") if c.noun == args.cutout)
    rgba = read_cutout(found.path)
    scale = WIDTH / rgba.shape[1]
    cutout = cv2.resize(rgba, (WIDTH, round(rgba.shape[0] * scale)), interpolation=cv2.INTER_AREA)
    paths = {b.name: b.path for b in list_backgrounds([args.folder], "all")}
    rows = [row(paths[name], cutout, args.bundle) for name in args.photos]
    gap = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    sheet = np.concatenate([part for one in rows for part in (one, gap)][:-1])
    cv2.imwrite(str(args.output), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    main()
