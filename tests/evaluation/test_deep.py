"""LPIPS and FID: their arithmetic against closed forms, and what is said where a network is not there."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch

from unsay.errors import BadInput
from unsay.evaluation import deep
from unsay.evaluation.absent import Absent, import_optional
from unsay.evaluation.deep import (
    ALEXNET,
    INCEPTION,
    DeepNetworks,
    FidNetwork,
    LpipsNetwork,
    Seen,
    frechet_distance,
    lpips_distance,
    open_fid,
    open_lpips,
    open_networks,
)
from unsay.results import Pixels


def lpips_by_points(weights: list[np.ndarray], ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """Equation 1 of the paper, one point of one map after the other."""
    total = 0.0
    for w, a, b in zip(weights, ours, theirs, strict=True):
        _, height, width = a.shape
        for y in range(height):
            for x in range(width):
                one, other = a[:, y, x] / np.linalg.norm(a[:, y, x]), b[:, y, x] / np.linalg.norm(b[:, y, x])
                total += float(np.dot(w, (one - other) ** 2)) / (height * width)
    return total


def test_lpips_is_its_sum() -> None:
    rng = np.random.default_rng(0)
    shapes = ((4, 6, 5), (7, 3, 2))
    ours, theirs = ([rng.normal(size=s) for s in shapes] for _ in range(2))
    weights = [rng.random(shape[0]) for shape in shapes]
    network = LpipsNetwork("stub", lambda _: [], tuple(weights))
    assert lpips_distance(network, ours, theirs) == pytest.approx(lpips_by_points(weights, ours, theirs), rel=1e-8)
    assert lpips_distance(network, ours, [3 * m for m in ours]) == pytest.approx(0, abs=1e-12)  # directions alone count


def test_lpips_of_one_point_by_hand() -> None:
    """Directions (1, 0) and (0, 1) differ by (1, -1); squared and weighted: 2 + 5."""
    network = LpipsNetwork("stub", lambda _: [], (np.array([2.0, 5.0]),))
    a, b = np.array([4.0, 0.0]).reshape(2, 1, 1), np.array([0.0, 0.1]).reshape(2, 1, 1)
    assert lpips_distance(network, [a], [b]) == pytest.approx(7.0)


@pytest.mark.parametrize(("rows", "numbers"), [(40, 5), (6, 20)])  # more photos than numbers, and fewer
def test_frechet_distance_is_heusels(rows: int, numbers: int) -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(size=(rows, numbers)) @ rng.normal(size=(numbers, numbers)) + 2
    b = rng.normal(size=(rows + 3, numbers)) - 1
    first, second = np.cov(a.T), np.cov(b.T)
    if rows > numbers:
        root = scipy.linalg.sqrtm(first @ second).real.trace()
    else:
        root = np.sqrt(np.linalg.eigvals(first @ second).real.clip(0)).sum()
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(first) + np.trace(second) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_numbers_on_a_line() -> None:
    """For one number: (m1 - m2)^2 + (s1 - s2)^2."""
    a, b = np.array([[1.0], [3.0]]), np.array([[10.0], [14.0], [18.0]])
    s1, s2 = a.std(ddof=1), b.std(ddof=1)
    assert frechet_distance(a, b) == pytest.approx((2 - 14) ** 2 + (s1 - s2) ** 2)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)
    assert np.isnan(frechet_distance(a[:1], b))


# --- what is not there is said ----------------------------------------------------------------------------------------


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    monkeypatch.setitem(sys.modules, "pytorch_fid", None)
    networks, absent = open_networks()
    assert networks == DeepNetworks()
    assert absent == [
        Absent("LPIPS", "not installed: pip install lpips"),
        Absent("FID", "not installed: pip install pytorch-fid"),
    ]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import a_part_of_it", "not installed: pip install the-package with a_part_of_it"),
        ("raise RuntimeError('operator nms does not exist\\nsecond line')", r"(operator nms does not exist)"),
        ("raise OSError('libx.so: cannot open')", "(libx.so: cannot open): install versions that fit together"),
    ],
)
def test_a_package_that_does_not_fit_is_no_crash(
    source: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "does_not_fit.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    found = import_optional("LPIPS", "does_not_fit", "the-package")
    assert isinstance(found, Absent)
    assert reason in found.reason
    assert "second line" not in found.reason


class StubLPIPS(torch.nn.Module):
    """The parts of `lpips.LPIPS` that are used: two maps, one weight a channel."""

    def __init__(self, net: str, verbose: bool) -> None:
        super().__init__()
        assert (net, verbose) == ("alex", False)
        torch.manual_seed(0)
        self.scaling_layer = torch.nn.Conv2d(3, 3, 1)
        self.convs = torch.nn.ModuleList(torch.nn.Conv2d(3, c, 3, stride=s) for c, s in ((4, 2), (5, 4)))
        self.lins = [types.SimpleNamespace(model=[None, torch.nn.Conv2d(c, 1, 1, bias=False)]) for c in (4, 5)]

    def net(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [conv(x) for conv in self.convs]


class StubInception(torch.nn.Module):
    """The parts of `pytorch_fid.inception.InceptionV3` that are used: means of the colours and their squares."""

    BLOCK_INDEX_BY_DIM = {2048: 3}  # noqa: RUF012

    def __init__(self, blocks: list[int]) -> None:
        super().__init__()
        assert blocks == [3]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        assert 0 <= float(x.min()) <= float(x.max()) <= 1
        return [torch.cat([x, x**2], 1).mean((2, 3), keepdim=True)]


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for both packages; gives the folder where weights are looked for."""
    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=StubLPIPS))
    monkeypatch.setitem(sys.modules, "pytorch_fid", types.ModuleType("pytorch_fid"))
    monkeypatch.setitem(sys.modules, "pytorch_fid.inception", types.SimpleNamespace(InceptionV3=StubInception))
    monkeypatch.setattr(deep, "version", lambda _: "9.9")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_weights_that_are_missing_are_named_with_their_place(stubs: Path) -> None:
    for opened, name, file in ((open_lpips(), "LPIPS", ALEXNET), (open_fid(), "FID", INCEPTION)):
        assert opened == Absent(name, f"its weights are not on this machine: put {file} into {stubs}")


