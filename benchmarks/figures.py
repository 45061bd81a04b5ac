"""The figures of docs/how-segmentation.md and docs/how-inpainting.md, drawn from runs of the packaged bundle.

    python benchmarks/figures.py -o docs/pictures

Photos: `examples/sea.jpg` and scikit-image's own (CC0). Each step's picture is made of what the program itself holds at
that step: groups, evidence, masks, membrane, the network's fill, texture. The schematics of the network are drawn here
as SVG. A figure of at most 150 KB each.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from skimage import data

from unsay.bundle import Bundle, load_bundle
from unsay.evaluation.inpaint import read_photo
from unsay.inpainting import fill_hole, grow_mask, settled
from unsay.inpainting.hole import box_around
from unsay.inpainting.rim import membrane
from unsay.masks_out import overlay
from unsay.options import InpaintOptions, SegmentOptions
from unsay.results import Mask, Pixels
from unsay.segmentation import segment_pixels
from unsay.segmentation.asking import ask, background_words, read_constants
from unsay.segmentation.lexicon import bundle_lexicon
from unsay.segmentation.recognition import background_evidence, evidence
from unsay.segmentation.regions import look

SEA = Path(__file__).parent.parent / "examples" / "sea.jpg"
SIZE = (300, 225)
NARROW = 178
GAP = 8
TITLE = 26
LARGEST = 150_000
WEIGHT_SHOWN = 8.0
"""Evidence that is painted in full colour."""


def panel(picture: Pixels, title: str, size: tuple[int, int] = SIZE) -> Pixels:
    """A picture brought to one size, its title above."""
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    head = np.full((TITLE, size[0], 3), 255, np.uint8)
    cv2.putText(head, title, (2, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
    return np.concatenate([head, small])


def laid_out(rows: Sequence[Sequence[Pixels]]) -> Pixels:
    """Rows of panels, with gaps between them."""
    sheets = []
    for row in rows:
        gap = np.full((row[0].shape[0], GAP, 3), 255, np.uint8)
        sheets.append(np.concatenate([part for one in row for part in (one, gap)][:-1], 1))
    gap = np.full((GAP, sheets[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([part for one in sheets for part in (one, gap)][:-1])


def write(path: Path, picture: Pixels) -> None:
    """As JPEG, at the best quality that keeps it small enough."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    for quality in range(90, 40, -5):
        code = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(code) <= LARGEST:
            break
    path.write_bytes(code)
    print(path, len(code))


def groups_drawn(rgb: Pixels, groups: npt.NDArray[np.int32]) -> Pixels:
    """Every group in its mean colour, with light borders."""
    out = np.zeros_like(rgb)
    for group in np.unique(groups):
        out[groups == group] = rgb[groups == group].mean(0)
    return with_borders(out, groups)


def with_borders(picture: Pixels, groups: npt.NDArray[np.int32]) -> Pixels:
    """`picture` with the groups' borders on it."""
    edge = np.zeros(groups.shape, bool)
    edge[:, 1:] |= groups[:, 1:] != groups[:, :-1]
    edge[1:] |= groups[1:] != groups[:-1]
    thick = cv2.dilate(edge.view(np.uint8), np.ones((2, 2), np.uint8)).astype(bool)
    out = picture.copy()
    out[thick] = 255
    return out


