"""The page in a real browser, against the real server: what a person does, and what comes of it."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from web.browser import FAINT_TEXTS, SEA, STATIC, Person, chromium, served

pytestmark = pytest.mark.slow

Enter = Callable[..., Person]
ORCA, BOAT = (250, 480), (600, 440)
"""Pixels of examples/sea.jpg (768 x 576) that show these."""
GROW = 8


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("serve")) as where:
        yield where


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture
def enter(browser: Browser, address: str) -> Iterator[Enter]:
    """Somebody opens the page; at the end nothing went wrong there and nothing was loaded from elsewhere."""
    people: list[Person] = []

    def one(**window: Any) -> Person:
        people.append(Person(browser, address, **window))
        return people[-1]

    yield one
    for person in people:
        person.leave()


@pytest.fixture(scope="module")
def sea_png(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "sea.png"
    Image.open(SEA).save(path)
    return path


def pixels(data: bytes | Path) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data) if isinstance(data, bytes) else data))


def grown(mask: np.ndarray, by: int) -> np.ndarray:
    """The mask, wider by at most `by` pixels in any direction: nothing outside of it may change."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * by + 1, 2 * by + 1), np.uint8)) > 0


# --- from a photo to a photo -----------------------------------------------------------------------------------------


def test_words_brush_erase_undo_download(enter: Enter, sea_png: Path) -> None:
    person = enter()
    person.open(sea_png)
    person.find("orca")
    assert "Found “orca”" in person.says()
    shown = person.overlay()
    assert shown[2 * ORCA[1], 2 * ORCA[0]] > 0  # twice the photo's size
    assert shown[100, 100] == 0

    person.tool("brush")
    person.size(30)
    person.drag((80, 500), (180, 500))
    assert "marked by hand" in person.marked()

    person.page.click("summary")
    person.page.fill("#grow", str(GROW))
    mask = person.erase()
    assert mask.shape == (576, 768)
    assert mask[ORCA[1], ORCA[0]]
    assert mask[500, 100]

    drag_the_line(person, 0.25)

    name, data = person.download("#get-photo")
    assert name == "sea.unsaid.png"
    before, after = pixels(sea_png), pixels(data)
    outside = ~grown(mask, GROW)
    np.testing.assert_array_equal(after[outside], before[outside])
    assert np.abs(after[mask].astype(int) - before[mask]).mean() > 10


