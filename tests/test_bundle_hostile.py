"""Bundles that somebody made to harm, or that damage made so: refused by name, or used; never another error."""

from __future__ import annotations

import copy
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tests.conftest import averaging_network
from tests.hostile_bundles import Edit, make, record, refusal, use, whole

from unsay.bundle import MANIFEST, MOST_FILES, load_bundle, read_manifest
from unsay.errors import BundleError
from unsay.runtime import Session, runtime


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
def test_a_value_of_any_type_or_size(tmp_path: Path, where: str) -> None:
    folder = make(tmp_path)
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
            r"reads \['image', 'mask'\] .* its manifest says",
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
def test_a_manifest_that_lies(tmp_path: Path, edit: Edit, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        use(make(tmp_path, edit))


def test_a_manifest_of_many_files_or_odd_ones(tmp_path: Path) -> None:
    entry = {"bytes": 1, "sha256": "0" * 64}
    with pytest.raises(BundleError, match=f"lists {MOST_FILES + 1} files; a bundle has at most {MOST_FILES}"):
        read_manifest(make(tmp_path, setting("files", {str(n): entry for n in range(MOST_FILES + 1)})) / MANIFEST)
    for wrong in ({"bytes": True}, {"bytes": -1}, {"sha256": "zz"}, {"sha256": "A" * 64}, {"sha256": "0" * 65}):
        with pytest.raises(BundleError, match="must list every file"):
            read_manifest(make(tmp_path, setting("files", {"a": entry | wrong})) / MANIFEST)


@pytest.mark.parametrize(
    "name", ["a\0b", "a" * 300, "\udcff", "..", "", ".", "../../etc/passwd", "x/../filler.onnx", "./filler.onnx"]
)
def test_names_that_no_file_of_a_bundle_has(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path, setting("inpaint/file", name))
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


def test_a_swapped_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path)
    (folder / "filler.onnx").write_bytes((folder / "filler.onnx").read_bytes()[::-1])
    monkeypatch.setattr("unsay.bundle.Session", lambda *_: pytest.fail("opened"))
    with pytest.raises(BundleError, match=r"filler\.onnx has sha256 .*, its manifest says .*: install it again"):
        use(folder)


@pytest.mark.parametrize("name", [MANIFEST, "filler.onnx"])
def test_a_link_out_of_the_folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder, elsewhere = make(tmp_path), tmp_path_factory.mktemp("elsewhere") / name
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(BundleError, match="link to"):
        use(folder)


def test_a_link_to_itself(tmp_path: Path) -> None:
    folder = make(tmp_path)
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Any, message: str
) -> None:
    monkeypatch.setattr("unsay.bundle.Session", lambda *_: pytest.fail("opened"))
    with pytest.raises(BundleError, match=message):
        use(make(tmp_path, filler_onnx=model))


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
def test_shapes_that_the_manifest_does_not_say(tmp_path: Path, name: str, shape: list[Any], message: str) -> None:
    def change(graph: onnx.GraphProto) -> None:
        (old,) = (value for value in graph.input if value.name == name)
        old.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    with pytest.raises(BundleError, match=message):
        use(make(tmp_path, filler_onnx=changed(change)))


def test_what_the_runtime_refuses_is_the_bundles(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A graph that is well formed and makes no sense: on opening, and on running."""
    broken = changed(lambda graph: graph.node[0].input.__setitem__(0, "nowhere"))
    with pytest.raises(BundleError, match=r"filler\.onnx cannot be opened by ONNX Runtime"):
        use(make(tmp_path, filler_onnx=broken))
    shapes = changed(lambda graph: graph.node.insert(0, helper.make_node("Concat", ["image", "mask"], ["x"], axis=3)))
    with pytest.raises(BundleError, match=r"filler\.onnx"):
        use(make(tmp_path, filler_onnx=shapes))
    assert capfd.readouterr().out == ""  # standard output is for results


# whatever the damage: in the suite a few, with `-m slow` many


def damaged(seed: int, flips: int) -> str:
    """Flip bits of one file, record it as it is now, use it: why it is refused, nothing where it can be used."""
    choose = random.Random(seed)
    name = choose.choice(sorted(set(whole()) - {MANIFEST}))
    content = bytearray(whole()[name])
    for _ in range(flips):
        content[choose.randrange(len(content))] ^= 1 << choose.randrange(8)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for other, kept in whole().items():
            (folder / other).write_bytes(kept)
        (folder / name).write_bytes(content)
        record(folder)
        return refusal(folder)


def is_clear(message: str) -> bool:
    """One line about the bundle or a file of it; or nothing, for a bundle that works all the same."""
    return not message or ("\n" not in message and any(name in message for name in (*whole(), "bundle")))


CHANGES = given(seed=st.integers(0, 2**32), flips=st.integers(1, 8))


@settings(max_examples=40)
@CHANGES
def test_flipped_bits(seed: int, flips: int) -> None:
    assert is_clear(damaged(seed, flips))


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@CHANGES
def test_many_flipped_bits(seed: int, flips: int) -> None:
    assert is_clear(damaged(seed, flips))


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
