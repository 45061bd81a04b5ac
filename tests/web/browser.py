"""A real `unsay serve` and a real Chromium, and what a person does with them."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "src" / "unsay" / "web" / "static"
SEA = ROOT / "examples" / "sea.jpg"
CHROMIUM = Path("/usr/bin/chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]
PATIENCE = 60_000
"""Milliseconds: what a job may take on a machine that does other things too."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """`unsay serve` on a free port, as a person starts it; gives its address."""
    log = folder / "serve.log"
    places = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in places if p), "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "unsay", "serve", "--port", "0"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        yield _address(process, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(600):
        found = re.search(r"http://\S+", log.read_text())
        if found:
            return found.group()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
            break
    raise AssertionError(f"unsay serve did not start: {log.read_text()}")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; without it these tests fail, rather than being left out unnoticed."""
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing, and the page cannot be tried without it: apt-get install chromium")
    with sync_playwright() as play:
        browser = _launch(play)
        yield browser
        browser.close()


def _launch(play: Playwright) -> Browser:
    return play.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)


class Person:
    """Somebody at the page, with a browser window of their own. Watches what the page asks for and what goes wrong."""

    def __init__(self, browser: Browser, address: str, **window: Any) -> None:
        self.address = address
        self.context: BrowserContext = browser.new_context(accept_downloads=True, **window)
        self.context.set_default_timeout(PATIENCE)
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.page: Page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", self._heard)
        self.page.goto(address)

    def _heard(self, message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.wrong.append(message.text)

    def leave(self) -> None:
        """Close the window; nothing went wrong in it, and nothing was asked of anybody else."""
        self.context.close()
        assert self.wrong == []
        assert [url for url in self.asked if not url.startswith((self.address, "blob:", "data:"))] == []

    # what a person does

    def open(self, photo: Path) -> None:
        """Choose a photo, and wait until it is seen."""
        self.page.set_input_files("#file", str(photo))
        self.page.wait_for_selector("#editor:not([hidden])")
        self.until("picture.naturalWidth > 0")

    def find(self, words: str) -> None:
        """Type words, Enter, and wait for the answer."""
        self.page.fill("#word", words)
        self.page.press("#word", "Enter")
        self.settled()

    def settled(self) -> None:
        """Wait until no word is being asked for."""
        self.page.wait_for_selector("#finding", state="hidden")
        self.until("!document.querySelector('.chip-asking, .chip-unknown')")

    def until(self, condition: str) -> None:
        """Wait until this is true in the page. (Playwright's own way evaluates text in the page, which forbids it.)"""
        for _ in range(PATIENCE // 50):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"it never came to {condition}")

    def tool(self, name: str) -> None:
        """Take a tool."""
        self.page.locator(f"input[name=tool][value={name}]").check(force=True)

    def size(self, pixels: int) -> None:
        """Set the brush's size, by its slider."""
        self.page.locator("#size").fill(str(pixels))

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the photo is in the window."""
        box = self.page.locator("#picture").bounding_box()
        size = self.page.evaluate("[picture.naturalWidth, picture.naturalHeight]")
        assert box is not None
        return box["x"] + x * box["width"] / size[0], box["y"] + y * box["height"] / size[1]

    def drag(self, *points: tuple[float, float]) -> None:
        """Draw over these pixels of the photo."""
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=8)
        self.page.mouse.up()

    def click(self, x: float, y: float) -> None:
        """Click on a pixel of the photo."""
        self.page.mouse.click(*self.at(x, y))

    def erase(self) -> np.ndarray:
        """Erase; gives the mask that the page sent [H, W], True = erased."""
        with self.page.expect_request(lambda request: "/erase" in request.url) as sent:
            self.page.click("#erase")
        self.page.wait_for_selector("#split:not([hidden])")
        body = sent.value.post_data_buffer
        assert body is not None
        return np.asarray(Image.open(io.BytesIO(body))) > 0

    def download(self, button: str) -> tuple[str, bytes]:
        """Take something from the download menu: its name and bytes."""
        self.page.click("#download")
        with self.page.expect_download() as download:
            self.page.click(button)
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()

    def tab_to(self, selector: str, key: str = "Tab") -> None:
        """Press Tab until this has the focus."""
        for _ in range(80):
            if self.page.evaluate("s => document.activeElement.matches(s)", selector):
                return
            self.page.keyboard.press(key)
        raise AssertionError(f"{selector} is not reached with {key}")

    # what a person sees

    def says(self) -> str:
        """What was said last."""
        return self.page.inner_text("#status")

    def marked(self) -> str:
        """What is marked, in the page's words."""
        return self.page.inner_text("#marked")

    def overlay(self) -> np.ndarray:
        """The overlay's alpha [H, W], 0 = nothing is drawn there."""
        width, height, alpha = self.page.evaluate(
            """() => {
                const image = overlay.getContext('2d').getImageData(0, 0, overlay.width, overlay.height);
                const alpha = Array.from({ length: overlay.width * overlay.height }, (_, i) => image.data[4 * i + 3]);
                return [overlay.width, overlay.height, alpha];
            }"""
        )
        return np.array(alpha, np.uint8).reshape(height, width)

    def picture(self) -> np.ndarray:
        """The picture that is shown, as the browser has it [H, W, 3]."""
        data = self.page.evaluate(
            """async () => {
                await picture.decode();
                const canvas = Object.assign(document.createElement('canvas'),
                    { width: picture.naturalWidth, height: picture.naturalHeight });
                canvas.getContext('2d').drawImage(picture, 0, 0);
                return canvas.toDataURL('image/png');
            }"""
        )
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))).convert("RGB"))


FAINT_TEXTS = r"""
() => {
  const parse = (colour) => {
    const values = colour.match(/[\d.]+/g).map(Number);
    return { rgb: values.slice(0, 3), alpha: values[3] ?? 1 };
  };
  const blend = (top, under) => top.rgb.map((value, i) => value * top.alpha + under[i] * (1 - top.alpha));
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    const own = parse(getComputedStyle(element).backgroundColor);
    return own.alpha === 1 ? own.rgb : blend(own, behind(element.parentElement));
  };
  const light = (rgb) => {
    const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb.map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const opacity = (one) => (one ? Number(getComputedStyle(one).opacity) * opacity(one.parentElement) : 1);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    const off = element.closest(':disabled, .idle, script, noscript, [hidden]');
    if (!text || off || !element.checkVisibility({ visibilityProperty: true })) continue;
    const ground = behind(element);
    const ink = parse(getComputedStyle(element).color);
    const front = blend({ rgb: ink.rgb, alpha: ink.alpha * opacity(element) }, ground);
    const [high, low] = [light(front), light(ground)].sort((a, b) => b - a);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5) found.push(`${text}: ${contrast.toFixed(2)}`);
  }
  return found;
}
"""
"""Runs in the page: texts whose contrast with what is behind them is below WCAG's AA, as "text: contrast"."""
