"""How well holes are filled: random holes of six sizes in photos nobody trained on, against the photos themselves.

Each photo gets one hole per band; the hole depends on the photo's file name, the band and the seed alone, so that
every filler, machine and version is asked the same. Source of the bands and of the measures over the whole photo:
the field's practice (Liu et al. 2018); the holes' shapes are ours. LPIPS and FID are added where their networks are
installed; what is left out is named in the result.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from unsay.bundle import Bundle
from unsay.errors import BadInput
from unsay.evaluation.absent import Absent
from unsay.evaluation.deep import DeepNetworks, open_networks
from unsay.evaluation.inpaint_result import Case, band_name, result_of
from unsay.evaluation.metrics import score
from unsay.evaluation.peers import PEERS, RIM_ALONE, Filler, open_peers, ours
from unsay.evaluation.sheet import Sheet, show_hole
from unsay.options import InpaintOptions
from unsay.results import Mask, Pixels
from unsay.training.cutouts import PHOTO_SUFFIXES, in_split
from unsay.training.masks import BANDS, KINDS, random_hole

ALL_BANDS = tuple(range(len(BANDS)))


def evaluate_inpaint(
    data: Path,
    bundle: Bundle | None,
    *,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    bands: Sequence[int] = ALL_BANDS,
    peers: Sequence[str] = tuple(PEERS),
    sheet: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Fill one random hole per photo of the folder `data` and band; return the mean scores, ready for JSON.

    `bundle`: whose filler is judged, as users have it, without texture, and the membrane alone; None judges the peers
    alone. `split`: "train" or "test" keeps the photos whose name falls there. `limit`: the first so many photos by
    name. `peers`: names of `PEERS`; one that is not installed is named under `left_out`, and so are LPIPS and FID.
    `sheet`: a picture file with the first holes. `progress` is called with a line per photo.
    Raises `BadInput` for a folder without photos, an unknown band, split or peer, a photo that cannot be read.
    """
    fillers, absent = _open_fillers(bundle, peers)
    unknown = [band for band in bands if band not in ALL_BANDS]
    if unknown or not bands:
        raise BadInput(f"bands {list(bands)} cannot be judged: choose from 0 to {len(BANDS) - 1}")
    networks, missing = open_networks()
    judge = Judge(fillers, networks, seed, Sheet(sheet) if sheet else None)
    photos = list_photos(data, split, limit)
    for i, path in enumerate(photos):
        shown = bands[i % len(bands)]  # one hole a photo, so that a sheet shows many photos and every band
        judge.add(path.name, read_photo(path), bands, shown)
        if progress:
            progress(f"{i + 1} of {len(photos)}: {path.name}")
    if judge.sheet:
        judge.sheet.write()
    about = {"data": data.name, "photos": len(photos), "split": split, "seed": seed}
    return result_of(judge.cases, fillers, networks, about, [*absent, *missing])


class Judge:
    """Judges photos by all fillers; `cases` holds what was found."""

    def __init__(
        self, fillers: Sequence[Filler], networks: DeepNetworks, seed: int = 0, sheet: Sheet | None = None
    ) -> None:
        self.fillers, self.networks, self.seed, self.sheet = fillers, networks, seed, sheet
        self.cases: list[Case] = []

    def add(self, name: str, rgb: Pixels, bands: Sequence[int], shown: int | None = None) -> None:
        """Fill the holes of one photo [H, W, 3] uint8; that of the band `shown` goes onto the sheet."""
        seen = self.networks.see(rgb)
        for band in bands:
            hole, kind = hole_for(name, rgb.shape[0], rgb.shape[1], band, self.seed)
            pictures = {"photo": rgb, "hole": show_hole(rgb, hole)}
            for filler in self.fillers:
                start = time.perf_counter()
                filled = filler.fill(rgb, hole)
                seconds = time.perf_counter() - start
                outside, ours = int(np.count_nonzero((filled != rgb).any(2) & ~hole)), self.networks.see(filled)
                distance = self.networks.distance(ours, seen)
                scores = score(filled, rgb, hole)
                case = Case(
                    name, band, kind, filler.name, scores, distance, seconds, outside, (ours.described, seen.described)
                )
                self.cases.append(case)
                pictures[filler.name] = filled
            if self.sheet and band == shown:
                self.sheet.add(f"{name}, {band_name(band)}, {kind}", **pictures)


def hole_for(name: str, height: int, width: int, band: int, seed: int) -> tuple[Mask, str]:
    """The hole [height, width] of a photo in a band, and its kind; a pure function of its arguments."""
    digest = hashlib.sha256(name.encode()).digest()
    rng = np.random.default_rng((int.from_bytes(digest[:8], "big"), band, seed))
    kind = KINDS[int(rng.integers(len(KINDS)))]
    return random_hole(rng, height, width, band, kind), kind


def list_photos(data: Path, split: str | None = None, limit: int | None = None) -> list[Path]:
    """The photos right inside the folder `data`, by name. Raises `BadInput` if there are none."""
    if not data.is_dir():
        raise BadInput(f"{data} is not a folder of photos")
    if limit is not None and limit < 1:
        raise BadInput(f"a limit of {limit} photos judges nothing: give at least 1")
    found = sorted(p for p in data.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES and in_split(p.name, split or "all"))
    if not found:
        raise BadInput(
            f"no photos in {data} (split {split or 'all'}): expected files ending in {', '.join(PHOTO_SUFFIXES)}"
        )
    return found[:limit]


def read_photo(path: Path) -> Pixels:
    """[H, W, 3] uint8 RGB. Raises `BadInput` if the file cannot be read as a photo."""
    stored = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if stored is None:
        raise BadInput(f"{path} cannot be read as a photo: remove it from the folder")
    return np.asarray(cv2.cvtColor(stored, cv2.COLOR_BGR2RGB), np.uint8)


def _open_fillers(bundle: Bundle | None, peers: Sequence[str]) -> tuple[list[Filler], list[Absent]]:
    """The bundle's filler with its two parts and the peers that are installed, and why the others are left out."""
    mine = [ours(bundle), ours(bundle, InpaintOptions(texture=False)), RIM_ALONE] if bundle else []
    opened = open_peers(peers)
    fillers = mine + [one for one in opened if isinstance(one, Filler)]
    if not fillers:
        raise BadInput("nothing to judge: give a bundle, or peers that are installed")
    return fillers, [one for one in opened if isinstance(one, Absent)]
