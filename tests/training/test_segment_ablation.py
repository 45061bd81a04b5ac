"""The ablation on made-up pairs and a made-up VOC tree, with tiny networks: every row, every seed."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsay.cli import main
from unsay.errors import BadInput
from unsay.evaluation.datasets import Sample
from unsay.models.starter_encoder import StarterConfig, StarterEncoder
from unsay.results import Pixels
from unsay.segmentation.asking import ask, read_constants
from unsay.segmentation.recipe import Network
from unsay.segmentation.recognition import evidence
from unsay.segmentation.regions import Regions
from unsay.training.config import load_config
from unsay.training.nouns import NounConfig
from unsay.training.pairs_readers import DataConfig
from unsay.training.segment import Segmenter
from unsay.training.segment_ablation import ablate_segment, keep, table
from unsay.training.segment_ablation_config import GROUPINGS, TABLES, AblationConfig, check_ablation, run_config
from unsay.training.segment_ablation_judging import Trunk, describe, partition, see_box, speaking
from unsay.training.segment_ablation_runs import chosen_captions, learned, remembering, run_configs, train
from unsay.training.segment_bundle import RegionsWithClasses
from unsay.training.segment_config import MachineConfig, SegmentConfig
from unsay.training.segment_features import View
from unsay.training.segment_networks import Networks

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns about its own dependencies
THINGS = {"dog": 12, "cat": 8, "person": 15}
GROUNDS = ("grass", "snow")
COLOURS = np.array([[220, 40, 40], [40, 40, 220], [230, 200, 40], [40, 180, 40], [240, 240, 240]], np.uint8)
"""Of the things, then of the grounds."""
CONFIGS = Path(__file__).parents[2] / "src" / "unsay" / "training" / "configs"
SEEDS = (3, 5)


class TinyTrunk(nn.Module):
    """What follows the maps: colours four times over; the classes 0 and 1 of ImageNet are what is red or blue."""

    def widen(self, last: Tensor) -> Tensor:
        return last.repeat(1, 4, 1, 1)

    def classify(self, pooled: Tensor) -> Tensor:
        return F.pad(8 * pooled[..., [0, 2]], (0, 998))


def see(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Mean colours in 0..1 at strides 16 and 32."""
    colours = torch.from_numpy(pixels) * 0.5 + 0.5
    return {name: F.avg_pool2d(colours, stride)[0].numpy() for name, stride in (("fine", 16), ("last", 32))}


TRUNK = Trunk(see, TinyTrunk())


def embed(sentences: Sequence[str]) -> Tensor:
    """A direction for each thing and ground, the first that the sentence names; all other words share one."""
    names = (*THINGS, *GROUNDS)
    numbers = [next((i for i, name in enumerate(names) if name in sentence), 7) for sentence in sentences]
    return torch.eye(8)[numbers]


