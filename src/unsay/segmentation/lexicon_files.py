"""`words.json` and `words.npz` of a bundle, read as data that anybody may have written: sizes first, then types.

See `unsay.segmentation.lexicon` for what they hold.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unsay.bundle import read_json
from unsay.errors import BundleError
from unsay.segmentation.vision import Array

MOST_WORDS_BYTES = 64_000_000
MOST_ARRAY_BYTES = 256_000_000
"""Of one array, unpacked; the starter's largest has 0.7 MB."""
NEEDED = ("vocabulary", "classes", "bank_mean", "bank_spread")
KINDS = ("int8", "float16", "float32")
LEAST_LENGTH = 1e-12


def read_arrays(path: Path) -> dict[str, Array]:
    """`words.npz` -> vocabulary [V, E], classes [C, E], both of unit length, bank_mean [E], bank_spread [E, E], fp32.

    Raises `BundleError` for arrays that are missing, too large, of another type or shape, or not finite.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = {n: _array(archive, n) for n in NEEDED}
            names = set(archive.namelist())
            scales = {n: _array(archive, n + "_scale") for n in NEEDED[:2] if f"{n}_scale.npy" in names}
        for name, scale in scales.items():
            if scale.shape != (len(found[name]), 1):
                raise ValueError(f"{name}_scale has the shape {scale.shape}, {name} {found[name].shape}")
            found[name] = found[name] * scale
        _check_arrays(found)
    except (ValueError, KeyError, OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} does not hold a lexicon's arrays: {str(error)[:200]}; install it again") from error
    return found | {name: _unit(found[name]) for name in NEEDED[:2]}


def read_words(path: Path, nouns: int, classes: int) -> dict[str, Any]:
    """`words.json`, for so many nouns and classes. Raises `BundleError` for lists of other types, lengths or ranges."""
    size = path.stat().st_size
    if size > MOST_WORDS_BYTES:
        raise BundleError(f"{path} has {size} bytes; a list of words has at most {MOST_WORDS_BYTES}: install it again")
    stored = read_json(path, path.read_bytes())
    try:
        _check_words(stored, nouns, classes)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path} does not hold a lexicon's words: {str(error)[:200]}; install it again") from error
    return dict(stored)


def _array(archive: zipfile.ZipFile, name: str) -> Array:
    """One array of an .npz as fp32: its stated size is bounded, and its header has to agree with what is there."""
    member = archive.getinfo(name + ".npy")
    if member.file_size > MOST_ARRAY_BYTES:
        raise ValueError(f"{name} has {member.file_size} bytes; at most {MOST_ARRAY_BYTES} are read")
    with archive.open(member) as stream:
        content = stream.read(member.file_size + 1)
    head = io.BytesIO(content)
    version = np.lib.format.read_magic(head)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name} is written in version {version} of NumPy's format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(head)
    if dtype.name not in KINDS or dtype.hasobject or fortran:
        raise ValueError(f"{name} is {dtype.name}; known: {', '.join(KINDS)}, row by row")
    body = content[head.tell() :]
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"{name} should have the shape {shape} of {dtype.name}, and has {len(body)} bytes")
    return np.frombuffer(body, dtype).reshape(shape).astype(np.float32)


def _check_arrays(found: dict[str, Array]) -> None:
    nouns, classes, mean, spread = (found[name] for name in NEEDED)
    width = nouns.shape[1] if nouns.ndim == 2 else 0
    if not width or classes.ndim != 2 or classes.shape[1] != width or mean.shape != (width,):
        raise ValueError(f"vocabulary {nouns.shape}, classes {classes.shape}, bank_mean {mean.shape} do not fit")
    if spread.shape != (width, width):
        raise ValueError(f"bank_spread has the shape {spread.shape}, not {(width, width)}")
    for name, values in found.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has numbers that are not finite")


def _check_words(stored: Any, nouns: int, classes: int) -> None:
    vocabulary, photos = stored["vocabulary"], stored["photos"]
    if not _all_of(str, vocabulary) or len(vocabulary) != nouns or len(set(vocabulary)) != nouns:
        raise ValueError(f"its vocabulary is not a list of {nouns} words, each once")
    if not _all_of(int, photos) or len(photos) != nouns or min(photos, default=0) < 0:
        raise ValueError(f"its photos are not {nouns} counts")
    _check_indices("visible", stored["visible"], nouns)
    for name, limit in (("narrower", nouns), ("classes", classes)):
        lists = stored[name]
        if not isinstance(lists, dict):
            raise ValueError(f"{name} is not a table of words")
        _check_indices(name, _joined(name, lists.values()), limit)
    if "related" in stored:
        _check_related(stored["related"], classes)


def _check_related(related: Any, classes: int) -> None:
    _check_indices("worn", related["worn"], classes)
    families = related["families"]
    _check_indices("families", _joined("families", families), classes)
    pairs = related["words"]
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], str) for pair in pairs
    ):
        raise ValueError("related words are not pairs of family numbers and words")
    _check_indices("related words", _joined("related words", (pair[0] for pair in pairs)), len(families))


def _joined(name: str, lists: Iterable[Any]) -> list[Any]:
    joined: list[Any] = []
    for part in lists:
        if not isinstance(part, list):
            raise ValueError(f"{name} holds {str(part)[:40]!r} where a list of numbers belongs")
        joined += part
    return joined


def _check_indices(name: str, numbers: Any, limit: int) -> None:
    if not _all_of(int, numbers):
        raise ValueError(f"{name} is not made of whole numbers")
    if numbers and not 0 <= min(numbers) <= max(numbers) < limit:
        raise ValueError(f"{name} reaches from {min(numbers)} to {max(numbers)}; expected 0 to {limit - 1}")


def _all_of(kind: type, values: Any) -> bool:
    """Whether it is a list of this very type (True is no int here); the types alone are compared, which is quick."""
    return isinstance(values, list) and set(map(type, values)) <= {kind}


def _unit(rows: Array) -> Array:
    lengths = np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), LEAST_LENGTH)
    unit: npt.NDArray[np.float32] = np.asarray(rows / lengths, np.float32)
    return unit
