"""Training of the inpainting network: losses, batches, exact resume, and export to ONNX."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import pytorch_lightning as pl
import torch

from unsay.errors import BadInput
from unsay.models.madf import MADF, MADFConfig
from unsay.training.features import feature_network
from unsay.training.inpaint import CropBatches, InpaintConfig, averaged_weights, train_inpaint
from unsay.training.inpaint_export import Filler, export_inpaint, export_network
from unsay.training.inpaint_losses import LossWeights, inpainting_loss
from unsay.training.photos import Photos, read_folders
from unsay.training.segment_export import round_half

TINY = MADFConfig(width=0.05, levels=5, refinements=1)
pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns about its own dependencies


def noise_photos(count: int = 4, size: int = 80) -> Photos:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (count, 5, 5, 3), np.uint8)
    photos = [cv2.resize(c, (size, size), interpolation=cv2.INTER_CUBIC) for c in coarse]
    return Photos((tuple(cv2.imencode(".png", p)[1].tobytes() for p in photos),), (1.0,))


def tiny_config(out: Path, **changes) -> InpaintConfig:
    base = InpaintConfig(network=TINY, crop=32, batch=2, steps=6, warmup=1, save_every=3, threads=1, out=str(out))
    return dataclasses.replace(base, **changes)


def test_losses_equal_their_definitions():
    torch.manual_seed(0)
    outputs = [torch.randn(2, 3, 8, 8) for _ in range(2)]
    truth, mask = torch.randn(2, 3, 8, 8), (torch.rand(2, 1, 8, 8) > 0.4).float()
    got = inpainting_loss(outputs, truth, mask, LossWeights(variation=0.5))
    hole = known = 0.0
    for o in outputs:
        for b in range(2):
            for y in range(8):
                for x in range(8):
                    error = float((o[b, :, y, x] - truth[b, :, y, x]).abs().sum())
                    if mask[b, 0, y, x] == 0:
                        hole += error
                    else:
                        known += error
    count = 2 * 3 * 8 * 8
    assert float(got["hole"]) == pytest.approx(6 * hole / count, rel=1e-5)
    assert float(got["known"]) == pytest.approx(known / count, rel=1e-5)
    final = torch.where(mask.bool(), truth, outputs[-1]).numpy()
    variation = np.abs(np.diff(final, axis=3)).mean() + np.abs(np.diff(final, axis=2)).mean()
    assert float(got["variation"]) == pytest.approx(0.5 * variation, rel=1e-5)
    assert set(got) == {"hole", "known", "variation"}


def test_feature_losses_are_zero_for_a_perfect_fill_and_reach_only_the_refined_outputs():
    truth, mask = torch.randn(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
    mask[..., 2:5, 2:5] = 0
    features = torch.nn.Conv2d(3, 4, 3)
    coarse = torch.randn(1, 3, 8, 8, requires_grad=True)

    def stage(x: torch.Tensor) -> list[torch.Tensor]:
        return [features(x)]

    got = inpainting_loss([coarse, truth], truth, mask, LossWeights(), stage)
    assert float(got["perceptual"]) == 0
    assert float(got["style"]) == 0
    bad = inpainting_loss([coarse, truth + 1], truth, mask, LossWeights(), stage)
    assert float(bad["perceptual"]) > 0
    assert float(bad["style"]) > 0
    assert torch.autograd.grad(bad["style"], coarse, allow_unused=True)[0] is None


def test_a_batch_depends_on_its_number_alone(tmp_path):
    photos, config = noise_photos(), tiny_config(tmp_path)
    from_start, from_middle = CropBatches(photos, config), CropBatches(photos, config, first=4)
    for a, b in zip(from_start[5], from_middle[1], strict=True):
        assert torch.equal(a, b)


def save_in_callbacks_only(trainer, path, *args, _original=pl.Trainer.save_checkpoint, **kwargs):
    if trainer.training:
        _original(trainer, path, *args, **kwargs)


def test_an_interrupted_run_ends_with_the_same_numbers(tmp_path, monkeypatch):
    photos = noise_photos()
    whole = train_inpaint(tiny_config(tmp_path / "whole"), photos=photos)
    halves = tiny_config(tmp_path / "halves")
    monkeypatch.setattr(pl.Trainer, "save_checkpoint", save_in_callbacks_only)  # as if killed in step 4
    train_inpaint(dataclasses.replace(halves, steps=4, decay_from=1.2), photos=photos)
    monkeypatch.undo()
    assert torch.load(tmp_path / "halves" / "last.ckpt", weights_only=True)["global_step"] == 3
    resumed = train_inpaint(halves, photos=photos, resume=True)
    undisturbed, interrupted = averaged_weights(whole), averaged_weights(resumed)
    for name, value in undisturbed.items():
        assert torch.equal(value, interrupted[name]), name


def test_nothing_to_resume_is_said(tmp_path):
    with pytest.raises(BadInput, match="nothing to resume"):
        train_inpaint(tiny_config(tmp_path), photos=noise_photos(), resume=True)


@pytest.mark.parametrize("hole", ["none", "all", "some"])
@pytest.mark.parametrize("size", [(32, 32), (64, 160), (96, 32)])
def test_onnx_runtime_equals_torch(tmp_path, size, hole):
    torch.manual_seed(3)
    network = MADF(TINY)
    for _ in range(2):  # realistic batch-norm statistics
        network(torch.randn(4, 3, 64, 64), (torch.rand(4, 1, 64, 64) > 0.3).float())
    network.eval()
    export_network(network, tmp_path / "filler.onnx")
    filler = Filler(network)
    round_half(filler)  # the file stores large weights as fp16
    image = torch.randn(1, 3, *size)
    mask = {"none": torch.ones(1, 1, *size), "all": torch.zeros(1, 1, *size)}.get(
        hole, (torch.rand(1, 1, *size) > 0.4).float()
    )
    with torch.inference_mode():
        expected = filler(image, mask).numpy()
        unfolded = network(image, mask)[-1].numpy()
    session = onnxruntime.InferenceSession(tmp_path / "filler.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": image.numpy(), "mask": mask.numpy()})[0]
    assert np.abs(found - expected).max() < 1e-5 * max(1, np.abs(expected).max())
    assert np.abs(unfolded - expected).max() < 5e-3 * max(1, np.abs(expected).max())


def test_a_checkpoint_exports_without_its_configuration_file(tmp_path):
    checkpoint = train_inpaint(tiny_config(tmp_path / "run"), photos=noise_photos())
    folder = export_inpaint(checkpoint, tmp_path / "bundle")
    from unsay.bundle import load_bundle

    bundle = load_bundle(folder)
    assert bundle.section("inpaint")["multiple"] == 32
    assert bundle.manifest["training"]["inpaint"]["steps"] == 6
    assert [i.name for i in bundle.session("filler.onnx").get_inputs()] == ["image", "mask"]


def test_folders_are_drawn_from_by_weight_and_held_back_photos_left_out(tmp_path):
    for name, value in (("a", 10), ("b", 200)):
        (tmp_path / name).mkdir()
        for i in range(2):
            cv2.imwrite(str(tmp_path / name / f"{i}.png"), np.full((60, 60, 3), value, np.uint8))
    photos = read_folders([tmp_path / "a", tmp_path / "b"], [0.0, 1.0])
    assert all(photos.crop(np.random.default_rng(i), 32).mean() == 200 for i in range(5))
    assert len(read_folders([tmp_path / "a"], leave_out=["0.png"])) == 1
    with pytest.raises(BadInput, match="no photos under"):
        read_folders([tmp_path / "none"])


def test_the_frozen_features_see_blur_and_learn_nothing(tmp_path):
    features = feature_network("efficientnet-lite0")
    image = torch.randn(1, 3, 64, 64)
    sharp, blurred = features(image), features(torch.nn.functional.avg_pool2d(image, 5, 1, 2))
    assert [m.shape[1] for m in sharp] == [16, 24, 40]
    assert all(float((a - b).abs().mean()) > 0.1 for a, b in zip(sharp, blurred, strict=True))
    assert not any(p.requires_grad for p in features.parameters())
    with pytest.raises(BadInput, match="unknown feature network"):
        feature_network("vgg19")


def test_training_with_perceptual_terms_runs_and_keeps_the_features_out_of_the_checkpoint(tmp_path):
    checkpoint = train_inpaint(tiny_config(tmp_path, features="efficientnet-lite0", steps=1), photos=noise_photos())
    names = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert {n.split(".")[0] for n in names} == {"network", "average"}


def test_minutes_count_from_the_call_also_when_resumed(tmp_path):
    config = tiny_config(tmp_path, steps=4)
    for expected in (1, 2):
        last = train_inpaint(config, photos=noise_photos(), max_minutes=0, resume=expected > 1)
        assert torch.load(last, weights_only=True)["global_step"] == expected
