"""Bundles that somebody made to harm, or that damage made so: refused by name, or used; never another error."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import random
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tests.conftest import averaging_network, write_tiny_bundle
from tests.segmentation.conftest import write_colour_bundle

from unsay.bundle import MANIFEST, MOST_FILES, Bundle, load_bundle, read_manifest
from unsay.errors import BundleError
from unsay.inpainting.filler import Filler
from unsay.runtime import Session, runtime
from unsay.segmentation import segment_pixels
from unsay.segmentation.lexicon import bundle_lexicon, pack_rows
from unsay.segmentation.text import MOST_TOKENIZER_BYTES
from unsay.training.bundling import write_part

RGB = np.full((48, 64, 3), 127, np.uint8)
RGB[12:36, 8:28], RGB[12:36, 40:56] = (250, 5, 5), (5, 5, 250)
HOLE = np.zeros((48, 64), bool)
HOLE[10:20, 10:30] = True
Make = Callable[..., Path]
Edit = Callable[[dict[str, Any]], Any]


def use(folder: Path) -> None:
    """Everything that a bundle is opened for."""
    bundle = Bundle(folder, read_manifest(folder / MANIFEST), threads=1)
    if "inpaint" in bundle.manifest:
        Filler.of(bundle).fill(RGB, HOLE)
    if "features.onnx" in bundle.manifest["files"]:
        segment_pixels(RGB, ["red", "puce"], bundle)


def refusal(folder: Path) -> str:
    """Why the bundle is refused; nothing where it can be used. Any other error is one too many."""
    try:
        use(folder)
    except BundleError as error:
        return str(error)
    return ""


def record(folder: Path) -> None:
    """Make the manifest say of every file what is true of it."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for name in manifest["files"]:
        content = (folder / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a small bundle with all parts: it fills by averaging, segments by colour and has a lexicon."""
    folder = write_colour_bundle(write_tiny_bundle(tmp_path_factory.mktemp("whole")))
    words = {"vocabulary": ["red", "puce"], "photos": [900, 3], "visible": [0], "narrower": {"colour": [0, 1]}}
    words |= {"classes": {"red": [0]}, "related": {"families": [[0, 1]], "words": [[[0], "pink|rose"]], "worn": [1]}}
    (folder / "words.json").write_text(json.dumps(words))
    rows = np.array([(1, -1, -1, 0.3), (0, 0, 0, 1)], np.float32)
    bank = {"bank_mean": np.zeros(4, np.float32), "bank_spread": np.eye(4, dtype=np.float32)}
    np.savez(
        folder / "words.npz", allow_pickle=False, **pack_rows("vocabulary", rows), **pack_rows("classes", rows), **bank
    )
    section = json.loads((folder / MANIFEST).read_bytes())["segment"]
    section["lexicon"] = {"words": "words.json", "vectors": "words.npz"}
    write_part(folder, "segment", section, files=["words.json", "words.npz"])
    use(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def make(whole: dict[str, bytes], tmp_path: Path) -> Make:
    """`make(edit=..., **files)`: the bundle with these files replaced, recorded, and its manifest edited."""

    def write(edit: Edit | None = None, **files: bytes | onnx.ModelProto) -> Path:
        for name, content in whole.items():
            (tmp_path / name).write_bytes(content)
        for stem, content in files.items():
            name = stem.replace("_", ".")
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
        record(tmp_path)
        if edit is not None:
            manifest = json.loads((tmp_path / MANIFEST).read_bytes())
            edit(manifest)
            (tmp_path / MANIFEST).write_text(json.dumps(manifest))
        return tmp_path

    return write


def setting(path: str, value: Any) -> Edit:
    """An edit: the value at "inpaint.mean" and the like."""

    def edit(manifest: dict[str, Any]) -> None:
        *parts, last = path.split("/")
        for part in parts:
            manifest = manifest[part]
        manifest[last] = value

    return edit


# what the manifest says


@pytest.mark.parametrize(
    "where",
    [
        *(
            f"inpaint/{k}"
            for k in ("file", "multiple", "max_side", "mean", "std", "mask", "inputs", "output", "layout")
        ),
        *(f"inpaint/{k}" for k in ("colours", "pad", "grow", "match_rim", "output_mean", "output_std")),
        *(f"segment/{k}" for k in ("features", "grouping", "encoder", "text", "lexicon", "recognition")),
        *(f"segment/features/{k}" for k in ("file", "side", "multiple", "mean", "deviation")),
        *(f"segment/grouping/{k}" for k in ("maps", "method", "channels", "options")),
        *(f"segment/grouping/options/{k}" for k in ("groups", "height", "smallest", "superpixels")),
        *(f"segment/encoder/{k}" for k in ("file", "maps", "side", "patch")),
        *(f"segment/text/{k}" for k in ("file", "tokenizer", "templates")),
        *(f"segment/lexicon/{k}" for k in ("words", "vectors")),
        *(f"segment/recognition/{k}" for k in ("temperature", "threshold", "background", "things")),
    ],
)
def test_a_value_of_any_type_or_size(make: Make, where: str) -> None:
    folder = make()
    before = json.loads((folder / MANIFEST).read_bytes())
    for value in (None, True, -1, 0, 1e300, 10**400, "", "x\0y", "\udcff", "a" * 2000, [], [1], [[]], {}, {"a": {}}):
        manifest = copy.deepcopy(before)
        setting(where, value)(manifest)
        (folder / MANIFEST).write_text(json.dumps(manifest))
        assert len(refusal(folder)) < 1000


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (setting("inpaint/max_side", 10**9), "max_side 1000000000; give a whole number from 1 to 4096"),
        (setting("segment/features/side", 10**9), "side 1000000000; give a whole number from 1 to 4096"),
        (setting("segment/text/templates", ["{0.__class__}"]), "each needs one {} where the word goes"),
        (setting("segment/text/templates", ["{:>999999999}"]), "each needs one {} where the word goes"),
        (setting("segment/text/templates", ["{}"] * 101), "give a list of at most 100 texts"),
        (setting("segment/recognition/background", ["a"] * 1001), "give a list of at most 1000 texts"),
        (setting("segment/grouping/options", {"superpixels": {"side": 400, "step": 0}}), "step is 0"),
        (setting("segment/grouping/options", {"exec": 1}), "has no option 'exec'"),
        (setting("inpaint/data", "filler.onnx.data"), "weights have to lie in the graph's own file: export or import"),
        (setting("inpaint/output", "result"), r"gives \['fill'\]; its manifest says .* and 'result'"),
        (
            setting("inpaint/inputs", {"x": ["image"], "mask": ["mask"]}),
            r"reads \['image', 'mask'\]; its manifest says",
        ),
        (
            setting("inpaint/inputs", {"image": ["mask"], "mask": ["image"]}),
            r"reads 'image' of shape \[1, 3, .*says \[1, 1",
        ),
        (setting("inpaint/layout", "NHWC"), r"reads 'image' of shape \[1, 3, 'free', 'free'\]; its manifest says"),
        (setting("segment/encoder/maps", ["depth"]), "needs 'depth'"),
        (
            setting("segment/encoder", {"file": "text.onnx", "maps": ["colour"]}),
            r"text.onnx .* reads \['ids', 'mask'\]",
        ),
        (setting("segment/text/file", "features.onnx"), r"features.onnx .* reads \['pixels'\]; its manifest says"),
        (setting("segment/features/file", "words.json"), r"does not end in \.onnx"),
        (setting("segment/text/tokenizer", "words.json"), "model of type 'None'; known: BPE"),
        (setting("segment/lexicon/vectors", "words.json"), "words.json does not hold a lexicon's arrays"),
    ],
)
def test_a_manifest_that_lies(make: Make, edit: Edit, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        use(make(edit))


def test_a_manifest_of_many_files_or_odd_ones(make: Make) -> None:
    entry = {"bytes": 1, "sha256": "0" * 64}
    with pytest.raises(BundleError, match=f"lists {MOST_FILES + 1} files; a bundle has at most {MOST_FILES}"):
        read_manifest(make(setting("files", {str(n): entry for n in range(MOST_FILES + 1)})) / MANIFEST)
    for wrong in ({"bytes": True}, {"bytes": -1}, {"sha256": "zz"}, {"sha256": "A" * 64}, {"sha256": "0" * 65}):
        with pytest.raises(BundleError, match="must list every file"):
            read_manifest(make(setting("files", {"a": entry | wrong})) / MANIFEST)


@pytest.mark.parametrize("name", ["a\0b", "a" * 300, "\udcff", "..", "", ".", "../../etc/passwd", "sub/../filler.onnx"])
def test_names_that_no_file_of_a_bundle_has(make: Make, name: str) -> None:
    folder = make(setting("inpaint/file", name))
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][name] = manifest["files"]["filler.onnx"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError):
        use(folder)


@pytest.mark.parametrize(
    "text", ['{"name": NaN}', '{"a": -Infinity}', '{"name": ' + "[" * 10**5, '{"a": ' + "9" * 10**5 + "}"]
)
def test_json_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match="is not JSON"):
        load_bundle(tmp_path)


# files that are not what the manifest says, or not where


def test_a_swapped_file_is_not_opened(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make()
    (folder / "filler.onnx").write_bytes((folder / "filler.onnx").read_bytes()[::-1])
    monkeypatch.setattr("unsay.bundle.Session", lambda *_: pytest.fail("opened"))
    with pytest.raises(BundleError, match=r"filler\.onnx has sha256 .*, its manifest says .*: install it again"):
        use(folder)


@pytest.mark.parametrize("name", [MANIFEST, "filler.onnx"])
def test_a_link_out_of_the_folder(make: Make, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder, elsewhere = make(), tmp_path_factory.mktemp("elsewhere") / name
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(BundleError, match="link to"):
        use(folder)


def test_a_link_to_itself(make: Make) -> None:
    folder = make()
    (folder / "filler.onnx").unlink()
    (folder / "filler.onnx").symlink_to("filler.onnx")
    with pytest.raises(BundleError):
        use(folder)


def changed(change: Callable[[onnx.GraphProto], Any]) -> onnx.ModelProto:
    model = averaging_network()
    change(model.graph)
    return model


def outside() -> onnx.TensorProto:
    weight = TensorProto(name="w", dims=[1], data_type=1, data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="bundle.json")
    return weight


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (changed(lambda g: g.initializer.append(outside())), "lies in another file"),
        (changed(lambda g: g.node.append(helper.make_node("Run", [], ["x"], domain="evil"))), "domain 'evil'"),
        (averaging_network().SerializeToString()[:-20], "cut short"),
        (b"ORTM" * 100, "is not a network that Unsay opens"),
        (b"", "holds no graph"),
    ],
)
def test_what_can_be_seen_in_the_file_never_reaches_the_runtime(
    make: Make, monkeypatch: pytest.MonkeyPatch, model: Any, message: str
) -> None:
    monkeypatch.setattr("unsay.bundle.Session", lambda *_: pytest.fail("opened"))
    with pytest.raises(BundleError, match=message):
        use(make(filler_onnx=model))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("image", [1, 4, "H", "W"], r"reads 'image' of shape \[1, 4, .* its manifest says \[1, 3"),
        (
            "image",
            [1, 3, 64, 64],
            r"reads 'image' of shape \[1, 3, 64, 64\]; its manifest says \[1, 3, 'free', 'free'\]",
        ),
        ("mask", [1, 1, "H"], "reads 'mask' of shape"),
    ],
)
def test_shapes_that_the_manifest_does_not_say(make: Make, name: str, shape: list[Any], message: str) -> None:
    def change(graph: onnx.GraphProto) -> None:
        (old,) = (value for value in graph.input if value.name == name)
        old.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    with pytest.raises(BundleError, match=message):
        use(make(filler_onnx=changed(change)))


def test_what_the_runtime_refuses_is_the_bundles(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    """A graph that is well formed and makes no sense: on opening, and on running."""
    broken = changed(lambda graph: graph.node[0].input.__setitem__(0, "nowhere"))
    with pytest.raises(BundleError, match=r"filler\.onnx cannot be opened by ONNX Runtime"):
        use(make(filler_onnx=broken))
    shapes = changed(lambda graph: graph.node.insert(0, helper.make_node("Concat", ["image", "mask"], ["x"], axis=3)))
    with pytest.raises(BundleError, match=r"filler\.onnx"):
        use(make(filler_onnx=shapes))
    assert capfd.readouterr().out == ""  # standard output is for results


# tokenizer and words


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "model of type 'None'"),
        (b"{}", "model of type 'None'"),
        (b'{"model": {"type": "WordLevel", "vocab": {}}}', "no vocabulary"),
        (b'{"model": {"type": "WordLevel", "vocab": {"a": -1}}}', "no vocabulary of tokens numbered"),
        (b'{"model": {"type": "WordLevel", "vocab": {"a": 1e9}}}', "no vocabulary of tokens numbered"),
        (b'{"model": {"type": "WordLevel", "vocab": {"a": 1}}}', "no tokenizer that can be used"),
        (b"[" * 10**5, "is not JSON"),
        (b" " * (MOST_TOKENIZER_BYTES + 1), "a tokenizer has at most"),
    ],
)
def test_a_tokenizer_that_is_none(make: Make, content: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        use(make(tokenizer_json=content, edit=lambda m: m["segment"].pop("lexicon")))


def test_tokens_that_the_encoder_does_not_know(make: Make, whole: dict[str, bytes]) -> None:
    stored = json.loads(whole["tokenizer.json"])
    stored["model"]["vocab"] = {word: 1000 + n for n, word in enumerate(stored["model"]["vocab"])}
    with pytest.raises(BundleError, match=r"text\.onnx failed in ONNX Runtime"):
        use(make(tokenizer_json=json.dumps(stored).encode(), edit=lambda m: m["segment"].pop("lexicon")))


WORDS: dict[str, Any] = {"vocabulary": ["red", "puce"], "photos": [1, 1], "visible": [], "narrower": {}, "classes": {}}


@pytest.mark.parametrize(
    "words",
    [
        [],
        {},
        WORDS | {"vocabulary": ["red"]},
        WORDS | {"vocabulary": ["red", 3]},
        WORDS | {"vocabulary": ["red", "red"]},
        WORDS | {"photos": [1]},
        WORDS | {"photos": [1, -1]},
        WORDS | {"photos": [1, 1.5]},
        WORDS | {"visible": [2]},
        WORDS | {"visible": [-1]},
        WORDS | {"visible": [True]},
        WORDS | {"visible": "01"},
        WORDS | {"narrower": []},
        WORDS | {"narrower": {"a": [2]}},
        WORDS | {"narrower": {"a": 1}},
        WORDS | {"classes": {"a": [2]}},
        WORDS | {"classes": {"a": ["b"]}},
        WORDS | {"related": []},
        WORDS | {"related": {"families": [[5]], "words": [], "worn": []}},
        WORDS | {"related": {"families": [[1]], "words": [[[1], "a"]], "worn": []}},
        WORDS | {"related": {"families": [[1]], "words": [[[0], 3]], "worn": []}},
        WORDS | {"related": {"families": [[1]], "words": [], "worn": [2]}},
    ],
)
def test_words_that_are_none(make: Make, words: Any) -> None:
    with pytest.raises(BundleError, match=r"words\.json does not hold a lexicon's words: .*install it again"):
        use(make(words_json=json.dumps(words).encode()))


def packed(**arrays: bytes | np.ndarray) -> bytes:
    """An .npz, sound unless `arrays` replace some (bytes: as they are; None would be missing)."""
    rows = np.eye(2, 4, dtype=np.float32)
    found: dict[str, Any] = {
        "vocabulary": rows,
        "classes": rows,
        "bank_mean": rows[0],
        "bank_spread": np.eye(4, dtype="f4"),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in (found | arrays).items():
            content = io.BytesIO()
            if isinstance(value, bytes):
                content.write(value)
            elif value is not None:
                np.save(content, value)
            if value is not None:
                archive.writestr(f"{name}.npy", content.getvalue())
    return stream.getvalue()


def header(shape: tuple[int, ...], kind: str = "<f4", body: bytes = b"") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"shape": shape, "fortran_order": False, "descr": kind})
    return stream.getvalue() + body


class Evil:
    """What would run if anything unpickled it."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("unpickled",)


def test_arrays_that_are_sound(make: Make) -> None:
    folder = make(words_npz=packed())
    assert bundle_lexicon(Bundle(folder, read_manifest(folder / MANIFEST))).vectors.shape == (2, 4)


@pytest.mark.parametrize(
    "arrays",
    [
        {"vocabulary": None},
        {"vocabulary": np.array([[Evil()]], object)},
        {"vocabulary": np.zeros((2, 3), np.float32)},
        {"vocabulary": np.zeros(4, np.float32)},
        {"classes": np.zeros((2, 0), np.float32)},
        {"bank_spread": np.full((4, 4), np.nan, np.float32)},
        {"bank_mean": np.zeros(3, np.float32)},
        {"vocabulary_scale": np.ones((3, 1), np.float32)},
        {"vocabulary": header((1 << 40, 4))},
        {"vocabulary": header((2, 4), body=b"\0" * 31)},
        {"vocabulary": header((-2, -4), body=b"\0" * 32)},
        {"vocabulary": header((2, 4), "|O", b"\0" * 64)},
        {"vocabulary": header((2, 4), "<U9", b"\0" * 288)},
        {"vocabulary": b"\x93NUMPY\x01\x00\x10\x00{'a': exit()}   "},
        {"vocabulary": b""},
        {"vocabulary": header((1 << 27, 1), "|i1", b"\0" * (1 << 27)) + b"\0" * (1 << 27)},
    ],
)
def test_arrays_that_are_none(make: Make, arrays: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match=r"words\.npz does not hold a lexicon's arrays: .*install it again"):
        use(make(words_npz=packed(**arrays)))


# whatever the damage: in the suite a few, with `-m slow` many


def damaged(whole: dict[str, bytes], seed: int, flips: int) -> None:
    """Flip bits of one file, record it as it is now, use it."""
    choose = random.Random(seed)
    name = choose.choice(sorted(set(whole) - {MANIFEST}))
    content = bytearray(whole[name])
    for _ in range(flips):
        content[choose.randrange(len(content))] ^= 1 << choose.randrange(8)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for other, kept in whole.items():
            (folder / other).write_bytes(kept)
        (folder / name).write_bytes(content)
        record(folder)
        refusal(folder)


CHANGES = given(seed=st.integers(0, 2**32), flips=st.integers(1, 8))
SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=40, suppress_health_check=SHARED)
@CHANGES
def test_flipped_bits(whole: dict[str, bytes], seed: int, flips: int) -> None:
    damaged(whole, seed, flips)


@pytest.mark.slow
@settings(max_examples=2000, suppress_health_check=SHARED, deadline=None)
@CHANGES
def test_many_flipped_bits(whole: dict[str, bytes], seed: int, flips: int) -> None:
    damaged(whole, seed, flips)


# nothing is reported


@pytest.fixture
def fresh() -> Iterator[None]:
    runtime.cache_clear()
    yield
    runtime.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_the_runtimes_telemetry_is_off_before_a_session_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(averaging_network(), tmp_path / "a.onnx")
    made = onnxruntime.InferenceSession
    calls = []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: calls.append("off"))
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **k: calls.append("session") or made(*a, **k))
    Session(tmp_path / "a.onnx")
    assert calls == ["off", "session"]
