"""The figures in README.md and docs are those that the benchmarks wrote: none is retyped."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import record_scores

ROOT = Path(__file__).resolve().parents[1]
SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "write-tables"), run_name="write_tables")
PAGES = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in SCRIPT["pages"]()}


@pytest.mark.parametrize("page", PAGES)
def test_every_marked_figure_is_the_benchmark_s_own(page: str) -> None:
    assert SCRIPT["filled"](PAGES[page]) == PAGES[page], "run scripts/write-tables"


@pytest.mark.parametrize("page", PAGES)
def test_no_line_begins_with_a_figure(page: str) -> None:
    """A line that begins with a comment is HTML to Markdown: what follows on it would show as it is typed."""
    assert not re.findall(r"^\s*<!-- figure: .*", PAGES[page], re.MULTILINE)


def test_the_figures_are_of_the_bundle_that_is_packaged() -> None:
    """Whoever packages another measures it: benchmarks/record_scores.py puts the scores in their places."""
    manifest, results = SCRIPT["manifest"](), SCRIPT["result"]
    for section, values in results("segment")["constants"].items():
        assert values == manifest["segment"][section], section
    scores = record_scores.segment_scores(results("segment")) | record_scores.inpaint_scores(results("inpaint"))
    scores |= record_scores.erase_scores(results("erase"))
    for name in ("presence-voc-animals", "presence-flickr8k"):
        scores |= record_scores.presence_scores(results(name))
    assert scores == manifest["scores"]


def test_every_table_and_figure_can_be_written() -> None:
    for name, make in SCRIPT["TABLES"].items():
        assert make().count("\n|") >= 2, name
    for name, make in SCRIPT["FIGURES"].items():
        assert re.search(r"\d", make()), name


def test_what_is_between_the_marks_is_replaced_and_nothing_else() -> None:
    text = "before <!-- figure: erase.things -->x<!-- end --> after\n<!-- table: speed -->old<!-- end -->\n"
    new = SCRIPT["filled"](text)
    things = SCRIPT["FIGURES"]["erase.things"]()
    assert new.startswith(
        f"before <!-- figure: erase.things -->{things}<!-- end --> after\n<!-- table: speed -->\n\n| sea.jpg"
    )
    assert SCRIPT["filled"](new) == new


@pytest.mark.parametrize("text", ["<!-- table: no-such -->\n<!-- end -->", "<!-- figure: erase.things -->76"])
def test_a_wrong_mark_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"no table|without its"):
        SCRIPT["filled"](text)
