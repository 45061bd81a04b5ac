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
