"""An imported bundle's networks, run by ONNX Runtime, give what `transformers` gives from the same folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
from torch.nn import functional as F
from transformers.utils import logging

from unsay.bundle import Bundle, load_bundle
from unsay.cli import main
from unsay.errors import BadInput
from unsay.models.hugging_face import load_clip, load_self_supervised
from unsay.segmentation.grouping import Agglomerative
from unsay.segmentation.recipe import read_recipe
from unsay.segmentation.text import encode
from unsay.training import import_clip as importing
from unsay.training.bundling import write_part
from unsay.training.import_clip import ClipImport, import_clip, model_name, replaced

logging.disable_progress_bar()


def run(bundle: Bundle, file: str, **feed: Any) -> np.ndarray:
    return np.asarray(bundle.session(file).run(None, feed)[0])


@pytest.fixture(scope="module")
def bundle(open_weights: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    options = ClipImport(str(open_weights["clip"]), str(open_weights["dino"]), start=1, side=48, group_side=56)
    return load_bundle(import_clip(options, tmp_path_factory.mktemp("out") / "mine"), threads=1)


def pixels(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).normal(0, 1, (1, 3, height, width)).astype(np.float32)


@pytest.mark.parametrize("feature", ["token", "key"])
@pytest.mark.parametrize("kind", ["dino", "dinov2"])
def test_features_are_the_same_in_onnx(kind: str, feature: str, open_weights: dict[str, Path], tmp_path: Path) -> None:
    network = importing.GroupFeatures(load_self_supervised(open_weights[kind]), feature)
    importing.export_features(network, tmp_path / "features.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "features.onnx"), providers=["CPUExecutionProvider"])
    for height, width in ((56, 56), (28, 70)):
        got = session.run(["tokens"], {"pixels": pixels(height, width)})[0]
        expected = network(torch.from_numpy(pixels(height, width))).numpy()
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() < 1e-4


@pytest.mark.parametrize(("height", "width", "regions"), [(32, 32, 1), (24, 48, 5), (56, 40, 20)])
def test_region_embeddings_are_the_same_in_onnx(
    height: int, width: int, regions: int, bundle: Bundle, open_weights: dict[str, Path]
) -> None:
    rng = np.random.default_rng(regions)
    shape = (regions, height * width // 64)
    coverage = (rng.random(shape) * (rng.random(shape) < 0.6)).astype(np.float32)
    coverage[-1] = 0
    got = run(bundle, "encoder.onnx", pixels=pixels(height, width), coverage=coverage)
    network = load_clip(open_weights["clip"], start=1).regions
    expected = network(torch.from_numpy(pixels(height, width)), torch.from_numpy(coverage)).numpy()
    assert np.abs(got - expected).max() < 1e-5
    assert np.allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)


def test_sentences_are_the_same_in_onnx(bundle: Bundle, open_weights: dict[str, Path]) -> None:
    text = load_clip(open_weights["clip"]).text
    for sentences, length in ((1, 2), (4, 7), (3, 77)):
        ids = torch.randint(0, 30, (sentences, length), generator=torch.Generator().manual_seed(length))
        ids[:, -1] = text.config.end
        mask = torch.ones_like(ids)
        got = run(bundle, "text.onnx", ids=ids.numpy(), mask=mask.numpy())
        assert np.abs(got - text(ids, mask).numpy()).max() < 1e-5


def test_words_find_regions_as_transformers_would(bundle: Bundle, open_weights: dict[str, Path]) -> None:
    """The whole way by the bundle's files: features, groups, coverage, regions, words, cosines."""
    recipe = read_recipe(bundle)
    photo = pixels(48, 40)
    tokens = run(bundle, recipe.features.file, pixels=cv2_resized(photo, 56, 49))[0].transpose(1, 2, 0)
    groups = Agglomerative(4, 1)(tokens)
    coverage = np.stack(
        [cv2.resize((groups == k).astype(np.float32), (5, 6), interpolation=cv2.INTER_AREA).ravel() for k in range(4)]
    )
    coverage = np.concatenate([coverage, np.ones((1, 30), np.float32)])
    regions = run(bundle, recipe.encoder.file, pixels=photo, coverage=coverage)
    tokenizer = load_tokenizer(bundle, recipe.text.tokenizer)
    sentences = [recipe.text.templates[0].format(w) for w in ("dog", "cat")]
    words = encode(sentences, bundle.session(recipe.text.file), tokenizer)

    model = transformers.CLIPModel.from_pretrained(open_weights["clip"]).eval()
    theirs = transformers.CLIPTokenizer.from_pretrained(open_weights["clip"])(
        sentences, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        expected_words = F.normalize(model.get_text_features(**theirs).pooler_output, dim=-1)
        whole = model.get_image_features(torch.from_numpy(photo), interpolate_pos_encoding=True).pooler_output
    assert np.abs(regions[-1] @ words.T - (F.normalize(whole, dim=-1) @ expected_words.T).numpy()[0]).max() < 1e-5
    network = load_clip(open_weights["clip"], start=1).regions
    expected = network(torch.from_numpy(photo), torch.from_numpy(coverage)) @ expected_words.T
    assert np.abs(regions @ words.T - expected.numpy()).max() < 1e-5
    assert np.ptp(regions @ words.T, axis=0).min() > 1e-3
    assert len(np.unique(groups)) == 4


def cv2_resized(photo: np.ndarray, height: int, width: int) -> np.ndarray:
    small = cv2.resize(photo[0].transpose(1, 2, 0), (width, height))
    return np.ascontiguousarray(small.transpose(2, 0, 1)[None])


def load_tokenizer(bundle: Bundle, name: str) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(bundle.file(name)))
    tokenizer.enable_padding(pad_id=0, pad_token="<|endoftext|>")
    return tokenizer


