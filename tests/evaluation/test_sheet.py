from pathlib import Path

import cv2
import numpy as np
import pytest

from unsay.errors import BadInput
from unsay.evaluation.sheet import BAR, HOLE_COLOUR, Sheet, show_hole
from unsay.evaluation.tables import text_table


def picture(colour: tuple[int, int, int], height: int = 30, width: int = 60) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def test_rows_and_columns_stand_in_their_order(tmp_path: Path) -> None:
    sheet = Sheet(tmp_path / "sheet.png", rows=2, cell=40)
    sheet.add("first", photo=picture((250, 10, 20)), ours=picture((10, 250, 20)))
    sheet.add("sécond", photo=picture((10, 20, 250)))
    sheet.add("third is one too many", photo=picture((0, 0, 0)))
    assert sheet.full
    drawn = cv2.imread(str(sheet.write()))[..., ::-1]
    assert drawn.shape == (2 * (20 + 2 * BAR + 4), 2 * 44, 3)
    middle = 2 * BAR + 10
    assert drawn[middle, 20].tolist() == [250, 10, 20]
    assert drawn[middle, 64].tolist() == [10, 250, 20]
    assert drawn[20 + 2 * BAR + 4 + middle, 20].tolist() == [10, 20, 250]
    assert drawn[20 + 2 * BAR + 4 + middle, 64].tolist() == [255, 255, 255]
    assert (drawn[:BAR] < 128).any()  # the title
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


def test_the_hole_is_shown_in_its_colour() -> None:
    hole = np.zeros((30, 60), bool)
    hole[3, 4] = True
    shown = show_hole(picture((9, 9, 9)), hole)
    assert tuple(shown[3, 4]) == HOLE_COLOUR
    assert (shown[~hole] == 9).all()


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"must end in .jpg or .png"):
        Sheet(tmp_path / "sheet.gif")
    with pytest.raises(BadInput, match="0 rows on a sheet; from 1 to 64"):
        Sheet(tmp_path / "sheet.png", rows=0)
    with pytest.raises(BadInput, match="no case was judged"):
        Sheet(tmp_path / "sheet.jpg").write()
    lost = Sheet(tmp_path / "none" / "sheet.jpg")
    lost.add("row", photo=picture((1, 2, 3)))
    with pytest.raises(BadInput, match="cannot write the sheet"):
        lost.write()


def test_a_table_is_aligned_markdown() -> None:
    table = text_table(["filler", "PSNR"], [["Telea", 20.5], ["Navier-Stokes", float("nan")], ["n", 12]], digits=1)
    assert table.splitlines() == [
        "| filler        | PSNR |",
        "|---------------|-----:|",
        "| Telea         | 20.5 |",
        "| Navier-Stokes |    - |",
        "| n             |   12 |",
    ]
