"""What README.md and docs say can be followed: links lead on, commands exist, snippets run, all is there."""

from __future__ import annotations

import contextlib
import io
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
import yaml

import unsay
from unsay.cli import app, main

ROOT = Path(__file__).resolve().parents[1]
HOOKS: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "docs_hooks.py"))
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / source for source in HOOKS["PAGES"])]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
TESTED = re.compile(r"<!-- tested: (\w+) -->\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENDS = re.compile(r"^(\||&&|;|\d?>>?.*|<.*)$")
COMMANDS = typer.main.get_command(app)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def code_of(name: str) -> tuple[str, ...]:
    """Lines of code blocks that are typed into a shell, continued lines joined."""
    text = text_of(name)
    blocks = [match[3] for match in FENCE.finditer(text) if match[2] in ("", "sh", "bash", "console")]
    rest = FENCE.sub("", text)
    blocks += ["\n".join(line.strip() for line in re.findall(r"(?m)^ {4}.*$", rest))]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(blocks))
    return tuple(line.strip() for line in joined.splitlines())


def commands_of(name: str) -> Iterator[str]:
    """Every `unsay ...` of a page, in code blocks and in sentences."""
    for line in code_of(name):
        for part in re.findall(r"(?:^|&& |\| |sh -c '|torchrun .* -m unsay\.cli )(unsay .*|(?<=unsay\.cli ).*)", line):
            yield part if part.startswith("unsay ") else f"unsay {part}"
    for code in INLINE.findall(FENCE.sub("", text_of(name))):
        if code.startswith("unsay ") and " [" not in code:
            yield code


def words_of(command: str) -> list[str]:
    """The words of one command, up to the shell's next; `...`, brackets and explaining columns are left out."""
    command = re.split(r" {2,}(?!-)", command)[0].replace("[", "").replace("]", "")
    try:
        words = shlex.split(command, comments=True)
    except ValueError:  # a quote that closes elsewhere, as in sh -c '...'
        words = command.split()
    out = []
    for word in words:
        if ENDS.match(word):
            break
        out += [word] if word.strip(".") else []
    return out[1:]


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    text = FENCE.sub("", text_of(name))
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (ROOT / name).parent / path if path else ROOT / name
        assert place.exists(), f"{name} links to {target}"
        assert place.resolve().is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(place.resolve()), f"{name} links to {target}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"(?m)^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_every_command_exists_with_its_options(name: str) -> None:
    for line in commands_of(name):
        words, command, path = words_of(line), COMMANDS, "unsay"
        while words and getattr(command, "commands", None) and not words[0].startswith("-"):
            assert words[0] in command.commands, f"{name}: no command {path} {words[0]}"
            command, path = command.commands[words[0]], f"{path} {words.pop(0)}"
        known = {option: one for one in command.params for option in [*one.opts, *one.secondary_opts]}
        for i, word in enumerate(words):
            option, equals, _ = word.partition("=")
            if word.startswith("-") and word != "-" and not re.match(r"-\d", word):
                assert option in known or option == "--help", f"{name}: {path} has no {option}: {line}"
                if not equals and option in known and not known[option].is_flag and line in code_of(name):
                    assert i + 1 < len(words), f"{name}: {option} without its value: {line}"


@pytest.mark.parametrize("name", NAMES)
def test_every_script_and_target_exists(name: str) -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):", text_of("Makefile")))
    code = "\n".join([*code_of(name), *INLINE.findall(FENCE.sub("", text_of(name)))])
    for path in re.findall(r"\b((?:scripts|benchmarks)/[\w.-]+\w)", code):
        assert (ROOT / path).exists() or (ROOT / f"{path}.py").exists(), f"{name}: {path}"
    for module in re.findall(r"-m ((?:unsay|fuzz)(?:\.\w+)*)", code):
        place = module.replace(".", "/")
        found = [ROOT / top / place for top in ("src", ".")]
        assert any(one.with_suffix(".py").exists() or one.is_dir() for one in found), f"{name}: {module}"
    for target in re.findall(r"(?m)^make ([a-z]+)", code):
        assert target in targets, f"{name}: make {target}"
    for path in re.findall(r"\b((?:src/unsay/|tests/)[\w./-]+\w)", code):
        assert list(ROOT.glob(path)), f"{name}: {path}"


