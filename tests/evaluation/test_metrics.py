import cv2
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from unsay.errors import BadInput
from unsay.evaluation.metrics import (
    MAX_PSNR,
    Scores,
    l1,
    mean_scores,
    psnr,
    score,
    ssim,
    structure_distance,
    texture_ratio,
)
from unsay.results import Mask, Pixels


@pytest.fixture(scope="module")
def truth() -> Pixels:
    """Diagonal stripes with mild noise, 60x90."""
    y, x = np.mgrid[0:60, 0:90]
    stripes = 128 + 90 * np.sin((x + y) / 3.0)
    noise = np.random.default_rng(0).normal(0, 3, (60, 90, 3))
    return np.asarray((stripes[..., None] + noise).clip(0, 255), np.uint8)


@pytest.fixture(scope="module")
def hole() -> Mask:
    hole = np.zeros((60, 90), bool)
    hole[10:50, 20:70] = True
    return hole


def filled_with(truth: Pixels, hole: Mask, fill: np.ndarray | int) -> Pixels:
    return np.where(hole[..., None], np.asarray(fill, np.uint8), truth)


@pytest.mark.parametrize("seed", range(3))
def test_ssim_and_psnr_are_scikit_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 256, (37, 51, 3), np.uint8)
    b = np.asarray((a + rng.normal(0, 10 * (seed + 1), a.shape)).clip(0, 255), np.uint8)
    theirs = structural_similarity(
        a, b, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert ssim(a, b) == pytest.approx(theirs, abs=1e-12)
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b), abs=1e-12)


def test_an_equal_photo_scores_best(truth: Pixels, hole: Mask) -> None:
    assert score(truth, truth, hole) == Scores(MAX_PSNR, 1.0, 0.0, MAX_PSNR, pytest.approx(0.0, abs=1e-9), 1.0)


def test_l1_is_percent_of_the_range(truth: Pixels) -> None:
    assert l1(np.zeros_like(truth), np.full_like(truth, 255)) == 100
    assert l1(np.full_like(truth, 100), np.full_like(truth, 151)) == pytest.approx(20)


def test_the_hole_alone_and_the_whole_photo_differ_by_its_share(truth: Pixels, hole: Mask) -> None:
    scores = score(filled_with(truth, hole, 128), truth, hole)
    assert scores.psnr - scores.hole_psnr == pytest.approx(-10 * np.log10(hole.mean()), abs=1e-9)


def test_structure_tells_how_edges_run(truth: Pixels, hole: Mask) -> None:
    y, x = np.mgrid[0:60, 0:90]
    across = (128 + 90 * np.sin((x - y) / 3.0))[..., None].repeat(3, 2)
    paler = (128 + 45 * np.sin((x + y) / 3.0))[..., None].repeat(3, 2)
    inverse = 255 - truth
    distance = {
        name: structure_distance(filled_with(truth, hole, fill), truth, hole)
        for name, fill in {"across": across, "paler": paler, "inverse": inverse, "flat": 128}.items()
    }
    assert distance["across"] > 0.9
    assert distance["flat"] == pytest.approx(0.5, abs=0.06)
    assert distance["paler"] < 0.1
    assert distance["inverse"] < 0.05
    assert structure_distance(truth, np.full_like(truth, 7), hole) == 0.5


def scharr(photo: Pixels) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of a grey photo by the kernel itself: 3, 10, 3 along, difference across, per pixel."""
    grey = np.pad(photo[..., 0].astype(float), 1, mode="reflect")
    height, width = photo.shape[:2]
    gx, gy = np.zeros((height, width)), np.zeros((height, width))
    for i, weight in enumerate((3, 10, 3)):
        gx += weight * (grey[i : i + height, 2:] - grey[i : i + height, :-2]) / 32
        gy += weight * (grey[2:, i : i + width] - grey[:-2, i : i + width]) / 32
    return gx, gy


def grey_noise(seed: int) -> Pixels:
    values = np.random.default_rng(seed).integers(0, 256, (12, 15, 1), np.uint8)
    return np.asarray(cv2.GaussianBlur(values, (0, 0), 1)[..., None].repeat(3, 2), np.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_structure_is_its_definition_in_angles(seed: int) -> None:
    filled, truth = grey_noise(2 * seed), grey_noise(2 * seed + 1)
    hole = np.random.default_rng(seed).random((12, 15)) < 0.5
    (fx, fy), (tx, ty) = scharr(filled), scharr(truth)
    above = below = 0.0
    for y, x in zip(*np.nonzero(hole), strict=True):
        size_f, size_t = np.hypot(fx[y, x], fy[y, x]), np.hypot(tx[y, x], ty[y, x])
        turned = np.arctan2(fy[y, x], fx[y, x]) - np.arctan2(ty[y, x], tx[y, x])
        sure_f, sure_t = (size / (size + 4) for size in (size_f, size_t))
        certain = min(1.0, sure_f / sure_t) if sure_t else 0.0
        above += size_t * sure_t * certain * np.cos(2 * turned)
        below += size_t * sure_t
    assert structure_distance(filled, truth, hole) == pytest.approx(0.5 - 0.5 * above / below, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_texture_is_its_definition(seed: int) -> None:
    filled, truth = grey_noise(2 * seed), grey_noise(2 * seed + 1)
    hole = np.zeros((12, 15), bool)
    hole[3:9, 0:10] = True
    inside = np.zeros_like(hole)
    inside[4:8, 0:9] = True  # without its rim; the photo's own border is none
    energies = [
        np.mean([(gx[inside] ** 2).mean(), (gy[inside] ** 2).mean()]) * 2 for gx, gy in map(scharr, (filled, truth))
    ]
    assert texture_ratio(filled, truth, hole) == pytest.approx((energies[0] + 0.01) / (energies[1] + 0.01), rel=1e-9)


def test_texture_tells_blur_from_noise(truth: Pixels, hole: Mask) -> None:
    blurred = cv2.GaussianBlur(truth, (0, 0), 4)
    noise = np.random.default_rng(0).integers(0, 256, truth.shape)
    assert texture_ratio(filled_with(truth, hole, blurred), truth, hole) < 0.3
    assert texture_ratio(filled_with(truth, hole, noise), truth, hole) > 1.2
    assert texture_ratio(filled_with(truth, hole, 0), truth, hole) < 0.001  # its seams do not count


def test_a_hole_of_one_pixel_can_be_scored(truth: Pixels) -> None:
    hole = np.zeros(truth.shape[:2], bool)
    hole[5, 5] = True
    scores = score(filled_with(truth, hole, 0), truth, hole)
    assert np.isfinite([scores.psnr, scores.hole_psnr, scores.structure, scores.texture]).all()


def test_means_over_photos() -> None:
    one, two = Scores(20, 0.8, 2, 10, 0.2, 0.5), Scores(30, 0.6, 4, 20, 0.4, 2.0)
    mean = mean_scores([one, two])
    assert mean == pytest.approx({"psnr": 25, "ssim": 0.7, "l1": 3, "hole_psnr": 15, "structure": 0.3, "texture": 1.0})
    assert np.isnan(list(mean_scores([]).values())).all()


def test_what_cannot_be_measured_is_said(truth: Pixels, hole: Mask) -> None:
    with pytest.raises(BadInput, match="shapes differ"):
        score(truth[1:], truth, hole)
    with pytest.raises(BadInput, match="the hole is empty"):
        score(truth, truth, np.zeros_like(hole))
    with pytest.raises(BadInput, match="SSIM needs at least 11x11 pixels, not 90x5"):
        ssim(truth[:5], truth[:5])
