"""A projection of the trunk's maps learned without labels, to ask whether it groups better than the maps themselves.

    data=../shared/data
    python -m unsay.training.grouping_projection --photos $data/flickr8k/images --judge $data/voc-animals

Two views of each photo differ in light, colour, sharpness, size and side; the same place in both should have the same
features, other places and photos others: dense contrast (Wang et al. 2021, DenseCL, with places known, not matched).
What came of it is in docs/grouping.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unsay.errors import BadInput
from unsay.evaluation.datasets import Sample, find_set
from unsay.evaluation.grouping import Oracle, tune
from unsay.models.efficientnet_lite import MEAN, SCALE, EfficientNetLite, load_trunk
from unsay.results import Pixels
from unsay.segmentation.grouping import STARTER, Superpixels, join_maps, make_grouper, superpixel_graph
from unsay.segmentation.recipe import Network
from unsay.segmentation.vision import Array, prepare
from unsay.training.photos import decode

SIDES = (320, 256)
"""Long sides of the two views."""
ALL = 10_000
"""More channels than the maps have together: `join_maps` keeps them all."""
TEMPERATURE = 0.1


def joined_maps(trunk: EfficientNetLite, rgb: Pixels, side: int) -> Array:
    """Both maps of a photo, joined on the finer grid with the starter's weights, [h, w, D]."""
    pixels = torch.from_numpy(prepare(rgb, Network("", side, 32, (MEAN,) * 3, (SCALE,) * 3)))
    with torch.inference_mode():
        fine, last, _ = trunk(pixels)
    return join_maps({"fine": fine[0].numpy(), "last": last[0].numpy()}, STARTER.maps, ALL)


def altered(rgb: Pixels, rng: np.random.Generator) -> Pixels:
    """The photo in other light: gain a channel, brightness, contrast, and blur half of the time; [H, W, 3] uint8."""
    pixels = rgb.astype(np.float32) * rng.uniform(0.8, 1.25, 3).astype(np.float32)
    pixels = (pixels - 128) * np.float32(rng.uniform(0.7, 1.3)) + 128 + np.float32(rng.uniform(-25, 25))
    if rng.random() < 0.5:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.3, 1.5))), np.float32)
    return np.asarray(pixels.clip(0, 255).astype(np.uint8))


def two_views(trunk: EfficientNetLite, rgb: Pixels, rng: np.random.Generator, patches: int) -> tuple[Array, Array]:
    """Features of the same `patches` places in two views of a photo, [patches, D] each."""
    first = joined_maps(trunk, altered(rgb, rng), SIDES[0])
    mirrored = joined_maps(trunk, np.ascontiguousarray(altered(rgb, rng)[:, ::-1]), SIDES[1])
    height, width, depth = first.shape
    second = F.interpolate(
        torch.from_numpy(mirrored[:, ::-1].copy()).permute(2, 0, 1)[None], (height, width), mode="bilinear"
    )
    places = rng.permutation(height * width)[:patches]
    return first.reshape(-1, depth)[places], second[0].flatten(1).T.numpy()[places]


def contrast(first: Tensor, second: Tensor) -> Tensor:
    """InfoNCE in both directions: first, second [N, E]; row i of one belongs to row i of the other alone."""
    scores = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T / TEMPERATURE
    own = torch.arange(len(scores))
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def fit(first: Tensor, second: Tensor, channels: int, steps: int, photos: int = 16) -> Tensor:
    """The projection [D, channels] that makes views [B, P, D] of B photos agree; `photos` of them a step. Seeded."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.init.orthogonal_(torch.empty(first.shape[2], channels), generator=generator).requires_grad_()
    optimiser = torch.optim.Adam([weight], lr=1e-3)
    for _ in range(steps):
        chosen = torch.randperm(len(first), generator=generator)[:photos]
        loss = contrast(first[chosen].flatten(0, 1) @ weight, second[chosen].flatten(0, 1) @ weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return weight.detach()


def judge(samples: Sequence[Sample], features: Sequence[Array], groups: float) -> tuple[float, float]:
    """Oracle mIoU-7 and mean groups of the starter's grouping with these features [h, w, D], each brought to unit mean
    square, at the height that makes `groups` a photo.
    """
    chosen = Superpixels(**STARTER.options["superpixels"])
    options = {k: v for k, v in STARTER.options.items() if k != "superpixels"}
    scaled = [f / np.sqrt((f**2).sum(2).mean()) for f in features]
    graphs = [superpixel_graph(chosen.reduced(s.rgb), f, chosen) for s, f in zip(samples, scaled, strict=True)]

    def at(height: float) -> Oracle:
        oracle = Oracle()
        grouper = make_grouper("agglomerative", {**options, "height": height})
        for sample, (graph, superpixels) in zip(samples, graphs, strict=True):
            small = grouper.partition(graph)[superpixels]
            size = (sample.rgb.shape[1], sample.rgb.shape[0])
            enlarged = cv2.resize(small, size, interpolation=cv2.INTER_NEAREST)
            oracle.add(sample.truth, np.asarray(enlarged, np.int32))
        return oracle

    best = at(tune(lambda height: at(height).groups, groups, 0.02, 2.0))
    return best.miou7, best.groups


def main() -> None:
    """Fit on photos, print how both kinds of features group."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of .jpg files to learn from")
    parser.add_argument("--judge", type=Path, required=True, help="VOCdevkit folder; its split dev is used")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--groups", type=float, nargs="+", default=[7.0, 10.4, 20.0])
    args = parser.parse_args()
    torch.set_num_threads(1)
    trunk, rng = load_trunk(), np.random.default_rng(0)
    paths = sorted(args.photos.glob("*.jpg"))
    if not paths:
        raise BadInput(f"{args.photos} has no .jpg files: give a folder of photos")
    chosen = rng.permutation(len(paths))[: args.count]
    views = [two_views(trunk, decode(paths[i].read_bytes()), rng, patches=64) for i in chosen]
    first, second = (torch.from_numpy(np.stack(side)) for side in zip(*views, strict=True))
    weight = fit(first, second, args.channels, args.steps).numpy()
    samples = list(find_set("voc21").read(args.judge, "dev"))
    plain = [joined_maps(trunk, s.rgb, 512) for s in samples]
    for groups in args.groups:
        for name, features in (("maps", plain), ("projected", [f @ weight for f in plain])):
            oracle, count = judge(samples, features, groups)
            print(f"{name:<10} oracle mIoU-7 {oracle:.3f} at {count:.1f} groups a photo", flush=True)


if __name__ == "__main__":
    main()