def navigation() -> list[str]:
    """The pages in mkdocs.yml, in order."""

    class Plain(yaml.SafeLoader):
        pass

    Plain.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)
    found: list[str] = []

    def walk(part: Any) -> None:
        if isinstance(part, str):
            found.append(part)
        for one in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            walk(one)

    walk(yaml.load(text_of("mkdocs.yml"), Plain)["nav"])
    return found


def test_the_navigation_has_every_page_once() -> None:
    own = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert sorted(navigation()) == sorted({*own, *HOOKS["PAGES"].values()}), "add the page to nav in mkdocs.yml"


def test_the_reference_has_every_public_name() -> None:
    shown = set(re.findall(r"(?m)^::: unsay\.(\w+)$", text_of("docs/reference/python.md")))
    assert set(unsay.__all__) <= shown


def test_the_page_about_the_commands_has_every_command() -> None:
    def paths(command: Any, path: str) -> Iterator[str]:
        yield path
        for name, child in getattr(command, "commands", {}).items():
            if not child.hidden:
                yield from paths(child, f"{path} {name}")

    headings = set(re.findall(r"(?m)^#+ (unsay.*)$", text_of("docs/cli.md")))
    assert set(paths(COMMANDS, "unsay")) <= headings


def test_the_drawn_figures_are_small() -> None:
    for picture in (ROOT / "docs" / "pictures").glob("how-*"):
        assert picture.stat().st_size <= 150_000, picture.name


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<script src="https://cdn.example/x.js"></script>', ["https://cdn.example/x.js"]),
        ("<img alt=x src=//cdn.example/x.png>", ["//cdn.example/x.png"]),
        ('<link rel="stylesheet" href="https://fonts.example/css">', ["https://fonts.example/css"]),
        ('<link href="https://fonts.example" rel=preconnect>', ["https://fonts.example"]),
        ("a{background:url('https://x.example/a.png')}", ["https://x.example/a.png"]),
        ('@import "https://x.example/a.css";', ["https://x.example/a.css"]),
        ('<a href="https://example.org">a link may leave</a> <link rel="canonical" href="https://example.org">', []),
        ('<img src="pictures/a.jpg"><script src="assets/x.js"></script> url(data:image/svg+xml;base64,AA)', []),
    ],
)
def test_what_a_page_would_load_from_outside_is_found(html: str, found: list[str]) -> None:
    assert HOOKS["outside"](html) == found


@pytest.mark.parametrize(
    ("target", "source", "site", "link"),
    [
        ("docs/cli.md", "README.md", "index.md", "cli.md"),
        ("../SECURITY.md", "docs/files.md", "files.md", "security.md"),
        ("../../src/unsay/bundles/starter/CARD.md", "docs/guides/own-pairs.md", "guides/own-pairs.md", "../card.md"),
        ("../benchmarks/results/kill.txt", "docs/figures.md", "figures.md", "results/kill.txt"),
        ("https://example.org", "README.md", "index.md", "https://example.org"),
    ],
)
def test_links_of_the_repository_become_the_site_s(target: str, source: str, site: str, link: str) -> None:
    assert HOOKS["site_link"](target, source, site) == link


def test_a_link_to_what_the_site_lacks_is_an_error() -> None:
    with pytest.raises(Exception, match="does not have"):
        HOOKS["site_link"]("../pyproject.toml", "docs/files.md", "files.md")


def snippet(page: str, name: str) -> str:
    return next(code for given, code in TESTED.findall(text_of(page)) if given == name)


