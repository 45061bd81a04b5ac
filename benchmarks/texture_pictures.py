"""What copying texture does, for people to look at: scene, soft fill, fill with texture, true background.

python benchmarks/texture_pictures.py SCENES --scenes 0000 0001 0002 -o docs/pictures/texture.jpg

SCENES is a folder of `unsay prepare scenes`. The first thing of each scene is taken out by its true mask, grown as
`unsay erase` grows it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from unsay.bundle import load_bundle
from unsay.evaluation.inpaint import read_photo
from unsay.evaluation.peers import ours
from unsay.inpainting import grow_mask, settled
from unsay.inpainting.hole import box_around
from unsay.options import InpaintOptions
from unsay.results import Pixels
from unsay.training.scenes import read_scenes

SIDE = 300
GAP = 6


def row(data: Path, name: str, bundle: str) -> Pixels:
    """Four views of the surroundings of the scene's first thing, side by side."""
    scene = next(s for s in read_scenes(data) if s.name == name)
    photo, truth = read_photo(data / scene.image), read_photo(data / scene.background)
    index = cv2.imread(str(data / scene.mask), cv2.IMREAD_UNCHANGED)
    options = settled(InpaintOptions(None, None), photo.shape)
    hole = grow_mask(np.asarray(index == scene.things[0].index), options.grow or 0)
    feather = options.feather
    soft, textured = (
        ours(load_bundle(bundle), InpaintOptions(0, feather, texture=t)).fill(photo, hole) for t in (False, True)
    )
    box = box_around(hole)
    place = box.grown(box.long // 3, hole.shape).slices
    views = [cv2.resize(p[place], (SIDE, SIDE), interpolation=cv2.INTER_AREA) for p in (photo, soft, textured, truth)]
    gap = np.full((SIDE, GAP, 3), 255, np.uint8)
    return np.concatenate([part for view in views for part in (view, gap)][:-1], 1)


def main() -> None:
    """Fill, lay out, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--scenes", nargs="+", required=True, help="names of scenes")
    parser.add_argument("--bundle", default="starter")
    parser.add_argument("--output", "-o", type=Path, required=True)
    args = parser.parse_args()
    rows = [row(args.data, name, args.bundle) for name in args.scenes]
    gap = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    sheet = np.concatenate([part for one in rows for part in (one, gap)][:-1])
    cv2.imwrite(str(args.output), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
