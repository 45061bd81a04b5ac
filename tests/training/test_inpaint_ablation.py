"""The inpainting ablation on made-up photos with tiny networks: every row, every seed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from unsay.cli import main
from unsay.errors import BadInput
from unsay.evaluation.inpaint import hole_for
from unsay.evaluation.metrics import score
from unsay.models.madf import MADFConfig
from unsay.training.config import load_config
from unsay.training.inpaint_ablation import ablate_inpaint, table
from unsay.training.inpaint_ablation_config import (
    END_ONLY,
    METHOD,
    TABLES,
    InpaintAblationConfig,
    Setting,
    check_ablation,
    run_config,
)
from unsay.training.inpaint_ablation_models import Sizes
from unsay.training.inpaint_ablation_runs import (
    AblationInpainter,
    Judged,
    central_square,
    fill_holes,
    judge,
    run_name,
    trained,
)
from unsay.training.inpaint_config import InpaintConfig
from unsay.training.inpaint_data import CropBatches, normalise
from unsay.training.inpaint_losses import LossWeights
from unsay.training.machine import MachineConfig
from unsay.training.photos import Photos

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns about its own dependencies
CONFIGS = Path(__file__).parents[2] / "src" / "unsay" / "training" / "configs"
SEEDS = (3, 5)


def noise_photos(count: int = 4, size: int = 80) -> Photos:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (count, 5, 5, 3), np.uint8)
    photos = [cv2.resize(c, (size, size), interpolation=cv2.INTER_CUBIC) for c in coarse]
    return Photos((tuple(cv2.imencode(".png", p)[1].tobytes() for p in photos),), (1.0,))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> InpaintAblationConfig:
    root = tmp_path_factory.mktemp("ablation")
    (root / "photos").mkdir()
    for i in range(2):
        coarse = np.random.default_rng(i).integers(0, 255, (5, 7, 3), np.uint8)
        cv2.imwrite(str(root / "photos" / f"{i}.png"), cv2.resize(coarse, (60, 40), interpolation=cv2.INTER_CUBIC))
    common = InpaintConfig(
        network=MADFConfig(width=0.05, levels=5),
        losses=LossWeights(perceptual=0, style=0),
        crop=32,
        batch=2,
        steps=2,
        warmup=1,
        machine=MachineConfig(threads=1),
    )
    return InpaintAblationConfig(data=str(root / "photos"), side=32, out=str(root / "out"), seeds=SEEDS, train=common)


@pytest.fixture(scope="module")
def result(config: InpaintAblationConfig) -> dict[str, Any]:
    return ablate_inpaint(config, photos=noise_photos())


def test_every_row_has_its_figures(result: dict[str, Any]) -> None:
    assert {name: set(rows) for name, rows in result["tables"].items()} == {n: set(r) for n, r in TABLES.items()}
    for rows in result["tables"].values():
        for row in rows.values():
            for group in ("all", "0-10%", "50-60%"):
                measure = row[group]["hole_psnr"]
                assert len(measure["values"]) == len(SEEDS)
                assert measure["mean"] == pytest.approx(np.mean(measure["values"]))
                assert measure["spread"] == pytest.approx(np.ptp(measure["values"]))
            by_band = [row[group]["psnr"]["mean"] for group in row if group.endswith("%")]
            assert row["all"]["psnr"]["mean"] == pytest.approx(np.mean(by_band))


def test_rows_differ_and_what_two_tables_share_is_the_same(result: dict[str, Any]) -> None:
    tables = result["tables"]
    whole = tables["convolution"]["mask-aware"]
    assert tables["normalization"]["point-wise"] == tables["refinement decoders"]["2"] == whole
    assert tables["supervision"]["stage by stage"] == whole
    distinct = {row["all"]["psnr"]["mean"] for rows in tables.values() for row in rows.values()}
    assert len(distinct) == 8
    assert whole["all"]["psnr"]["spread"] > 0


def test_the_table_says_what_it_is_of(result: dict[str, Any]) -> None:
    stored = json.loads(json.dumps(result, allow_nan=False))
    text = table(stored)
    assert "photos: 2 photos at 32x32, one hole a band" in text
    assert "trained 2 steps of 2 crops of 32x32" in text
    assert "seeds 3, 5: mean (largest - smallest)" in text
    assert all(f"| {row} " in text for rows in TABLES.values() for row in rows)
    assert "| Telea " in text
    assert text.count("mask-aware ") == 2  # once in its table and once among all rows by band
    assert {"torch", "numpy"} <= set(stored["versions"])


def test_finished_runs_are_not_trained_again(
    config: InpaintAblationConfig, result: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Tensor:
        raise AssertionError("a finished run was trained again")

    monkeypatch.setattr(AblationInpainter, "training_step", refuse)
    assert ablate_inpaint(config)["tables"] == result["tables"]
    part = ablate_inpaint(dataclasses.replace(config, limit=1, seeds=SEEDS[:1]))
    assert (part["photos"], part["seeds"]) == (1, [3])
    longer = dataclasses.replace(run_config(config, METHOD, 3), steps=3)
    with pytest.raises(AssertionError, match="trained again"):
        trained(longer, METHOD, Sizes(0.05), noise_photos)


def test_a_run_is_named_by_all_that_it_depends_on(config: InpaintAblationConfig) -> None:
    run, sizes = run_config(config, METHOD, 3), Sizes(0.05)
    name = run_name(run, METHOD, sizes)
    assert name.startswith("mask-aware_point-wise_2-refinements_stage-by-stage-3-")
    assert run_name(dataclasses.replace(run, out="elsewhere", machine=MachineConfig(threads=7)), METHOD, sizes) == name
    others = [
        run_name(dataclasses.replace(run, lr=0.1), METHOD, sizes),
        run_name(run_config(config, METHOD, 5), METHOD, sizes),
        run_name(run, Setting(convolution="gated"), sizes),
        run_name(run, METHOD, Sizes(0.05, 2.0)),
    ]
    assert len({name, *others}) == 5


def test_a_run_learns_on_the_same_crops_whatever_its_network(
    config: InpaintAblationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[Tensor]] = {}
    step = AblationInpainter.training_step

    def watched(self: AblationInpainter, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
        seen.setdefault(now, []).extend(t.clone() for t in batch)
        return step(self, batch, number)

    monkeypatch.setattr(AblationInpainter, "training_step", watched)
    run = dataclasses.replace(run_config(config, METHOD, 3), out=str(tmp_path))
    for now in ("plain", "mask-aware"):
        trained(run, Setting(convolution=now), Sizes(0.05), noise_photos)
    assert len(seen["plain"]) == 4
    assert all(torch.equal(a, b) for a, b in zip(seen["plain"], seen["mask-aware"], strict=True))
    first = CropBatches(noise_photos(), run)[0]
    assert torch.equal(seen["plain"][0], normalise(first[0]))


def test_the_end_only_differs_in_the_losses_alone(config: InpaintAblationConfig) -> None:
    whole, end = (run_config(config, Setting(supervision=s), 3) for s in (METHOD.supervision, END_ONLY))
    assert whole.network.refinements == 2
    assert not whole.losses.last_only
    assert end == dataclasses.replace(whole, losses=dataclasses.replace(whole.losses, last_only=True))


def test_judging_asks_the_evaluations_own_holes() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    photo = Judged("a.jpg", rgb)

    def grey(rgb: np.ndarray, holes: list[np.ndarray]) -> list[np.ndarray]:
        return [np.where(hole[..., None], np.uint8(128), rgb) for hole in holes]

    found = judge(grey, [photo])
    hole = hole_for("a.jpg", 32, 32, 4, 0)[0]
    expected = score(grey(rgb, [hole])[0], rgb, hole)
    assert found["40-50%"] == pytest.approx(dataclasses.asdict(expected))
    assert found["all"]["l1"] == pytest.approx(np.mean([v["l1"] for k, v in found.items() if k != "all"]))


def test_a_fill_is_the_networks_last_output_in_the_hole() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8)
    holes = [np.zeros((8, 12), bool) for _ in range(2)]
    holes[0][2:5, 3:9], holes[1][1, 1] = True, True

    class Inverts(torch.nn.Module):
        def forward(self, image: Tensor, mask: Tensor) -> list[Tensor]:
            white = normalise(torch.full_like(image, 255)) + normalise(torch.zeros_like(image))
            assert [int((m == 0).sum()) for m in mask] == [18, 1]
            return [image, white - image]

    filled = fill_holes(Inverts(), rgb, holes)
    for hole, one in zip(holes, filled, strict=True):
        assert np.array_equal(one[hole], 255 - rgb[hole])
        assert np.array_equal(one[~hole], rgb[~hole])


def test_the_central_square_is_cut_out() -> None:
    photo = np.zeros((40, 60, 3), np.uint8)
    photo[:, 10:50] = 200
    square = central_square(photo, 20)
    assert square.shape == (20, 20, 3)
    assert (square == 200).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": ()}, "at least one"),
        ({"seeds": (1, 1)}, "each once"),
        ({"limit": -1}, "limit is -1"),
        ({"side": 100}, r"side is 100; with 7 levels give a multiple of 128"),
        ({"train": InpaintConfig(crop=96)}, r"crop is 96; with 7 levels"),
        ({"train": InpaintConfig(ema=2.0)}, r"ema is 2\.0"),
        ({"train": InpaintConfig(steps=0)}, "steps 0"),
        ({"train": InpaintConfig(init_from="a.ckpt")}, "leave it empty"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(change: dict[str, Any], message: str) -> None:
    fallback = InpaintAblationConfig(train=InpaintConfig())
    with pytest.raises(BadInput, match=message):
        check_ablation(dataclasses.replace(fallback, **change))


def test_the_ready_configuration_is_valid() -> None:
    config = load_config(CONFIGS / "inpaint-ablation.yaml", InpaintAblationConfig)
    check_ablation(config)
    assert (config.seeds, config.train.network.levels, config.limit) == ((0, 1, 2), 5, 0)


def test_the_command_line_refuses_what_is_no_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text("rows: 3")
    assert main(["ablate", "inpaint", "--config", str(tmp_path / "bad.yaml")]) == 2
    assert "unknown key 'rows'" in capsys.readouterr().err
