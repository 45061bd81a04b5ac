"""Where the photos of the field's inpainting data sets lie in their folders, as they are unpacked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from unsay.errors import BadInput

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SPLITS = ("train", "val")
CELEBA_SPLIT = "list_eval_partition.txt"
"""CelebA's own split, a line a photo: its name, and 0 (training), 1 (validation) or 2 (test)."""
CELEBA_HQ_NAMES = "CelebA-HQ-to-CelebA-mapping.txt"
"""A line a photo of CelebA-HQ: its number, and the number and name of the CelebA photo that it was made from."""


def layout_photos(layout: str, root: Path, split: str = "train") -> list[Path]:
    """The photos of one split of a data set, by path.

    `layout`: a name of `LAYOUTS`. `root`: the folder that the data set was unpacked into. `split`: "train" or "val";
    a plain folder has one only, and gives it for both. Raises `BadInput` for an unknown name, and where a folder or
    list of the layout is missing or names no photo.
    """
    if layout not in LAYOUTS:
        raise BadInput(f"unknown layout {layout!r}; known: {', '.join(LAYOUTS)}")
    if split not in SPLITS:
        raise BadInput(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    return LAYOUTS[layout](root, split)


def photos_under(folder: Path) -> list[Path]:
    """Every photo under `folder`, by path. Raises `BadInput` if there is none."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise BadInput(f"no photos under {folder}: expected files ending in {', '.join(SUFFIXES)}")
    return files


def _plain(root: Path, split: str) -> list[Path]:
    return photos_under(root)


def _places2(root: Path, split: str) -> list[Path]:
    """Zhou et al. 2018: `data_large` (a folder a scene) and `val_large`, or `data_256` and `val_256`."""
    part = "data" if split == "train" else "val"
    return photos_under(_first(root, (f"{part}_large", f"{part}_256")))


def _celeba(root: Path, split: str) -> list[Path]:
    """Liu et al. 2015: `img_align_celeba` and the list of its split beside it, or in `Img` and `Eval`."""
    photos = _first(root, ("img_align_celeba", "Img/img_align_celeba"))
    listed = _celeba_split(_first(root, (CELEBA_SPLIT, f"Eval/{CELEBA_SPLIT}")))
    return _of_split(photos_under(photos), lambda path: listed.get(path.name), split, photos)


def _celeba_hq(root: Path, split: str) -> list[Path]:
    """Karras et al. 2018: one flat folder (or `CelebA-HQ-img` in it), photos named by their number.

    The split is CelebA's, where both the mapping to CelebA's names and CelebA's list lie in `root`; else all train.
    """
    photos = root / "CelebA-HQ-img" if (root / "CelebA-HQ-img").is_dir() else root
    names, lists = root / CELEBA_HQ_NAMES, root / CELEBA_SPLIT
    if not (names.is_file() and lists.is_file()):
        if split != "train":
            raise BadInput(f"{root} has no split: put {CELEBA_HQ_NAMES} and {CELEBA_SPLIT} there")
        return photos_under(photos)
    listed = _celeba_split(lists)
    rows = [line.split() for line in names.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    splits = {int(row[0]): listed.get(row[-1]) for row in rows}
    return _of_split(
        photos_under(photos), lambda path: splits.get(int(path.stem)) if path.stem.isdigit() else None, split, photos
    )


def _paris(root: Path, split: str) -> list[Path]:
    """Pathak et al. 2016: `paris_train_original`, and the whole photos among `paris_eval`."""
    names = ("paris_train_original",) if split == "train" else ("paris_eval/paris_eval_gt", "paris_eval_gt")
    return photos_under(_first(root, names))


LAYOUTS: dict[str, Callable[[Path, str], list[Path]]] = {
    "folders": _plain,
    "places2": _places2,
    "celeba": _celeba,
    "celeba-hq": _celeba_hq,
    "paris-streetview": _paris,
}


def _first(root: Path, names: Iterable[str]) -> Path:
    """The first of `names` that is in `root`."""
    wanted = list(names)
    for name in wanted:
        if (root / name).exists():
            return root / name
    raise BadInput(f"{root} has no {' or '.join(wanted)}: give the folder that the data set was unpacked into")


def _celeba_split(path: Path) -> dict[str, str]:
    """File name -> split; CelebA's test photos belong to neither."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if any(len(line) != 2 for line in lines):
        raise BadInput(f"{path} is not CelebA's list of its split: expected lines such as '000001.jpg 0'")
    return {name: SPLITS[int(number)] for name, number in lines if number in ("0", "1")}


def _of_split(paths: list[Path], split_of: Callable[[Path], str | None], split: str, folder: Path) -> list[Path]:
    chosen = [path for path in paths if split_of(path) == split]
    if not chosen:
        raise BadInput(f"no photo in {folder} belongs to {split}: the list of the split is of other photos")
    return chosen