def test_the_recipe_says_how_to_run_it(bundle: Bundle) -> None:
    recipe = read_recipe(bundle)
    assert (recipe.features.side, recipe.features.multiple) == (56, 7)
    assert recipe.features.mean == pytest.approx((123.675, 116.28, 103.53))
    assert recipe.grouping.maps == {"tokens": 1.0}
    assert recipe.encoder.maps == ()
    assert recipe.encoder.network is not None
    assert (recipe.encoder.network.side, recipe.encoder.network.multiple, recipe.encoder.patch) == (48, 8, 8)
    assert recipe.lexicon is None
    assert bundle.manifest["licence"] == "unknown"
    learned = bundle.manifest["training"]["segment"]
    assert (learned["clip"], learned["group_features"], learned["start"]) == ("clip", "dino", 1)
    assert "scores" not in bundle.manifest


def test_half_precision_is_close_and_half_the_size(
    open_weights: dict[str, Path], bundle: Bundle, tmp_path: Path
) -> None:
    path = tmp_path / "half.onnx"
    importing.export_encoder(load_clip(open_weights["clip"], start=1).regions, path, half=True)
    feed = {"pixels": pixels(32, 32), "coverage": np.ones((1, 16), np.float32)}
    half = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feed)[0]
    assert 0 < np.abs(half - run(bundle, "encoder.onnx", **feed)).max() < 5e-3
    types = {t.data_type for t in onnx.load(str(path)).graph.initializer if np.prod(t.dims) > 500}
    assert types == {onnx.TensorProto.FLOAT16}


