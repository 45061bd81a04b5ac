"""Before and after, for people to look at: erases things from composed scenes and lays the pairs out.

python benchmarks/gallery.py SCENES --sheet runs/twenty.png             the first twenty scenes, the first thing of each
python benchmarks/gallery.py SCENES --pairs 0006:penguin -o docs/pictures   chosen pairs, a JPEG each

SCENES is a folder of `unsay prepare scenes`. A thing that was not found is shown as it was, and said so.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from unsay.bundle import Bundle, load_bundle
from unsay.erasing import erase_pixels
from unsay.errors import NotFound
from unsay.evaluation.inpaint import read_photo
from unsay.evaluation.peers import lay_over
from unsay.results import Pixels
from unsay.training.scenes import read_scenes

SIZE = (480, 360)
GAP = 8


def erased(photo: Pixels, word: str, bundle: Bundle) -> tuple[Pixels, str]:
    """The photo after erasing `word`, and a line about it."""
    try:
        done = erase_pixels(photo, [word], bundle)
    except NotFound:
        return photo, f"{word}: not found"
    return lay_over(photo, done.patches), f"{word}: {done.segmentation.scores[word]:.2f}"


def pair(photo: Pixels, after: Pixels, line: str = "") -> Pixels:
    """Before and after side by side, with a line of text below where there is one."""
    small = [cv2.resize(p, SIZE, interpolation=cv2.INTER_AREA) for p in (photo, after)]
    row = np.hstack([small[0], np.full((SIZE[1], GAP, 3), 255, np.uint8), small[1]])
    if line:
        strip = np.full((28, row.shape[1], 3), 255, np.uint8)
        cv2.putText(strip, line, (4, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
        row = np.vstack([row, strip])
    return np.asarray(row, np.uint8)


def main() -> None:
    """Write the sheet or the pairs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--bundle", default="starter")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--pairs", nargs="*", default=[], metavar="SCENE:WORD")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/pictures"))
    args = parser.parse_args()
    bundle, scenes = load_bundle(args.bundle), {s.name: s for s in read_scenes(args.scenes)}
    if args.sheet:
        rows = []
        for scene in list(scenes.values())[:20]:
            photo = read_photo(args.scenes / scene.image)
            rows.append(pair(photo, *erased(photo, scene.things[0].word, bundle)))
        columns = np.vstack([np.hstack(rows[i : i + 2]) for i in range(0, len(rows) - 1, 2)])
        cv2.imwrite(str(args.sheet), columns[..., ::-1])
    for name, _, word in (p.partition(":") for p in args.pairs):
        photo = read_photo(args.scenes / scenes[name].image)
        after, line = erased(photo, word, bundle)
        args.output.mkdir(parents=True, exist_ok=True)
        picture = pair(photo, after)[..., ::-1]
        cv2.imwrite(str(args.output / f"{name}-{word.replace(' ', '-')}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
        print(name, line)


if __name__ == "__main__":
    main()
