"""The same input gives the same bytes: on one thread and two, at once and after other photos, in every format."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import seeds

ROOT = Path(__file__).parents[1]
SUFFIXES = (".jpg", ".png", ".webp", ".tif", ".avif")
# Erases from a photo, of which a part is enough, in every format; `warm`: after other photos, words and sizes.
ERASE = """
import hashlib, json, sys
import cv2, numpy as np
from unsay import load_bundle, segment, inpaint
from unsay.erasing import erase_pixels
from unsay.photo import Photo
path, threads, warm = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "warm"
bundle = load_bundle("starter", threads=threads)
image = cv2.imread(path)
small = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
if warm:
    for other in (image[::-1].copy(), small[:, ::-1].copy(), image[: image.shape[0] // 2]):
        segment(np.ascontiguousarray(other[..., ::-1]), ["dog", "water", "chair"], bundle=bundle)
    hole = np.zeros(small.shape[:2], bool)
    hole[40:90, 60:140] = True
    inpaint(np.ascontiguousarray(small), hole, bundle=bundle)
given = {}
for suffix in (".jpg", ".png", ".webp", ".tif", ".avif"):
    if suffix == ".avif":
        data = Photo.open(cv2.imencode(".png", small)[1].tobytes()).encode(".avif")
    else:
        data = cv2.imencode(suffix.replace(".tif", ".tiff"), small)[1].tobytes()
    photo = Photo.open(data)
    erased = erase_pixels(photo.rgb, ["orca"], bundle)
    given[suffix + " hole"] = hashlib.sha256(erased.hole.tobytes()).hexdigest()
    for patch in erased.patches:
        given[suffix + " fill"] = hashlib.sha256(patch.pixels.tobytes() + patch.weight.tobytes()).hexdigest()
    given[suffix] = hashlib.sha256(photo.with_patches(erased.patches).encode()).hexdigest()
print(json.dumps(given))
"""


def digests(threads: int, state: str) -> dict[str, str]:
    """What a process of its own makes of the example, by format."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "VIPS_CONCURRENCY": str(threads)}
    command = [sys.executable, "-c", ERASE, str(ROOT / "examples" / "sea.jpg"), str(threads), state]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    made: dict[str, str] = json.loads(done.stdout)
    return made


@pytest.fixture(scope="module")
def first() -> dict[str, str]:
    return digests(1, "cold")


@pytest.mark.slow
@pytest.mark.parametrize(("threads", "state"), [(1, "cold"), (1, "warm"), (2, "cold"), (2, "warm")])
def test_erasing_gives_the_same_bytes(threads: int, state: str, first: dict[str, str]) -> None:
    """Masks and fills are compared too, so that what differs shows where."""
    assert set(SUFFIXES) < set(first)
    again = digests(threads, state)
    assert {name for name in first if again.get(name) != first[name]} == set()


def test_coding_gives_the_same_bytes_on_one_thread_and_two() -> None:
    code = (
        "import sys, hashlib\nsys.path.append(sys.argv[1])\nimport numpy as np\nfrom fuzz import seeds\n"
        "from unsay.photo import Photo\nfrom unsay.results import Patch\n"
        "patch = Patch(3, 3, np.full((9, 9, 3), 80, np.uint8), np.ones((9, 9), np.float32))\n"
        "for kind in seeds.FORMATS:\n    for data in seeds.photos(kind):\n"
        "        print(hashlib.sha256(Photo.open(data).with_patches([patch]).encode()).hexdigest())\n"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code, str(ROOT)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "VIPS_CONCURRENCY": threads, "OMP_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
        ).stdout.split()
        for threads in ("1", "2")
    ]
    assert len(told[0]) == sum(len(seeds.photos(kind)) for kind in seeds.FORMATS)
    assert told[0] == told[1]
    assert len(set(told[0])) == len(told[0])
    assert hashlib.sha256(b"").hexdigest() not in told[0]