def test_an_inpaint_part_stays_and_all_else_is_replaced(open_weights: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "both"
    out.mkdir()
    for name in ("filler.onnx", "trunk.onnx"):
        (out / name).write_bytes(name.encode())
    write_part(out, "inpaint", {"file": "filler.onnx", "multiple": 8}, files=["filler.onnx"], training={"inpaint": "x"})
    write_part(out, "segment", {"trunk": "trunk.onnx"}, files=["trunk.onnx"], licence="Apache-2.0", scores={"old": 1})
    import_clip(ClipImport(str(open_weights["clip"]), str(open_weights["dino"]), side=48, group_side=56), out)
    manifest = json.loads((out / "bundle.json").read_bytes())
    assert manifest["inpaint"] == {"file": "filler.onnx", "multiple": 8}
    assert (out / "filler.onnx").read_bytes() == b"filler.onnx"
    assert (
        set(manifest["files"]) == {*importing.FILES, "filler.onnx"} == {p.name for p in out.iterdir()} - {"bundle.json"}
    )
    assert manifest["licence"] == "segment: unknown; inpaint: Apache-2.0"
    assert set(manifest["training"]) == {"segment", "inpaint"}
    assert "scores" not in manifest


def test_a_failing_import_leaves_nothing_and_spares_what_was_there(
    open_weights: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ClipImport(str(open_weights["clip"]), str(open_weights["dino"]), side=48, group_side=56)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr(importing, "LARGEST", 1000)
    with pytest.raises(BadInput, match="take a smaller model"):
        import_clip(options, work / "new")
    assert list(work.iterdir()) == []
    write_part(work, "inpaint", {"multiple": 8}, files=[])
    before = (work / "bundle.json").read_bytes()
    with pytest.raises(BadInput, match="take a smaller model"):
        import_clip(options, work)
    assert (work / "bundle.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["work"]


def test_what_was_there_comes_back_where_renaming_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_part(tmp_path, "inpaint", {"multiple": 8}, files=[])
    rename = importing.os.rename

    def fail_for_the_new(source: Path, target: Path) -> None:
        if source.name == "new":
            raise OSError("no space")
        rename(source, target)

    monkeypatch.setattr(importing.os, "rename", fail_for_the_new)
    with pytest.raises(OSError, match="no space"), replaced(tmp_path):
        pass
    assert json.loads((tmp_path / "bundle.json").read_bytes())["inpaint"] == {"multiple": 8}


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dog.jpg").write_bytes(b"x")
    for taken in (tmp_path / "photos", tmp_path / "photos" / "dog.jpg"):
        with pytest.raises(BadInput, match="no bundle"), replaced(taken):
            raise AssertionError("went on")
    assert (tmp_path / "photos" / "dog.jpg").read_bytes() == b"x"
    (tmp_path / "empty").mkdir()
    with replaced(tmp_path / "empty") as fresh:
        (fresh / "made").touch()
    assert (tmp_path / "empty" / "made").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature": "query"}, "known: token, key"),
        ({"group_method": "magic"}, "known: agglomerative"),
        ({"templates": ("a photo",)}, "where the word goes"),
        ({"templates": ("a {word} {}",)}, "where the word goes"),
        ({"side": 8}, "choose 16 to 1024"),
        ({"group_side": 9000}, "choose 14 to 896"),
        ({"start": 3}, "layer 0 to 2"),
    ],
)
def test_options_out_of_range_are_refused(
    change: dict[str, Any], message: str, open_weights: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=message):
        import_clip(ClipImport(str(open_weights["clip"]), str(open_weights["dino"]), **change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_published_name_is_recorded_and_no_path(tmp_path: Path) -> None:
    for stated, expected in (("openai/clip", "openai/clip"), ("/home/me/clip", tmp_path.name), (None, tmp_path.name)):
        (tmp_path / "config.json").write_text(json.dumps({"_name_or_path": stated}))
        assert model_name(str(tmp_path), tmp_path) == expected
    assert model_name("openai/clip", tmp_path) == "openai/clip"


def test_the_command_writes_a_bundle_and_prints_where(
    open_weights: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cli"
    sides = ["--side", "48", "--group-side", "56", "--start", "2", "--feature", "key", "--template", "a {}"]
    sides += ["--half", "--licence", "MIT"]
    folders = ["import", "clip", str(open_weights["clip"]), "--group-features", str(open_weights["dinov2"])]
    assert main([*folders, "-o", str(out), *sides]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert read_recipe(load_bundle(out)).text.templates == ("a {}",)
    manifest = load_bundle(out).manifest
    learned = manifest["training"]["segment"]
    assert (learned["group_feature"], learned["storage"], learned["start"]) == ("key", "fp16", 2)
    assert manifest["licence"] == "MIT"
    assert main(["import", "clip", str(tmp_path / "none"), "--group-features", "x", "-o", str(out)]) == 2
    assert "--download" in capsys.readouterr().err