def test_weights_that_are_damaged_are_named(stubs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (stubs / ALEXNET).write_bytes(b"PK half of a file")

    def read(**_: object) -> torch.nn.Module:
        torch.load(stubs / ALEXNET)
        raise AssertionError("a damaged file was read")

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=read))
    found = open_lpips()
    assert isinstance(found, Absent)
    assert found.reason.startswith(f"{stubs / ALEXNET} cannot be read (")
    assert found.reason.endswith("): replace it")


def test_networks_are_opened_where_their_weights_are(stubs: Path) -> None:
    for file in (ALEXNET, INCEPTION):
        (stubs / file).write_bytes(b"weights")
    networks, absent = open_networks()
    assert not absent
    assert networks.lpips is not None
    assert networks.fid is not None
    assert (networks.lpips.settings, networks.fid.settings) == ("lpips 9.9, AlexNet", "pytorch-fid 9.9, 2048 numbers")
    rng = np.random.default_rng(0)
    one, other = (np.asarray(rng.integers(0, 256, (64, 70, 3)), np.uint8) for _ in range(2))
    seen, again = networks.see(one), networks.see(other)
    model = StubLPIPS("alex", False)
    maps = [
        [m[0].detach().double().numpy() for m in model.net(model.scaling_layer(scaled(photo)))]
        for photo in (one, other)
    ]
    expected = lpips_by_points(list(networks.lpips.weights), *maps)
    assert networks.distance(seen, again) == pytest.approx(expected, rel=1e-6)
    colours = one.reshape(-1, 3) / 255
    assert seen.described == pytest.approx(np.concatenate([colours.mean(0), (colours**2).mean(0)]), rel=1e-5)
    with pytest.raises(BadInput, match="LPIPS needs at least 64x64 pixels, not 70x63"):
        networks.see(one[:63])


def scaled(photo: Pixels) -> torch.Tensor:
    return torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255 * 2 - 1


def test_without_networks_nothing_is_measured() -> None:
    photo = np.zeros((8, 8, 3), np.uint8)
    networks = DeepNetworks(None, FidNetwork("stub", lambda rgb: rgb.mean((0, 1))))
    seen = networks.see(photo)
    assert seen.maps is None
    assert seen.described is not None
    assert networks.distance(seen, seen) is None
    assert DeepNetworks().see(photo).described is None
    assert Seen().maps is None
