"""What a word covers and whose relative it is, on a WordNet of a dozen meanings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unsay.training.wordnet import lower_case_things, read_wordnet, related_words, write_data

MEANINGS = {
    "01": ("05", "animal", ""),
    "02": ("05", "hoofed_animal", "01"),
    "03": ("05", "gazelle", "02"),
    "04": ("05", "ox", "02"),
    "05": ("05", "giraffe", "02"),
    "06": ("05", "worm", "01"),
    "07": ("06", "garment", ""),
    "08": ("06", "jersey", "07"),
    "09": ("18", "baker", ""),
    "10": ("05", "cock", "01"),
    "11": ("05", "rooster", "06"),
    "12": ("03", "idea", ""),
    "13": ("18", "groom", "09"),
    "14": ("05", "Giraffidae", "02"),
    "15": ("18", "ballplayer", "09"),
    "16": ("18", "scuba_diver", "09"),
}
"""Offset -> lexicographer file, word, the meaning above."""
CLASSES = ["n03", "n04", "n08", "n10"]
CALLED = ["gazelle", "ox", "jersey", "Rooster"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data, index = ["  1 a licence\n"], ["  1 a licence\n"]
    for offset, (file, word, above) in MEANINGS.items():
        pointers = f"001 @ {above} n 0000" if above else "000"
        data.append(f"{offset} {file} n 01 {word} 0 {pointers} | what it is\n")
        index.append(f"{word.lower()} n 1 1 @ 1 0 {offset}\n")
    (tmp_path / "data.noun").write_text("".join(data))
    (tmp_path / "index.noun").write_text("".join(index))
    return tmp_path


def test_words_that_cover_no_class_get_the_families_near_them(folder: Path) -> None:
    net, ids = read_wordnet(folder), [i[1:] for i in CLASSES]
    found = related_words(net, ids, {"giraffe", "worm", "baker", "idea"})
    families = {
        word: [found["families"][i] for i in numbers] for numbers, words in found["words"] for word in words.split("|")
    }
    assert families == {"giraffe": [[0, 1, 3], [0, 1]], "worm": [[0, 1, 3]], "baker": [[2]]}
    assert found["worn"] == [2]


def test_what_is_written(folder: Path) -> None:
    """A class is also what people call it; a word that covers a class needs no relatives; no Latin names."""
    out = folder / "out.json"
    write_data(folder, CLASSES, CALLED, ["ox", "baker"], out)
    data = json.loads(out.read_text())
    assert data["names"] == [["gazelle"], ["ox"], ["jersey"], ["cock"]]
    assert data["classes"]["hoofed animal"] == [0, 1]
    assert data["classes"]["rooster"] == [3]
    related = {word for _, words in data["related"]["words"] for word in words.split("|")}
    assert data["classes"]["giraffe"] == [0, 1], "those right above are so few that they stand for it"
    assert "baker" in related
    assert not related & set(data["classes"])
    assert "giraffidae" not in lower_case_things(folder)
    assert data["above"]["ox"] == ["animal", "hoofed animal"]
