from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import unsay
from unsay.bundle import FORMAT, MANIFEST, load_bundle, packaged_bundles, sha256
from unsay.errors import BadInput, BundleError

CONTENT = b"not a network, but a file"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(**changes)`: a bundle with one file, `thing.bin`, whose manifest is changed at the top level."""

    def make(**changes: Any) -> Path:
        (tmp_path / "thing.bin").write_bytes(CONTENT)
        files = {"thing.bin": {"sha256": sha256(tmp_path / "thing.bin"), "bytes": len(CONTENT)}}
        manifest = {"format": FORMAT, "name": "mine", "files": files, "inpaint": {"file": "thing.bin"}} | changes
        (tmp_path / MANIFEST).write_text(json.dumps(manifest))
        return tmp_path

    return make


def test_opens_a_folder_once(write: Write) -> None:
    folder = write()
    bundle = load_bundle(folder)
    assert load_bundle(str(folder)) is bundle
    assert load_bundle(bundle) is bundle
    assert bundle.name == "mine"
    assert bundle.file("thing.bin").read_bytes() == CONTENT
    assert bundle.section("inpaint") == {"file": "thing.bin"}


def test_parts_are_built_once(write: Write) -> None:
    bundle = load_bundle(write())
    built = [bundle.part("key", object) for _ in range(2)]
    assert built[0] is built[1]


def test_a_part_that_is_not_there(write: Write) -> None:
    with pytest.raises(BundleError, match=r"'mine' cannot segment.*no 'segment' part"):
        load_bundle(write()).section("segment")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"sha256": "0" * 64, "bytes": len(CONTENT)}, r"has sha256 [0-9a-f]{12}\.\.\., its manifest says 000000000000"),
        ({"sha256": "0" * 64, "bytes": 7}, "has 25 bytes, its manifest says 7: install it again"),
    ],
)
def test_a_changed_file(write: Write, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        load_bundle(write(files={"thing.bin": entry})).file("thing.bin")


@pytest.mark.parametrize("name", ["../thing.bin", "sub/thing.bin", "/etc/hostname", ".."])
def test_a_file_outside_the_folder(write: Write, name: str) -> None:
    entry = {"sha256": "0" * 64, "bytes": len(CONTENT)}
    with pytest.raises(BundleError, match="outside its folder"):
        load_bundle(write(files={name: entry})).file(name)


def test_a_link_to_a_file_outside(write: Write, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other") / "thing.bin"
    other.write_bytes(CONTENT)
    folder = write()
    (folder / "thing.bin").unlink()
    (folder / "thing.bin").symlink_to(other)
    with pytest.raises(BundleError, match="outside its folder"):
        load_bundle(folder).file("thing.bin")


def test_a_missing_file(write: Write) -> None:
    bundle = load_bundle(write())
    (bundle.path / "thing.bin").unlink()
    with pytest.raises(BundleError, match=r"lacks its file 'thing\.bin': install it again"):
        bundle.file("thing.bin")
    with pytest.raises(BundleError, match=r"lists no file 'other\.bin'"):
        bundle.file("other.bin")


def test_a_file_that_is_no_network(write: Write) -> None:
    with pytest.raises(BundleError, match=r"is not a network that Unsay opens: its name does not end in \.onnx"):
        load_bundle(write()).session("thing.bin")


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (FORMAT + 1, f"of format {FORMAT + 1}; .* reads format {FORMAT}: update Unsay"),
        (FORMAT - 1, f"of format {FORMAT - 1}; .* reads format {FORMAT}: export or import the bundle again"),
        ("1", f"has '1' as its format; expected {FORMAT}: export the bundle again"),
        (True, "has 'True' as its format"),
        (None, "has 'None' as its format"),
    ],
)
def test_another_format_says_what_to_do(write: Write, version: object, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        load_bundle(write(format=version))


def test_what_a_later_version_of_this_format_adds_is_left_alone(write: Write) -> None:
    assert load_bundle(write(upscale={"file": "other.onnx"}, author="me")).name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "it has no name"),
        ('{"name": 3}', "it has no name"),
        (f'{{"name": "a", "format": {FORMAT}}}', "must list every file"),
        (f'{{"name": "a", "format": {FORMAT}, "files": {{"b": {{"bytes": "1"}}}}}}', "must list every file"),
        (" " * 4_000_001, "has 4000001 bytes; a manifest has at most"),
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=message):
        load_bundle(tmp_path)


def test_a_manifest_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(BundleError, match="is not JSON"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("name", ["nonesuch", "../starter", ""])
def test_no_such_bundle(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=r"neither a folder with bundle\.json nor packaged"):
        load_bundle(name)


@pytest.mark.parametrize("threads", [-1, 100_000, 1.5, "2"])
def test_threads_that_no_machine_should_start_are_refused(threads: object) -> None:
    with pytest.raises(BadInput, match="to 256"):
        load_bundle("starter", threads=threads)  # type: ignore[arg-type]


@pytest.mark.parametrize("bundle", [None, 3])
def test_what_names_no_bundle_is_refused(bundle: object) -> None:
    with pytest.raises(BadInput, match="by name or folder"):
        load_bundle(bundle)  # type: ignore[arg-type]


def test_the_packaged_ones_verify() -> None:
    for name in packaged_bundles():
        bundle = unsay.load_bundle(name)
        assert {path.name for path in bundle.path.iterdir()} == {MANIFEST, *bundle.manifest["files"]}
        for file in bundle.manifest["files"]:
            bundle.file(file)
