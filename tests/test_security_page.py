"""SECURITY.md names a test for each promise: they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def named_tests() -> list[str]:
    """`tests/test_x.py::test_y`; a name that begins with `::` belongs to the file before it."""
    found, file = [], ""
    for name in re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?|::\w+)`", PAGE):
        file = file if name.startswith("::") else name.split("::")[0]
        found.append(file + name[name.index("::") :] if "::" in name else file)
    return found


@pytest.mark.parametrize("name", named_tests())
def test_a_named_test_is_there(name: str) -> None:
    file, _, function = name.partition("::")
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^def {function or 'test_'}", text, re.MULTILINE)


def test_every_row_names_one() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "promise |" not in line]
    assert len(rows) > 15
    assert all("`tests/" in row for row in rows)


@pytest.mark.parametrize("link", re.findall(r"\]\(([\w/.]+)\)", PAGE))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