def printed(code: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "snippet", "exec"), {})  # our own pages' code
    return out.getvalue()


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guide")
    shutil.copy(ROOT / "examples" / "sea.jpg", folder / "photo.jpg")
    return folder / "photo.jpg"


@pytest.fixture(scope="module")
def truth(photo: Path) -> dict[str, int]:
    found = unsay.segment(photo, ["orca", "boat"])
    return {word: int(found.mask(word).sum()) for word in found.words}


@pytest.mark.parametrize("kind", ["labels", "coco", "labelme"])
def test_annotations_are_read_back_as_the_guide_does(
    kind: str, photo: Path, truth: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo.parent)
    assert main(["segment", "photo.jpg", "orca", "boat", "--format", kind]) == 0
    code = snippet("docs/guides/annotation.md", kind)
    text = printed(code)
    if kind == "labels":
        assert text == f"{truth}\n"
    else:
        pairs = re.findall(r"(orca|boat)\D+(?:0\.\d+ )?(\d+)", text)
        sums = {word: sum(int(n) for w, n in pairs if w == word) for word in truth}
        slack = 0 if kind == "coco" else 0.03
        assert all(abs(sums[word] - truth[word]) <= slack * truth[word] for word in truth), text


def test_the_guide_s_segmentation_in_python_runs(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photo.parent)
    assert "('orca', 'boat')" in printed(snippet("docs/guides/annotation.md", "python"))


def test_the_guide_s_loop_over_photos_runs(tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    shutil.copy(photo, tmp_path / "photos" / "sea.jpg")
    cv2.imwrite("photos/grey.jpg", np.full((64, 64, 3), 128, np.uint8))
    (tmp_path / "photos" / "none.jpg").write_bytes(b"no photo")
    code = snippet("docs/guides/many-photos.md", "many").replace('"dog"', '"orca"')
    text = printed(code)
    assert [path.name for path in sorted(Path("out").iterdir())] == ["sea.jpg"]
    assert "grey.jpg shows" in text
    assert "none.jpg" in text
    before = Path("out/sea.jpg").stat().st_mtime_ns
    printed(code)
    assert Path("out/sea.jpg").stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_guide_s_batch_runs(tmp_path: Path, photo: Path) -> None:
    """In a process of its own, as the page has it: Ray starts processes that import the script anew."""
    (tmp_path / "photos").mkdir()
    shutil.copy(photo, tmp_path / "photos" / "sea.jpg")
    (tmp_path / "photos" / "none.jpg").write_bytes(b"no photo")
    code = snippet("docs/guides/many-photos.md", "batch").replace('"dog"', '"orca"')
    (tmp_path / "script.py").write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "2 photos, 1 failed\n", done.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*.jpg")) == ["sea.jpg"]


@pytest.mark.slow
def test_the_guide_s_own_filler_is_imported_and_used(tmp_path: Path, photo: Path) -> None:
    """In a process of its own: torch's exporter warns."""
    (tmp_path / "net.py").write_text(snippet("docs/guides/own-weights.md", "onnx"), encoding="utf-8")
    subprocess.run([sys.executable, "-W", "ignore", "net.py"], cwd=tmp_path, check=True, capture_output=True)
    shutil.copytree(ROOT / "src" / "unsay" / "bundles" / "starter", tmp_path / "my-bundle")
    options = next(words_of(c) for c in commands_of("docs/guides/own-weights.md") if "import onnx mine.onnx" in c)[3:-2]
    ways = [str(tmp_path / "mine.onnx"), *options, "-o", str(tmp_path / "my-bundle")]
    assert main(["import", "onnx", *ways]) == 0
    assert main(["erase", str(photo), "orca", "--bundle", str(tmp_path / "my-bundle"), "--json"]) == 0
    assert json.loads((tmp_path / "my-bundle" / "bundle.json").read_text())["inpaint"]
