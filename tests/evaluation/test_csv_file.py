import csv
from pathlib import Path

import pytest

from unsay.errors import BadInput
from unsay.evaluation.csv_file import write_csv

ROWS = [{"filler": "Telea, radius 5", "psnr": 20.5}, {"filler": 'the "best"', "psnr": 0.1 + 0.2}]


def test_a_table_is_read_back_as_it_was(tmp_path: Path) -> None:
    write_csv(ROWS, tmp_path / "table.csv")
    with open(tmp_path / "table.csv", encoding="utf-8", newline="") as stream:
        read = list(csv.DictReader(stream))
    assert [{"filler": row["filler"], "psnr": float(row["psnr"])} for row in read] == ROWS
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_a_table_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot write the table to"):
        write_csv(ROWS, tmp_path / "none" / "table.csv")
