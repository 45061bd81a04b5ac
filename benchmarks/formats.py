"""What writing each format loses and costs: the part of a photo outside the fill, and the size of the file.

    python benchmarks/formats.py ../shared/data/bsds500/images/test --photos 20 -o benchmarks/results/formats.json

Each photo is coded as a source file (JPEG, WebP, AVIF, HEIC at several qualities), a disc of a twelfth of it is filled
with its own blurred colours, and the file is written again. Printed, as medians over the photos (and the worst of
them): PSNR outside the disc between the two files as decoded, size of the new file over the old one's, seconds to
write; for JPEG also the share of blocks whose coefficients are the old ones.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pyvips

from unsay.photo import Photo
from unsay.photo.jpeg import read_blocks, read_jpeg
from unsay.results import Patch, Pixels

QUALITIES = (50, 75, 90)


def coded(format: str, rgb: Pixels, quality: int) -> bytes:
    """The photo as a source file."""
    image = pyvips.Image.new_from_array(rgb)
    if format.startswith("jpeg"):
        return bytes(image.jpegsave_buffer(Q=quality, interlace="progressive" in format, subsample_mode="on"))
    if format == "webp":
        return bytes(image.webpsave_buffer(Q=quality))
    if format == "avif":
        return bytes(image.heifsave_buffer(compression="av1", Q=quality))
    stream = io.BytesIO()
    pillow_heif.from_bytes("RGB", (rgb.shape[1], rgb.shape[0]), rgb.tobytes()).save(stream, quality=quality)
    return stream.getvalue()


def disc(rgb: Pixels) -> Patch:
    """A disc in the middle, filled with the photo's own colours, blurred."""
    height, width = rgb.shape[:2]
    weight = np.zeros((height, width), np.float32)
    cv2.circle(weight, (width // 2, height // 2), round((height * width / 12 / np.pi) ** 0.5), 1.0, -1)
    return Patch(0, 0, np.asarray(cv2.GaussianBlur(rgb, (0, 0), 8), np.uint8), weight)


def judged(data: bytes) -> dict[str, float]:
    """One file written again."""
    photo = Photo.open(data)
    patch = disc(photo.rgb)
    edited = photo.with_patches([patch])
    start = time.perf_counter()
    output = edited.encode()
    seconds = time.perf_counter() - start
    outside = patch.weight == 0
    step = Photo.open(output).rgb[outside].astype(float) - photo.rgb[outside]
    result = {
        "psnr": float(10 * np.log10(255**2 / max(float(np.square(step).mean()), 1e-6))),
        "size": len(output) / len(data),
        "seconds": seconds,
    }
    if photo.format == "jpeg":
        pairs = zip(read_blocks(read_jpeg(data)), read_blocks(read_jpeg(output)), strict=True)
        same = np.concatenate([(one == other).all(axis=2).ravel() for one, other in pairs])
        result["blocks"] = float(same.mean())
    return result


def run(folder: Path, photos: int, qualities: tuple[int, ...] = QUALITIES) -> list[dict[str, Any]]:
    """A row for each format and quality."""
    paths = sorted(folder.glob("*.jpg"))[:photos]
    rows = []
    for format in ("jpeg", "jpeg progressive", "webp", "avif", "heic"):
        for quality in qualities:
            found = [judged(coded(format, Photo.open(path).rgb, quality)) for path in paths]
            row: dict[str, Any] = {"format": format, "quality": quality, "photos": len(found)}
            row |= {key: float(np.median([one[key] for one in found])) for key in found[0]}
            worst: dict[str, Callable[..., Any]] = {"psnr": min, "size": max, "blocks": min}
            row |= {f"worst {key}": pick(one[key] for one in found) for key, pick in worst.items() if key in found[0]}
            rows.append(row)
            print("  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of JPEG photos")
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    table = run(arguments.folder, arguments.photos)
    if arguments.output:
        arguments.output.write_text(json.dumps(table, indent=1) + "\n")