def evidence_drawn(rgb: Pixels, groups: npt.NDArray[np.int32], values: npt.NDArray[np.float32]) -> Pixels:
    """Each group red as far as it speaks for the word more than for any background word, blue as far as it speaks
    less; the number is that lead.
    """
    grey = np.repeat(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None], 3, 2).astype(np.float32)
    share = np.clip(values / WEIGHT_SHOWN, -1, 1)[groups][..., None]
    colour = np.where(share > 0, np.array([225, 40, 30], np.float32), np.array([40, 90, 200], np.float32))
    out = (grey * 0.55 + 90) * (1 - 0.75 * np.abs(share)) + colour * 0.75 * np.abs(share)
    drawn = with_borders(out.clip(0, 255).astype(np.uint8), groups)
    scale = rgb.shape[1] / SIZE[0]
    for group in np.unique(groups):
        deep = cv2.distanceTransform(np.pad(groups == group, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        if deep.max() < 7 * scale:
            continue
        y, x = np.unravel_index(deep.argmax(), deep.shape)
        where = (int(x - 12 * scale), int(y + 5 * scale))
        for ink, width in (((255, 255, 255), 3), ((0, 0, 0), 1)):
            text = f"{values[group]:+.1f}"
            cv2.putText(
                drawn, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.42 * scale, ink, max(1, round(width * scale)), 16
            )
    return drawn


def leads(rgb: Pixels, word: str, words: Sequence[str], bundle: Bundle) -> npt.NDArray[np.float32]:
    """By how much each group speaks more for `word` than for the best background word [K]."""
    constants = read_constants(bundle)
    regions = look(rgb, bundle).regions
    mine = evidence(ask([word], bundle, constants), regions, constants)[0, :-1]
    background = background_words(words, bundle_lexicon(bundle), constants)
    rival = background_evidence(ask(background, bundle, constants), regions, constants)[:, :-1].max(0)
    return np.asarray(mine - rival, np.float32)


def words_to_masks(rgb: Pixels, words: Sequence[str], bundle: Bundle) -> list[list[Pixels]]:
    """Photo, groups, evidence of each word, groups that were named, outlines: two rows of three panels."""
    rough = segment_pixels(rgb, words, bundle, SegmentOptions(outlines=False))
    found = segment_pixels(rgb, words, bundle)
    count = len(np.unique(rough.groups))
    size = (SIZE[0], round(SIZE[0] * rgb.shape[0] / rgb.shape[1]))
    heat = [
        panel(evidence_drawn(rgb, rough.groups, leads(rgb, word, words, bundle)), f"3. evidence of '{word}'", size)
        for word in words[:2]
    ]
    scores = ", ".join(f"{word} {found.scores[word]:.2f}" for word in words)
    first = [panel(rgb, "1. photo", size), panel(groups_drawn(rgb, rough.groups), f"2. {count} groups", size), heat[0]]
    last = [
        heat[1] if len(heat) > 1 else panel(rgb, "", size),
        panel(overlay(rgb, rough), "4. groups named", size),
        panel(overlay(rgb, found), f"5. outlines; {scores}", size),
    ]
    return [first, last]


def mask_to_pixels(rgb: Pixels, hole: Mask, bundle: Bundle) -> list[Pixels]:
    """Hole, membrane, network's fill, with texture, as one row; the surroundings of the hole."""
    box = box_around(hole)
    place = box.grown(box.long // 2, hole.shape).slices
    near, missing = rgb[place], hole[place]
    empty = np.where(missing[..., None], np.uint8(255), near)
    smooth = membrane(near.astype(np.float32), (~missing).astype(np.float32)).clip(0, 255).astype(np.uint8)
    guess = np.where(missing[..., None], smooth, near)
    fills = []
    for texture in (False, True):
        out = rgb.copy()
        for patch in fill_hole(
            rgb, hole, bundle, InpaintOptions(0, settled(InpaintOptions(), rgb.shape).feather, texture=texture)
        ):
            h, w = patch.weight.shape
            area = out[patch.y : patch.y + h, patch.x : patch.x + w]
            area[:] = np.rint(area + (patch.pixels.astype(np.float32) - area) * patch.weight[..., None])
        fills.append(out[place])
    titles = ("1. hole", "2. membrane", "3. network", "4. texture", "what was there")
    size = (NARROW, round(NARROW * near.shape[0] / near.shape[1]))
    return [panel(p, t, size) for p, t in zip((empty, guess, *fills, near), titles, strict=True)]


class Drawing:
    """Boxes, arrows and words as SVG, on white, so that it can be read in dark pages too."""

    def __init__(self, width: int, height: int) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'font-family="sans-serif" font-size="13" fill="#222">',
            '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0L8 4L0 8z" fill="#666"/></marker></defs>',
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
        ]

    def box(self, x: float, y: float, w: float, h: float, text: str = "", fill: str = "#e8f1f0") -> None:
        """A box with lines of text in its middle."""
        self.parts.append(f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="4" fill="{fill}" stroke="#777"/>')
        lines = text.split("|")
        for i, line in enumerate(lines):
            self.text(x + w / 2, y + h / 2 + 5 + 16 * (i - (len(lines) - 1) / 2), line, "middle")

    def text(self, x: float, y: float, text: str, anchor: str = "start") -> None:
        """Words."""
        self.parts.append(f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{text}</text>')

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        """A line through points, with a head at its end."""
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
        self.parts.append(f'<path d="{path}" fill="none" stroke="#666"{dash} marker-end="url(#a)"/>')

    def done(self) -> str:
        """The file."""
        return "\n".join([*self.parts, "</svg>"]) + "\n"


MASK, WORK, OUT = "#fdeccb", "#e8f1f0", "#dfe7f7"


def filters_drawn() -> str:
    """One level of mask-aware filtering: how it is told, and how it is computed."""
    d = Drawing(890, 346)
    d.text(20, 24, "As the paper tells it: every point p has a filter of its own, made from the mask around it")
    d.box(20, 40, 120, 44, "mask features|m(p)", MASK)
    d.box(220, 40, 190, 44, "filter of point p|C_in x k x k x C_out values", MASK)
    d.box(490, 40, 190, 44, "applied to the features|around p", WORK)
    d.box(760, 40, 110, 44, "y(p)", OUT)
    d.arrow((140, 62), (218, 62))
    d.arrow((410, 62), (488, 62))
    d.arrow((680, 62), (758, 62))
    d.text(20, 132, "The same numbers, as Unsay computes them: the filter is linear in m(p), so it need never be made")
    d.box(20, 150, 120, 44, "features x", WORK)
    d.box(220, 150, 190, 60, "one convolution:|W_1 x, ..., W_16 x, b x|(17 C_out channels)", WORK)
    d.box(20, 240, 130, 44, "mask features|m_1(p), ..., m_16(p)", MASK)
    d.box(490, 150, 190, 60, "at each point|m_1 W_1 x + ... + b x", WORK)
    d.box(760, 158, 110, 44, "y(p)", OUT)
    d.arrow((140, 172), (218, 172))
    d.arrow((410, 180), (488, 180))
    d.arrow((150, 262), (585, 262), (585, 212))
    d.arrow((680, 180), (758, 180))
    d.text(
        20,
        326,
        "Points that see neither the hole nor the border all have the same filter: one plain convolution does them.",
    )
    return d.done()


def cascade_drawn() -> str:
    """Encoder with its mask branch, recovery decoder, refinement decoder."""
    d = Drawing(820, 440)
    top = [(130 + 118 * i, 150 - 16 * i) for i in range(6)]
    d.text(20, 24, "mask branch")
    d.text(20, 122, "encoder")
    d.box(20, 40, 80, 50, "mask", MASK)
    d.box(20, 140, 80, 90, "photo,|membrane|in its hole", OUT)
    for i, (x, _) in enumerate(top):
        height = 90 - 11 * i
        d.box(x, 40, 78, 34, f"m_{i + 1}", MASK)
        d.box(x, 140, 78, height, f"e_{i + 1}|1/{2 ** (i + 1)}", WORK)
        d.arrow((x - 40 if i else 100, 57), (x - 2, 57))
        d.arrow((x - 40 if i else 100, 162), (x - 2, 162))
        d.arrow((x + 39, 74), (x + 39, 138))
    d.text(20, 262, "recovery decoder")
    for i, (x, _) in enumerate(top[:5]):
        d.box(x, 270, 78, 44, f"1/{2 ** (i + 1)}", WORK)
        d.arrow((x + 20, 140 + 90 - 11 * i), (x + 20, 268), dashed=True)
        if i:
            d.arrow((x, 292), (x - 38, 292))
    d.arrow((top[5][0] + 39, 140 + 90 - 55), (top[5][0] + 39, 292), (top[4][0] + 80, 292))
    d.box(20, 270, 80, 44, "first|picture", OUT)
    d.arrow((top[0][0], 292), (102, 292))
    d.text(
        20, 426, "refinement decoder: normalised point by point, scale and shift predicted from the decoder above it"
    )
    for i, (x, _) in enumerate(top[:5]):
        d.box(x, 360, 78, 44, f"1/{2 ** (i + 1)}", WORK)
        d.arrow((x + 60, 314), (x + 60, 358))
        if i:
            d.arrow((x, 382), (x - 38, 382))
    d.arrow((top[5][0] + 60, 140 + 90 - 55), (top[5][0] + 60, 382), (top[4][0] + 80, 382))
    d.box(20, 360, 80, 44, "result", OUT)
    d.arrow((top[0][0], 382), (102, 382))
    d.arrow((60, 314), (60, 358))
    return d.done()


def disc(shape: tuple[int, ...], x: float, y: float, radius: float) -> Mask:
    """A round hole; all by share of the width."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    width = shape[1]
    return np.asarray((columns - x * width) ** 2 + (rows - y * width) ** 2 < (radius * width) ** 2)


def erased_hole(rgb: Pixels, word: str, bundle: Bundle) -> Mask:
    """The hole that `unsay erase` makes of a word."""
    return grow_mask(
        segment_pixels(rgb, [word], bundle).mask(word), settled(InpaintOptions(None, None), rgb.shape).grow or 0
    )


def main() -> None:
    """Run, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", "-o", type=Path, required=True)
    args = parser.parse_args()
    bundle = load_bundle("starter")
    sea = read_photo(SEA)
    write(args.output / "how-words-sea.jpg", laid_out(words_to_masks(sea, ["orca", "boat"], bundle)))
    cat = data.chelsea()
    write(args.output / "how-words-cat.jpg", laid_out(words_to_masks(cat, ["cat", "dog"], bundle)))
    write(args.output / "how-fill-sea.jpg", laid_out([mask_to_pixels(sea, erased_hole(sea, "orca", bundle), bundle)]))
    holes = [disc(cat.shape, x, y, 0.085) for x, y in ((0.5, 0.13), (0.2, 0.45))]
    write(args.output / "how-fill-cat.jpg", laid_out([mask_to_pixels(cat, hole, bundle) for hole in holes]))
    for name, drawing in (("how-filters.svg", filters_drawn()), ("how-cascade.svg", cascade_drawn())):
        (args.output / name).write_text(drawing, encoding="utf-8")
        print(args.output / name, len(drawing))


if __name__ == "__main__":
    main()
