"""Image-sentence pairs behind one interface: a table with a folder, COCO's captions, WebDataset shards, scenes."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from unsay.errors import BadInput
from unsay.results import Pixels
from unsay.training.scenes import read_scenes

KINDS = ("tsv", "coco", "webdataset", "shards")
SHARDS = "shards"
"""Prepared shards, which are streamed (`unsay.training.shards`) and have no reader of this kind."""
MOST_MEGAPIXELS = 100.0
"""Photos with more are not decoded: those of image-sentence pairs are small, and a few bytes can claim gigabytes."""
STARTS = {"jpeg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n", "webp": b"RIFF"}
"""The formats of photos and what their files begin with."""
Captions = dict[str, list[str]]
"""Photo name -> its sentences."""


@dataclass(frozen=True)
class DataConfig:
    """Where the pairs are: `kind` is one of `KINDS`, `path` their folder.

    `captions` and `images`, inside `path`: the file of sentences and the folder of photos (tsv and coco). `scenes`:
    folders of composed scenes (`unsay prepare scenes`) whose photos come after those. `mixed`: of prepared shards, how
    many are drawn together and their pairs shuffled.
    """

    kind: str = "tsv"
    path: str = "../shared/data/flickr8k"
    captions: str = "captions-train.tsv"
    images: str = "images"
    scenes: tuple[str, ...] = ()
    mixed: int = 4


class PairReader(Protocol):
    """Photos with their sentences, in an order that depends on the data alone."""

    def __len__(self) -> int:
        """How many photos."""
        ...

    def name(self, index: int) -> str:
        """What the photo is called, for messages and to recognise the set."""
        ...

    def sentences(self, index: int) -> Sequence[str]:
        """The photo's sentences, at least one."""
        ...

    def photo(self, index: int) -> bytes:
        """The photo as it is stored (JPEG, PNG, WebP). Raises `BadInput` where it cannot be read."""
        ...


class FolderPairs:
    """Photos that are files of one folder."""

    def __init__(self, images: Path, captions: Captions) -> None:
        self.images, self.captions, self.names = images, captions, list(captions)

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """The file's name."""
        return self.names[index]

    def sentences(self, index: int) -> Sequence[str]:
        """Its sentences, in the order of the table."""
        return self.captions[self.names[index]]

    def photo(self, index: int) -> bytes:
        """The file's bytes."""
        try:
            return (self.images / self.names[index]).read_bytes()
        except OSError as error:
            raise BadInput(f"cannot read the photo {self.images / self.names[index]}: {error.strerror}") from error


class JoinedPairs:
    """The pairs of several readers, one after the other."""

    def __init__(self, readers: Sequence[PairReader]) -> None:
        self.places = [(reader, index) for reader in readers for index in range(len(reader))]

    def __len__(self) -> int:
        return len(self.places)

    def name(self, index: int) -> str:
        """As its own reader calls it."""
        reader, place = self.places[index]
        return reader.name(place)

    def sentences(self, index: int) -> Sequence[str]:
        """Its own reader's sentences."""
        reader, place = self.places[index]
        return reader.sentences(place)

    def photo(self, index: int) -> bytes:
        """Its own reader's bytes."""
        reader, place = self.places[index]
        return reader.photo(place)


def open_pairs(data: DataConfig, cache: Path) -> PairReader:
    """The reader that `data` asks for. `cache`: a folder for what is worth keeping, such as the index of shards.

    Raises `BadInput` for an unknown kind, and for data that are not there or hold no pair.
    """
    first = _open(data, cache)
    return JoinedPairs([first, *(read_scene_pairs(Path(folder)) for folder in data.scenes)]) if data.scenes else first


def read_scene_pairs(folder: Path) -> FolderPairs:
    """Composed scenes as pairs: the sentence of each, and one that names each of its things alone.

    Raises `BadInput` for a folder without scenes, and for test scenes: they are there to judge by.
    """
    scenes = read_scenes(folder)
    if any(scene.split != "train" for scene in scenes):
        raise BadInput(f"{folder} holds scenes of another split than train: make some with `--split train`")
    said = {str(folder / s.image): [s.sentence, *(f"a photo of {t.phrase}" for t in s.things)] for s in scenes}
    return FolderPairs(Path(), said)  # by their whole paths: scenes of two folders have the same names