def drag_the_line(person: Person, share: float) -> None:
    """Take the line between before and after by its grip, and move it."""
    page = person.page
    grip, photo = page.locator("#split .grip").bounding_box(), page.locator("#picture").bounding_box()
    assert grip is not None
    assert photo is not None
    y = grip["y"] + grip["height"] / 2
    page.mouse.move(grip["x"] + grip["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(photo["x"] + share * photo["width"], y, steps=5)
    page.mouse.up()
    expect(page.locator("#split")).to_have_attribute("aria-valuenow", str(round(100 * share)))
    assert page.evaluate("before.style.clipPath").startswith("inset(0")


def test_undo_and_redo_go_over_everything(enter: Enter) -> None:
    person = enter()
    person.open(SEA)
    original = person.picture()
    person.find("orca")
    person.tool("brush")
    person.drag((80, 520), (160, 520))
    drawn = person.marked()
    person.erase()
    erased = person.picture()
    assert np.abs(erased.astype(int) - original).max() > 50

    press_and_wait(person, "Control+z", "Brush")
    assert person.marked() == drawn
    np.testing.assert_array_equal(person.picture(), original)
    press_and_wait(person, "Control+z", "orca")
    assert "marked by hand" not in person.marked()
    press_and_wait(person, "Control+z", "Photo")
    assert person.page.locator(".chip").count() == 0
    assert "Nothing" in person.marked()
    for label in ("orca", "Brush", "Erased orca, more by hand"):
        press_and_wait(person, "Control+Shift+z", label)
    np.testing.assert_array_equal(person.picture(), erased)
    expect(person.page.locator("#redo")).to_be_disabled()


def press_and_wait(person: Person, keys: str, label: str) -> None:
    """Go one step through the history, to the entry of that name."""
    person.page.keyboard.press(keys)
    expect(person.page.locator("#history [aria-current]")).to_have_text(label)
    expect(person.page.locator("#status")).to_contain_text("Back at")


def test_going_on_from_the_result(enter: Enter) -> None:
    person = enter()
    person.open(SEA)
    person.find("orca")
    person.erase()
    person.find("boat")
    person.erase()
    expect(person.page.locator("#history [aria-current]")).to_have_text("Erased boat")
    assert "orca" not in person.page.inner_text("#suggestions")
    after = person.picture()
    press_and_wait(person, "Control+z", "boat")
    person.page.click("#history li:nth-child(3) button")  # after the orca: another way from there
    expect(person.page.locator("#history [aria-current]")).to_have_text("Erased orca")
    person.tool("brush")
    person.drag((100, 100), (150, 150))
    person.erase()
    assert person.page.locator("#history li").count() == 5
    assert np.abs(person.picture().astype(int) - after).max() > 50


def test_jpeg_keeps_the_other_blocks(enter: Enter, tmp_path: Path) -> None:
    person = enter()
    person.open(SEA)
    person.find("orca")
    person.page.click("summary")
    person.page.fill("#grow", str(GROW))
    mask = person.erase()
    name, data = person.download("#get-photo")
    assert name == "sea.unsaid.jpg"
    path = tmp_path / name
    path.write_bytes(data)
    hole = grown(mask, GROW)
    kept = 0
    for before, after in zip(coefficients(SEA), coefficients(path), strict=True):
        away = ~touched(hole, before.shape[:2])
        np.testing.assert_array_equal(after[away], before[away])
        kept += int(away.sum())
    assert kept > 5000


def coefficients(path: Path) -> list[np.ndarray]:
    """The blocks of each component [rows, columns, 8, 8]."""
    import jpeglib

    read = jpeglib.read_dct(str(path))
    return [np.asarray(read.Y), np.asarray(read.Cb), np.asarray(read.Cr)]


def touched(hole: np.ndarray, blocks: tuple[int, ...]) -> np.ndarray:
    """Which blocks of a component have a pixel of the hole in them, or beside them where chroma is smoothed."""
    rows, columns = blocks
    side = 8 if columns * 8 >= hole.shape[1] else 16
    wide = np.zeros((rows * side, columns * side), bool)
    part = grown(hole, 2)[: rows * side, : columns * side]
    wide[: part.shape[0], : part.shape[1]] = part
    return wide.reshape(rows, side, columns, side).any(axis=(1, 3))


def test_brush_alone(enter: Enter, sea_png: Path) -> None:
    """Nothing is named: the mask is what was drawn, to the pixel."""
    person = enter()
    person.open(sea_png)
    person.tool("brush")
    person.size(40)
    person.drag((120, 120), (220, 120))
    person.tool("eraser")
    person.size(20)
    person.drag((170, 80), (170, 160))
    person.page.click("summary")
    person.page.fill("#grow", "0")
    mask = person.erase()
    assert mask[120, 130]
    assert mask[120, 210]
    assert not mask[:, 162:178].any()
    assert abs(int(mask[:, 120:140].any(axis=1).sum()) - 40) <= 2
    _, data = person.download("#get-png")
    before, after = pixels(sea_png), pixels(data)
    np.testing.assert_array_equal(after[~mask], before[~mask])
    assert (after[mask] != before[mask]).any()


# --- words -----------------------------------------------------------------------------------------------------------


def test_not_found_says_what_there_is(enter: Enter) -> None:
    person = enter()
    person.open(SEA)
    person.find("moon")
    assert "Not found: “moon”" in person.says()
    assert "seems to show" in person.says()
    expect(person.page.locator(".chip-missing")).to_contain_text("not found")
    expect(person.page.locator("#erase")).to_be_disabled()
    person.page.click(".suggestion >> text=boat")
    person.settled()
    expect(person.page.locator(".chip-found")).to_contain_text("boat")


def test_commas_make_chips_and_switches_switch(enter: Enter) -> None:
    person = enter()
    person.open(SEA)
    person.page.locator("#word").press_sequentially("orca, boat,")
    person.settled()
    assert person.page.locator(".chip-found").count() == 2
    assert "orca, boat" in person.marked()
    person.page.click(".chip-switch >> text=boat")
    assert person.page.get_attribute(".chip:nth-child(2) .chip-switch", "aria-checked") == "false"
    assert "boat" not in person.marked()
    mask = person.erase()
    assert mask[ORCA[1], ORCA[0]]
    assert not mask[BOAT[1], BOAT[0]]


def test_pieces_and_strokes_survive_another_word(enter: Enter) -> None:
    person = enter()
    person.open(SEA)
    person.find("orca")
    person.click(*ORCA)
    assert "left out" in person.says()
    assert "orca" not in person.marked()
    person.tool("brush")
    person.drag((100, 100), (160, 100))
    person.find("boat")
    mask = person.erase()
    assert mask[BOAT[1], BOAT[0]]
    assert mask[100, 130]
    assert not mask[ORCA[1], ORCA[0]]


def test_piece_clicked_twice_is_back(enter: Enter) -> None:
    person = enter()
    person.open(SEA)
    person.find("orca")
    before = person.marked()
    person.click(*ORCA)
    person.click(*ORCA)
    assert person.marked() == before


def test_a_click_without_a_word_marks_what_is_there(enter: Enter) -> None:
    person = enter()
    person.open(SEA)
    person.click(115, 210)  # the moon, which no word finds
    person.until("document.querySelector('#status').textContent.includes('region under the click')")
    marked = cv2.resize(np.uint8(person.overlay() > 0), (768, 576), interpolation=cv2.INTER_NEAREST)
    assert marked[190:230, 95:135].all()
    assert marked.mean() < 0.1
    person.click(115, 210)
    person.until("document.querySelector('#status').textContent.includes('no longer marked')")
    assert person.marked() == "Nothing is marked yet."


def test_removed_word_takes_its_clicks_along(enter: Enter) -> None:
    person = enter()
    person.open(SEA)
    person.find("orca")
    before = person.marked()
    person.click(*ORCA)
    person.page.click(".chip-remove")
    person.settled()
    person.find("orca")
    assert person.marked() == before


def test_refused_word_goes_back_to_the_field(enter: Enter) -> None:
    person = enter()
    person.open(SEA)
    word = "x" * 900
    person.page.fill("#word", word)
    person.page.press("#word", "Enter")
    person.page.wait_for_selector("#problem:not([hidden])")
    expect(person.page.locator("#word")).to_have_value(word)
    assert person.page.locator(".chip").count() == 0
    nothing_overflows(person)


def test_a_new_word_overtakes_the_question_before(enter: Enter) -> None:
    """The first question is never answered; the second asks for both words."""
    person = enter()
    person.open(SEA)
    held: list[Any] = []

    def hold(route: Any) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    person.page.route("**/find", hold)
    person.page.fill("#word", "boat")
    person.page.press("#word", "Enter")
    person.find("orca")
    assert "boat, orca" in person.marked()
    person.page.unroute("**/find")
    assert person.page.locator(".chip-found").count() == 2
    assert len(held) == 1


# --- files -----------------------------------------------------------------------------------------------------------


def test_cutout_is_transparent_elsewhere(enter: Enter) -> None:
    person = enter()
    person.open(SEA)
    person.find("orca")
    name, data = person.download("#get-cutout")
    assert re.fullmatch(r"sea\.\w*\.?png", name)
    image = Image.open(io.BytesIO(data))
    assert image.mode == "RGBA"
    alpha = np.asarray(image)[..., 3]
    assert (alpha == 0).mean() > 0.5
    assert alpha.max() == 255


def test_masks_as_labels_coco_labelme(enter: Enter) -> None:
    person = enter()
    person.open(SEA)
    person.find("orca, boat")
    person.tool("brush")
    person.drag((100, 100), (140, 100))
    _, labels = person.download("#get-labels")
    values = pixels(labels)
    assert values.shape == (576, 768)
    assert values[ORCA[1], ORCA[0]] == 1
    assert values[BOAT[1], BOAT[0]] == 2
    assert values[100, 120] == 3
    _, coco = person.download("#get-coco")
    names = [one["name"] for one in json.loads(coco)["categories"]]
    assert {"orca", "boat", "marked by hand"} <= set(names)
    _, labelme = person.download("#get-labelme")
    assert {"orca", "boat"} <= {shape["label"] for shape in json.loads(labelme)["shapes"]}


def test_png_by_hand_is_exact(enter: Enter) -> None:
    """Masks of odd sizes written and read by the page; and a file of Pillow's with every filter."""
    page = enter().page
    equal = page.evaluate(
        """async () => {
            const { encodeGrey, decodeGrey } = await import('/static/js/png.js');
            for (const [w, h] of [[1, 1], [7, 3], [1000, 611]]) {
                const before = Uint8Array.from({ length: w * h }, (_, i) => (i * 2654435761) >>> 24);
                const after = await decodeGrey(await encodeGrey(before, w, h));
                if (after.width !== w || after.height !== h) return false;
                if (after.pixels.some((value, i) => value !== before[i])) return false;
            }
            return true;
        }"""
    )
    assert equal
    image = np.clip(
        np.add.outer(np.arange(97), np.arange(61)) + np.random.default_rng(0).integers(0, 9, (97, 61)), 0, 255
    )
    for filtered in range(5):
        assert decoded(page, png_with_filter(image.astype(np.uint8), filtered)) == image.ravel().tolist()
    buffer = io.BytesIO()
    Image.fromarray(image > 80).save(buffer, "PNG")
    assert decoded(page, buffer.getvalue()) == (image > 80).astype(int).ravel().tolist()


def decoded(page: Any, png: bytes) -> list[int]:
    """What the page reads in a PNG."""
    script = """async text => {
        const { decodeGrey, fromBase64 } = await import('/static/js/png.js');
        return Array.from((await decodeGrey(fromBase64(text))).pixels);
    }"""
    return page.evaluate(script, base64.b64encode(png).decode())


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_with_filter(image: np.ndarray, kind: int) -> bytes:
    """A grey PNG, all rows by one filter."""
    height, width = image.shape
    padded = np.zeros((height + 1, width + 1), int)
    padded[1:, 1:] = image
    left, up, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    distance = [abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)]
    paeth = np.where(
        (distance[0] <= distance[1]) & (distance[0] <= distance[2]),
        left,
        np.where(distance[1] <= distance[2], up, corner),
    )
    guess = [0 * left, left, up, (left + up) // 2, paeth][kind]
    rows = np.concatenate([np.full((height, 1), kind), (image - guess) % 256], axis=1).astype(np.uint8)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def claiming_png() -> bytes:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


@pytest.mark.parametrize(
    ("name", "data"), [("notes.jpg", b"I am no photo.\n" * 50), ("huge.png", claiming_png()), ("empty.jpg", b"")]
)
def test_what_is_no_photo_is_refused_in_a_sentence(enter: Enter, tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    person = enter()
    person.page.set_input_files("#file", str(path))
    person.page.wait_for_selector("#problem:not([hidden])")
    sentence = person.page.inner_text("#problem-text")
    assert len(sentence) > 15
    assert "Traceback" not in sentence
    expect(person.page.locator("#start")).to_be_visible()
    person.open(SEA)  # and one can go on
    expect(person.page.locator("#problem")).to_be_hidden()


def test_names_are_text(enter: Enter, tmp_path: Path) -> None:
    path = tmp_path / "<img src=x onerror=alert(1)>&amp;.jpg"
    path.write_bytes(SEA.read_bytes())
    person = enter()
    person.open(path)
    assert "img src=x onerror=alert(1)" in person.page.inner_text("#photo-name")
    assert person.page.locator("#photo-name *").count() == 0
    person.find("<b>orca</b>")
    assert person.page.locator("main b").count() == 0
    assert "<b>orca</b>" in person.page.inner_text("#chips") or person.page.locator("#problem").is_visible()


def test_two_people_do_not_meet(enter: Enter, sea_png: Path) -> None:
    one, other = enter(), enter()
    one.open(SEA)
    other.open(sea_png)
    one.find("orca")
    other.find("boat")
    one.erase()
    mask = other.erase()
    assert mask[BOAT[1], BOAT[0]]
    assert one.page.inner_text("#photo-name") == "sea.jpg"
    assert other.page.inner_text("#photo-name") == "sea.png"
    here, there = one.picture().astype(int), other.picture()
    assert np.abs(here - there)[BOAT[1] - 20 : BOAT[1] + 20, BOAT[0] - 20 : BOAT[0] + 20].mean() > 10


def test_busy_server_is_waited_for(enter: Enter) -> None:
    """While the server is busy the page says how many wait, and asks again when it is told to come later."""
    person = enter()
    person.open(SEA)
    refused: list[Any] = []
    busy = {"error": "busy: 8 jobs wait", "status": 429}

    def refuse_once(route: Any) -> None:
        if refused:
            person.page.wait_for_timeout(1500)
            route.continue_()
        else:
            refused.append(route)
            route.fulfill(status=429, headers={"Retry-After": "1"}, json=busy)

    waiting = {"waiting": 3, "running": 2, "limits": {}}
    person.page.route("**/api/status", lambda route: route.fulfill(json=waiting))
    person.page.route("**/find", refuse_once)
    person.page.fill("#word", "orca")
    person.page.press("#word", "Enter")
    expect(person.page.locator("#status")).to_contain_text("3 waiting")
    person.settled()
    assert "orca" in person.marked()
    refused.clear()
    person.page.route("**/erase?*", refuse_once)
    person.page.click("#erase")
    expect(person.page.locator("#working-note")).to_have_text("3 waiting")
    person.page.wait_for_selector("#split:not([hidden])")


def test_cancel_cancels(enter: Enter, address: str, tmp_path: Path) -> None:
    big = tmp_path / "big.jpg"
    Image.open(SEA).resize((4000, 3000)).save(big)
    person = enter()
    person.open(big)
    person.tool("brush")
    person.size(900)
    person.drag((1000, 1000), (3000, 2000))
    with person.page.expect_request(lambda request: "/erase" in request.url) as sent:
        person.page.click("#erase")
    person.page.click("#cancel")
    expect(person.page.locator("#status")).to_contain_text("Cancelled")
    assert "marked by hand" in person.marked()
    photo = re.search(r"/api/photos/[^/]+", sent.value.url)
    assert photo is not None
    assert httpx.get(address.rstrip("/") + photo.group()).json()["steps"] == 0
    for _ in range(100):
        if httpx.get(f"{address}api/status").json()["running"] == 0:
            break
        person.page.wait_for_timeout(100)
    else:
        raise AssertionError("the server still works on what was cancelled")


def test_photo_that_was_let_go_is_opened_again(enter: Enter, address: str) -> None:
    person = enter()
    person.open(SEA)
    person.find("orca")
    httpx.delete(address.rstrip("/") + photo_of(person)).raise_for_status()
    person.page.click("#erase")
    person.page.wait_for_selector("#problem:not([hidden])")
    assert "let this photo go" in person.page.inner_text("#problem-text")
    person.page.click("#problem-action")
    expect(person.page.locator("#history [aria-current]")).to_have_text("Opened again")
    assert "orca" in person.marked()
    assert person.erase()[ORCA[1], ORCA[0]]


def test_leaving_lets_the_photo_go(enter: Enter, address: str) -> None:
    person = enter()
    person.open(SEA)
    photo = address.rstrip("/") + photo_of(person)
    assert httpx.get(photo).status_code == 200
    person.page.goto("about:blank")
    for _ in range(50):
        if httpx.get(photo).status_code == 404:
            return
        person.page.wait_for_timeout(100)
    raise AssertionError("the photo is still there")


def photo_of(person: Person) -> str:
    """The path of the photo that somebody has open."""
    found = [re.search(r"/api/photos/[^/?]+", url) for url in person.asked]
    return [match.group() for match in found if match][-1]


# --- how it can be used ----------------------------------------------------------------------------------------------


def test_keyboard_alone(enter: Enter) -> None:
    person = enter()
    page = person.page
    page.wait_for_selector(".sample")
    person.tab_to(".sample")
    page.keyboard.press("Enter")
    page.wait_for_selector("#editor:not([hidden])")
    expect(page.locator("#word")).to_be_focused()
    page.keyboard.type("orca, boat")
    page.keyboard.press("Enter")
    person.settled()
    person.tab_to(".chip:nth-child(2) .chip-switch")
    page.keyboard.press("Space")
    assert "boat" not in person.marked()
    draw_with_keys(person)
    person.tab_to("#erase")
    page.keyboard.press("Enter")
    page.wait_for_selector("#split:not([hidden])")
    expect(page.locator("#split")).to_be_focused()
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#split", "aria-valuenow") == "52"
    page.keyboard.press("Home")
    assert page.get_attribute("#split", "aria-valuenow") == "0"
    press_and_wait(person, "Control+z", "Brush")
    press_and_wait(person, "Control+Shift+z", "Erased orca, more by hand")
    person.tab_to("#download", "Shift+Tab")
    page.keyboard.press("Enter")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "sea.unsaid.jpg"


def draw_with_keys(person: Person) -> None:
    """Take the brush, go to the photo, draw a line to the left."""
    page = person.page
    person.tab_to("input[name=tool]")
    page.keyboard.press("ArrowRight")
    expect(page.locator("input[value=brush]")).to_be_checked()
    person.tab_to("#stage", "Shift+Tab")
    page.keyboard.press("]")
    for key in ("ArrowUp", "Enter", "ArrowLeft", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    assert "marked by hand" in person.marked()


@pytest.mark.parametrize("width", [360, 390])
def test_phone(enter: Enter, width: int) -> None:
    person = enter(viewport={"width": width, "height": 740}, has_touch=True, is_mobile=True, device_scale_factor=2)
    page = person.page
    page.wait_for_selector(".sample")
    nothing_overflows(person)
    person.open(SEA)
    person.find("orca, moon")
    person.tool("brush")
    nothing_overflows(person)
    for selector in (
        "#word",
        "#erase",
        "#undo",
        "#download",
        "#size",
        "summary",
        ".chip-switch",
        ".chip-remove",
        "#zoom-in",
    ):
        in_sight(person, selector)
    touch_stroke(person)
    assert "marked by hand" in person.marked()
    pinch(person)
    person.erase()
    nothing_overflows(person)
    page.tap("#download")
    nothing_overflows(person)
    for selector in ("#get-photo", "#get-labelme"):
        in_sight(person, selector)


def nothing_overflows(person: Person) -> None:
    assert person.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def in_sight(person: Person, selector: str) -> None:
    """It can be brought into the window, whole."""
    one = person.page.locator(selector).first
    one.scroll_into_view_if_needed()
    box, window = one.bounding_box(), person.page.viewport_size
    assert box is not None
    assert window is not None
    assert box["x"] >= -1
    assert box["y"] >= -1
    assert box["x"] + box["width"] <= window["width"] + 1
    assert box["y"] + box["height"] <= window["height"] + 1


def pinch(person: Person) -> None:
    """Two fingers enlarge the photo, and draw nothing though the brush is taken."""
    before, scale = person.marked(), person.page.inner_text("#zoom-now")
    devtools = person.context.new_cdp_session(person.page)
    for kind, apart in (("touchStart", 0), ("touchStart", 20), ("touchMove", 40), ("touchMove", 60)):
        x, y = 180, 200
        points = [{"x": x - apart, "y": y, "id": 1}, {"x": x + apart, "y": y, "id": 2}][: 2 if apart else 1]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert person.page.inner_text("#zoom-now") != scale
    expect(person.page.locator("#marked")).to_have_text(before)


def touch_stroke(person: Person) -> None:
    """A finger over the photo, as the browser's own events."""
    devtools = person.context.new_cdp_session(person.page)
    for kind, place in (("touchStart", (100, 100)), ("touchMove", (140, 110)), ("touchMove", (200, 120))):
        x, y = person.at(*place)
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(enter: Enter, scheme: Any) -> None:
    person = enter(color_scheme=scheme)
    person.page.wait_for_selector(".sample")
    faint = faint_texts(person)
    person.open(SEA)
    person.find("orca, moon")
    person.page.click("summary")
    faint += faint_texts(person)
    person.erase()
    person.page.click("#download")
    assert faint + faint_texts(person) == []
    dark = person.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(22, 24, 23)"
    assert dark == (scheme == "dark")


def faint_texts(person: Person) -> list[str]:
    """Texts on the page, except of controls that are off, whose contrast is below 4.5."""
    return person.page.evaluate(FAINT_TEXTS)


def test_zoom_and_pan(enter: Enter) -> None:
    person = enter()
    person.open(SEA)
    person.page.mouse.move(*person.at(*BOAT))
    before = person.at(*BOAT)
    person.page.mouse.wheel(0, -400)
    person.page.wait_for_timeout(100)
    after = person.at(*BOAT)
    assert np.hypot(after[0] - before[0], after[1] - before[1]) < 2  # what is under the pointer stays there
    person.tool("brush")
    person.page.mouse.move(*before)
    person.page.keyboard.down("Space")
    person.page.mouse.down()
    person.page.mouse.move(before[0] - 60, before[1] - 40, steps=4)
    person.page.mouse.up()
    person.page.keyboard.up("Space")
    assert "Nothing" in person.marked()
    moved = person.at(*BOAT)
    assert moved[0] < before[0] - 30


def test_pasted_and_dropped(enter: Enter) -> None:
    """A photo from the clipboard, then another one dropped over it."""
    person = enter()
    data = base64.b64encode(SEA.read_bytes()).decode()
    script = """([text, kind]) => {
        const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], `${kind}ed.jpg`, { type: 'image/jpeg' }));
        const options = { bubbles: true, cancelable: true };
        const event = kind === 'past' ? new ClipboardEvent('paste', { ...options, clipboardData: transfer })
            : new DragEvent('drop', { ...options, dataTransfer: transfer });
        document.body.dispatchEvent(event);
    }"""
    for kind in ("past", "dropp"):
        person.page.evaluate(script, [data, kind])
        expect(person.page.locator("#photo-name")).to_have_text(f"{kind}ed.jpg")


def test_page_names_no_other_place() -> None:
    """No script, style, font or picture from elsewhere; nothing that the policy would have to allow."""
    texts = [path for path in STATIC.rglob("*") if path.suffix in (".html", ".css", ".js")]
    assert len(texts) > 10
    for path in texts:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?:https?:)?//[\w.-]+\.\w+/", text.replace("http://www.w3.org/2000/svg", "")), path
        assert "eval(" not in text
        assert "innerHTML" not in text
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?! type=\"module\" src=)", page)


def test_samples_are_listed_and_small() -> None:
    listed = json.loads((STATIC / "samples" / "samples.json").read_text(encoding="utf-8"))
    files = [STATIC / "samples" / Path(one["file"]).name for one in listed]
    assert len(files) == 3
    assert all(one["licence"] and one["source"] and one["words"] for one in listed)
    assert all(file.stat().st_size < 200_000 for file in files)
    noted = (STATIC / "samples" / "README.md").read_text(encoding="utf-8")
    assert all(file.name in noted for file in files)