def look(photo: Pixels) -> View:
    """A 4 x 4 grid; the lower half, the ground, is one group, the rest another."""
    cells = cv2.resize(photo, (4, 4), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    groups = np.repeat(np.array([0, 0, 1, 1], np.int8)[:, None], 4, axis=1)
    return View(groups, np.tile(cells.transpose(2, 0, 1), (4, 1, 1)).astype(np.float16))


def build(config: SegmentConfig) -> Networks:
    return Networks(
        lambda: StarterEncoder(config.starter, nn.Identity()), (4, 4), lambda: look, lambda: embed, "doubles"
    )


def photo_of(thing: int, ground: int, height: int, width: int) -> Pixels:
    """A thing above its ground, with a little noise."""
    photo = np.empty((height, width, 3), np.uint8)
    photo[: height // 2], photo[height // 2 :] = COLOURS[thing], COLOURS[3 + ground]
    noise = np.random.default_rng(thing).integers(-8, 8, photo.shape)
    return np.asarray(np.clip(photo + noise, 0, 255), np.uint8)


def write(path: Path, rgb: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), rgb[..., ::-1] if rgb.ndim == 3 else rgb)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> AblationConfig:
    """24 photos with sentences to learn from, three photos with masks to be judged."""
    root = tmp_path_factory.mktemp("ablation")
    lines = ["image\tcaption"]
    for number in range(24):
        write(root / "pairs" / "images" / f"{number:02d}.png", photo_of(number % 3, number % 2, 16, 16))
        lines.append(f"{number:02d}.png\tThe {list(THINGS)[number % 3]} is on the {GROUNDS[number % 2]} .")
    (root / "pairs" / "captions-train.tsv").write_text("\n".join(lines))
    for kind, index in enumerate(THINGS.values()):
        truth = np.zeros((36, 48), np.uint8)
        truth[:18] = index
        write(root / "voc" / "JPEGImages" / f"{kind}.jpg", photo_of(kind, 0, 36, 48))
        write(root / "voc" / "SegmentationClass" / f"{kind}.png", truth)
    (root / "voc" / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "voc" / "ImageSets" / "Segmentation" / "report.txt").write_text("0\n1\n2\n")
    common = SegmentConfig(
        data=DataConfig(path=str(root / "pairs")),
        starter=StarterConfig(tune=False, channels=12, width=16, heads=2, layers=2, text=8, dropout=0.0),
        side=16,
        groups=2,
        nouns=NounConfig(least_photos=1),
        epochs=6,
        batch=4,
        rate=1e-2,
        warmup=2,
        machine=MachineConfig(accelerator="cpu", threads=1),
    )
    return AblationConfig(
        data=str(root / "voc"), out=str(root / "out"), seeds=SEEDS, photos=18, crop_side=64, train=common
    )


@pytest.fixture(scope="module")
def result(config: AblationConfig) -> dict[str, Any]:
    return ablate_segment(config, build, TRUNK)


def test_every_row_has_its_figures(result: dict[str, Any]) -> None:
    assert {name: set(rows) for name, rows in result["tables"].items()} == {n: set(r) for n, r in TABLES.items()}
    for rows in result["tables"].values():
        for row in rows.values():
            for name, measure in row.items():
                if name == "setting":
                    continue
                values = measure["values"]
                assert len(values) == len(SEEDS)
                assert measure["mean"] == pytest.approx(np.mean(values))
                assert measure["spread"] == pytest.approx(max(values) - min(values))
                assert min(values) >= 0
                assert name in {"regions", "seconds"} or max(values) <= 1


def test_what_two_tables_share_is_the_same(result: dict[str, Any]) -> None:
    tables = result["tables"]
    whole = tables["grouping"]["agglomerative, superpixels"]
    assert tables["objective"]["one-way"] == tables["regions"]["tokens with context"] == whole
    assert tables["evidence"]["both"] == whole
    alone = tables["evidence"]["sentences only"]
    assert alone["presence mAP"] == whole["sentences only: presence mAP"]


def test_the_rows_differ_in_what_they_say(result: dict[str, Any]) -> None:
    tables = result["tables"]
    grouping = tables["grouping"]
    assert grouping["none"]["regions"]["mean"] == 16 * 12  # every patch of a photo whose long side is 512
    assert grouping["k-means, patches"]["regions"]["mean"] < 16
    assert grouping["agglomerative, patches"]["oracle mIoU-7"]["mean"] > 0.9
    assert tables["evidence"]["class names only"]["presence mAP"]["spread"] == 0  # no seed enters
    told = tables["objective"]["one-way"]["sentences only: mIoU-7, words given"]["values"]
    assert np.mean(told) > 0.6  # though every seed begins elsewhere: red is dog, blue is cat, yellow is person
    rows = [tables["objective"][n] for n in ("two-way", "image-level")] + [tables["regions"]["crops"]]
    assert all(row["setting"] != tables["objective"]["one-way"]["setting"] for row in rows)


def test_the_table_and_the_numbers_say_what_they_are_of(result: dict[str, Any], tmp_path: Path) -> None:
    keep(result, tmp_path / "numbers.json")
    stored = json.loads((tmp_path / "numbers.json").read_text())
    assert stored["tables"] == result["tables"]
    assert stored["config"]["train"]["epochs"] == 6
    assert {"torch", "numpy"} <= set(stored["versions"])
    assert set(stored["stages"]) == {"looking at the training photos", "training", "lexicons", "judging"}
    text = table(stored)
    assert "voc report: 3 photos, 20 words" in text
    assert "trained on 18 photos, 6 epochs; seeds 3, 5" in text
    assert all(f"| {row}" in text for rows in TABLES.values() for row in rows)
    with pytest.raises(BadInput, match="cannot write the numbers"):
        keep(result, tmp_path / "numbers.json" / "below")


def test_finished_runs_are_not_trained_again(
    config: AblationConfig, result: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Tensor:
        raise AssertionError("a finished run was trained again")

    monkeypatch.setattr(Segmenter, "training_step", refuse)
    again = ablate_segment(dataclasses.replace(config, limit=1, seeds=SEEDS[:1]), build, TRUNK)
    assert (again["photos"], again["seeds"]) == (1, [3])
    row = again["tables"]["objective"]["one-way"]
    assert math.isfinite(row["mIoU-7"]["mean"])


def test_sentences_alone_know_no_class(config: AblationConfig, result: dict[str, Any]) -> None:
    """Of words that ImageNet's classes cover; neither bundle needs a text network for what will be asked."""
    run = run_configs(config)["one-way", SEEDS[0]]
    one = learned(run, train(run, build(run)), build(run), ["dog"])
    assert not (Path(run.out) / "lexicon" / "text.onnx").exists()
    constants, regions = read_constants(one.bundle), np.zeros((2, 8), np.float32)
    logits, area = np.zeros((2, 1000), np.float32), np.ones(2, np.float32)
    for bundle, covered in ((one.bundle, True), (one.sentences, False)):
        queries = ask(["dog", *constants.background], bundle, constants)
        assert queries.covered[0] == covered
        rows = evidence(queries, Regions(regions, logits, area), constants)
        assert np.allclose(rows[0], rows[0, 0])
        assert (rows[0, 0] == constants.unseen_bonus) != covered


def test_presence_is_left_out_where_no_photo_has_a_name(config: AblationConfig, tmp_path: Path) -> None:
    """A split with no animal and no person: nothing to rank."""
    write(tmp_path / "JPEGImages" / "0.jpg", photo_of(3, 0, 36, 48))
    write(tmp_path / "SegmentationClass" / "0.png", np.zeros((36, 48), np.uint8))
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "report.txt").write_text("0\n")
    bare = ablate_segment(dataclasses.replace(config, data=str(tmp_path), seeds=SEEDS[:1]), build, TRUNK)
    assert bare["tables"]["evidence"]["both"]["presence mAP"]["mean"] is None
    assert "| -" in table(bare).replace("  ", "")
    json.dumps(bare, allow_nan=False)


# --- its parts --------------------------------------------------------------------------------------------------------


def sample() -> Sample:
    truth = np.full((36, 48), 255, np.uint8)
    truth[:18, :24] = 12
    return Sample("one", photo_of(0, 0, 36, 48), truth)


def test_ignored_pixels_are_not_counted() -> None:
    maps = see(np.zeros((1, 3, 384, 512), np.float32))
    for name in GROUPINGS:
        found = partition(name, sample(), maps)
        assert found.counts.shape == (found.groups.max() + 1, 21)
        assert found.counts.sum() == found.counts[:, 12].sum() == 18 * 24


def test_a_box_cuts_out_its_part_of_the_photo() -> None:
    trunk = Trunk(lambda pixels: {"pixels": pixels}, None)
    region = np.zeros((3, 4), bool)
    region[2, 1:3] = True
    photo = np.zeros((30, 40, 3), np.uint8)
    photo[20:, 10:30] = 255
    pixels = see_box(trunk, photo, region, Network("", 64, 32, (0.0,) * 3, (255.0,) * 3))["pixels"]
    assert pixels.shape == (1, 3, 32, 64)
    assert (pixels == 1).all()


def test_a_crop_of_the_whole_photo_is_the_photo() -> None:
    torch.manual_seed(0)
    starter = StarterConfig(tune=False, channels=12, width=16, heads=2, layers=1, text=8)
    network = RegionsWithClasses(StarterEncoder(starter, nn.Identity()), TinyTrunk()).eval()  # type: ignore[arg-type]
    maps = see(np.random.default_rng(0).normal(size=(1, 3, 96, 128)).astype(np.float32))
    regions = describe(network, maps, np.zeros((3, 4), np.int32), [maps])
    assert regions.embeddings.shape == (2, 8)
    assert np.allclose(regions.embeddings[0], regions.embeddings[1])
    assert np.allclose(regions.logits[0], regions.logits[1])
    tokens = describe(network, maps, np.zeros((3, 4), np.int32))
    assert np.allclose(tokens.embeddings, regions.embeddings, atol=1e-6)


def test_silenced_evidence_says_nothing() -> None:
    regions = Regions(np.ones((3, 2), np.float32), np.ones((3, 1000), np.float32), np.ones(3, np.float32))
    assert speaking(regions, "both") is regions
    assert speaking(regions, "sentences").logits.shape == (3, 0)
    assert not speaking(regions, "classes").embeddings.any()
    assert speaking(regions, "classes").logits is regions.logits


def test_no_sentence_is_read_twice() -> None:
    read: list[str] = []

    def counted(sentences: Sequence[str]) -> Tensor:
        read.extend(sentences)
        return embed(sentences)

    again = remembering(counted)
    first = again(["a dog", "a cat", "a dog"])
    assert torch.equal(again(["a cat", "a dog"]), first[[1, 0]])
    assert read == ["a dog", "a cat"]


def test_the_photos_to_train_on_are_evenly_spaced(config: AblationConfig) -> None:
    path = Path(chosen_captions(dataclasses.replace(config, photos=4))["captions"])
    names = [line.split("\t")[0] for line in path.read_text().splitlines()[1:]]
    assert names == ["00.png", "06.png", "12.png", "18.png"]
    assert chosen_captions(dataclasses.replace(config, photos=0)) == {}


# --- its settings -----------------------------------------------------------------------------------------------------


def test_runs_differ_in_what_is_compared_alone(config: AblationConfig) -> None:
    one, other = (run_config(config, variant, 3) for variant in ("one-way", "without context"))
    assert (one.loss, one.cache) == (other.loss, other.cache)
    assert one.out != other.out
    assert one.starter.context
    assert other.starter == dataclasses.replace(one.starter, context=False)
    assert run_config(config, "image-level", 3).loss.objective == "image"


def test_context_takes_two_layers() -> None:
    """Why one layer is refused: it gives the same regions either way."""
    torch.manual_seed(0)
    patches, shares = torch.rand(1, 12, 3, 4), (torch.rand(1, 3, 12) > 0.5).float()
    for layers in (1, 2):
        sizes = StarterConfig(tune=False, channels=12, width=16, heads=2, layers=layers, text=8)
        encoder, alone = (
            StarterEncoder(dataclasses.replace(sizes, context=context), nn.Identity()).eval()
            for context in (True, False)
        )
        alone.load_state_dict(encoder.state_dict())
        assert torch.allclose(encoder(patches, shares), alone(patches, shares), atol=1e-5) == (layers == 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": ()}, "at least one"),
        ({"seeds": (1, 1)}, "each once"),
        ({"limit": -1}, "limit is -1"),
        ({"photos": -3}, "photos is -3"),
        ({"crop_side": 0}, "crop_side is 0"),
        ({"train": SegmentConfig(starter=StarterConfig(layers=1))}, "layers is 1"),
        ({"train": SegmentConfig(network="paper")}, "the starter's networks"),
        ({"train": SegmentConfig(data=DataConfig(kind="coco"))}, "kind tsv"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check_ablation(dataclasses.replace(AblationConfig(), **change))


def test_a_split_that_is_not_there_is_refused_before_anything_is_trained(config: AblationConfig) -> None:
    with pytest.raises(BadInput, match="no split 'dev'"):
        ablate_segment(dataclasses.replace(config, split="dev", out="/nowhere"), build, TRUNK)


def test_the_ready_configuration_is_valid() -> None:
    config = load_config(CONFIGS / "segment-ablation.yaml", AblationConfig)
    check_ablation(config)
    assert (config.split, config.seeds, config.train.starter.tune) == ("report", (0, 1, 2), False)


def test_the_command_line_refuses_what_is_no_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text("rows: 3")
    assert main(["ablate", "segment", "--config", str(tmp_path / "bad.yaml")]) == 2
    assert "unknown key 'rows'" in capsys.readouterr().err