def _open(data: DataConfig, cache: Path) -> PairReader:
    folder = Path(data.path)
    if data.kind == "webdataset":
        from unsay.training.pairs_shards import open_shards

        return open_shards(folder, cache)
    if data.kind == SHARDS:
        raise BadInput("prepared shards are streamed by `unsay train segment`, and read by nothing else")
    if data.kind not in KINDS:
        raise BadInput(f"unknown data.kind {data.kind!r}; known: {', '.join(KINDS)}")
    read = read_coco if data.kind == "coco" else read_captions
    captions = read(folder / data.captions)
    if not captions:
        raise BadInput(f"{folder / data.captions} holds no sentence: give the captions of the photos to train on")
    if not (folder / data.images).is_dir():
        raise BadInput(f"{folder / data.images} is no folder: set data.images to where the photos are in {folder}")
    return FolderPairs(folder / data.images, captions)


def read_captions(path: Path) -> Captions:
    """A tab-separated file with the columns `image` and `caption`. Raises `BadInput`."""
    captions: Captions = {}
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
                captions.setdefault(row["image"], []).append(row["caption"])
    except (OSError, KeyError, UnicodeDecodeError) as error:
        lacks = f"it has no column {error}" if isinstance(error, KeyError) else str(error)
        raise BadInput(
            f"cannot read captions from {path}: {lacks}; needed are image and caption, tab-separated"
        ) from error
    return captions


def read_coco(path: Path) -> Captions:
    """COCO's `captions_*.json` (Chen et al. 2015): `images` (id, file_name) and `annotations` (image_id, caption).

    Photos without a sentence are left out. Raises `BadInput`.
    """
    try:
        stored = json.loads(path.read_bytes())
        names = {image["id"]: str(image["file_name"]) for image in stored["images"]}
        captions: Captions = {name: [] for name in names.values()}
        for annotation in stored["annotations"]:
            captions[names[annotation["image_id"]]].append(str(annotation["caption"]).strip())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"cannot read {path} as COCO captions (images, annotations): {error!r}") from error
    return {name: sentences for name, sentences in captions.items() if sentences}


def decode(reader: PairReader, index: int) -> Pixels:
    """Photo `index` as [H, W, 3] uint8 RGB. Raises `BadInput` where it cannot be read or decoded."""
    return decode_photo(reader.photo(index), reader.name(index))


def decode_photo(data: bytes, name: str) -> Pixels:
    """A stored photo (JPEG, PNG, WebP) as [H, W, 3] uint8 RGB. Its size is checked before any pixel is decoded.

    Raises `BadInput` where it cannot be decoded or has more than `MOST_MEGAPIXELS`.
    """
    megapixels = _megapixels(data, name)
    if megapixels > MOST_MEGAPIXELS:
        raise BadInput(f"the photo {name} has {megapixels:.0f} megapixels, over {MOST_MEGAPIXELS:.0f}: make it smaller")
    try:
        photo = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise _undecodable(data, name) from error
    if photo is None:
        raise _undecodable(data, name)
    return np.asarray(photo, np.uint8)


def _megapixels(data: bytes, name: str) -> float:
    """As the header says. Raises `BadInput` for what is no such photo, or claims what its bytes cannot hold."""
    import pyvips  # opening a table of captions does without it

    from unsay.photo.limits import check_claims
    from unsay.photo.read import load_header

    kind = next((kind for kind, start in STARTS.items() if data.startswith(start)), None)
    if kind is None:
        raise _undecodable(data, name)
    check_claims(f"the photo {name}", kind, data)
    try:
        header = load_header(data, kind)
    except pyvips.Error as error:
        raise _undecodable(data, name) from error
    return float(header.width * header.height / 1e6)


def _undecodable(data: bytes, name: str) -> BadInput:
    return BadInput(f"the photo {name} ({len(data)} bytes) cannot be decoded: replace or remove it")
