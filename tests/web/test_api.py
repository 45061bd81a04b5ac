"""The HTTP API as a program meets it: the real server, real requests; the same results as the command line's."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image

import unsay
from unsay.web.settings import Settings
from web.served import ROOT, Served, served

pytestmark = pytest.mark.slow
SEA = (ROOT / "examples" / "sea.jpg").read_bytes()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served"), jobs=1) as running:
        yield running


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with server.client() as one:
        yield one


@pytest.fixture
def sea(client: httpx.Client) -> Iterator[str]:
    opened = client.post("/api/photos", params={"name": "sea.jpg"}, content=SEA)
    assert opened.status_code == 201
    yield opened.json()["id"]
    client.delete(f"/api/photos/{opened.json()['id']}")


def png(array: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", array)[1])


def pixels(data: bytes) -> np.ndarray:
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    return decoded


def test_opening_a_photo_tells_what_it_is(client: httpx.Client, sea: str) -> None:
    told = client.get(f"/api/photos/{sea}").json()
    assert (told["name"], told["format"], told["width"], told["height"]) == ("sea.jpg", "jpeg", 768, 576)
    assert told["steps"] == 0
    assert "boat" in told["nearest"]


def test_words_are_found_as_unsay_segment_finds_them(client: httpx.Client, sea: str) -> None:
    asked = ["orca", "bicycle"]
    found = client.post(f"/api/photos/{sea}/find", json={"words": asked}).json()
    expected = unsay.segment(SEA, asked)
    assert found["found"] == ["orca"]
    assert found["not_found"] == ["bicycle"]
    assert found["scores"] == expected.scores
    assert np.array_equal(pixels(base64.b64decode(found["labels"])), expected.labels)
    assert found["nearest"] == list(expected.nearest)


def test_a_mask_is_filled_and_the_rest_stays(client: httpx.Client) -> None:
    photo = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (150, 1, 3))
    mask = np.zeros((150, 200), np.uint8)
    mask[40:80, 60:100] = 255
    id = client.post("/api/photos?name=slope.png", content=png(photo)).json()["id"]
    made = client.post(f"/api/photos/{id}/erase?grow=0", content=png(mask)).json()
    assert (made["step"], made["steps"]) == (1, 1)
    assert made["hole_share"] == pytest.approx(40 * 40 / (150 * 200), abs=1e-6)
    after = pixels(client.get(f"/api/photos/{id}/file?step=1").content)
    assert np.array_equal(after[mask == 0], photo[mask == 0])
    assert (after[mask > 0] != photo[mask > 0]).any()
    before = client.get(f"/api/photos/{id}/file?step=0")
    assert before.content == png(photo)
    assert "slope.unsaid.png" in before.headers["content-disposition"]


def test_edits_follow_each_other_and_a_new_one_drops_those_after_its_step(client: httpx.Client, sea: str) -> None:
    masks = []
    for left in (10, 300):
        mask = np.zeros((576, 768), np.uint8)
        mask[20:60, left : left + 40] = 255
        masks.append(png(mask))
    assert client.post(f"/api/photos/{sea}/erase?step=0", content=masks[0]).json()["steps"] == 1
    first = client.get(f"/api/photos/{sea}/file?step=1").content
    assert client.post(f"/api/photos/{sea}/erase?step=1", content=masks[1]).json()["steps"] == 2
    both = client.get(f"/api/photos/{sea}/file?step=2").content
    assert len({SEA, first, both}) == 3
    assert client.get(f"/api/photos/{sea}/file?step=1").content == first
    assert client.get(f"/api/photos/{sea}/file?step=0").content == SEA
    assert client.post(f"/api/photos/{sea}/erase?step=0", content=masks[1]).json()["steps"] == 1
    assert client.get(f"/api/photos/{sea}/file?step=2").status_code == 409
    assert client.get(f"/api/photos/{sea}/file?step=1").content not in (first, both)


def test_erasing_by_words_in_one_request_is_what_the_command_line_does(client: httpx.Client) -> None:
    done = client.post("/api/erase", params={"word": ["orca", "bicycle"]}, content=SEA)
    report = json.loads(done.headers["x-unsay-report"])
    assert report["found"] == ["orca"]
    assert report["not_found"] == ["bicycle"]
    assert done.headers["content-type"] == "image/jpeg"
    assert done.content == unsay.erase(SEA, "orca", "bicycle")


def test_another_format_and_the_other_files_in_one_request(client: httpx.Client) -> None:
    assert client.post("/api/erase?word=orca&format=png", content=SEA).content.startswith(b"\x89PNG")
    assert pixels(client.post("/api/segment?word=orca&format=labels", content=SEA).content).max() == 1
    coco = client.post("/api/segment?word=orca&format=coco", content=SEA).json()
    assert [c["name"] for c in coco["categories"]] == ["orca"]
    assert pixels(client.post("/api/cutout?word=orca", content=SEA).content).shape == (576, 768, 4)


def test_masks_drawn_by_hand_come_back_as_files(client: httpx.Client, sea: str) -> None:
    labels = np.zeros((576, 768), np.uint8)
    labels[100:200, 100:300] = 1
    labels[300:350, 10:60] = 2
    asked = {"words": ["a", "b"], "labels": base64.b64encode(png(labels)).decode()}
    back = client.post(f"/api/photos/{sea}/masks?format=labels", json=asked)
    assert np.array_equal(pixels(back.content), labels)
    coco = client.post(f"/api/photos/{sea}/masks?format=coco", json=asked).json()
    assert [a["bbox"] for a in coco["annotations"]] == [[100, 100, 200, 100], [10, 300, 50, 50]]
    assert coco["images"][0]["file_name"] == "sea.jpg"
    assert len(client.post(f"/api/photos/{sea}/masks?format=labelme", json=asked).json()["shapes"]) == 2
    cut = pixels(client.post(f"/api/photos/{sea}/cutout", content=png((labels == 1) * np.uint8(255))).content)
    assert cut[150, 200, 3] == 255
    assert cut[320, 30, 3] == 0


def test_a_photo_on_its_side_is_shown_and_masked_upright(client: httpx.Client) -> None:
    side = Image.fromarray(np.full((40, 90, 3), 120, np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    side.save(stream, "JPEG", exif=exif)
    told = client.post("/api/photos?name=side.jpg", content=stream.getvalue()).json()
    assert (told["width"], told["height"]) == (40, 90)
    assert pixels(client.get(f"/api/photos/{told['id']}/picture").content).shape == (90, 40, 3)


REFUSED = [
    ("/api/photos", {"content": b"hello"}, 422, "is not a photo"),
    ("/api/photos", {"content": b""}, 422, "no photo came"),
    ("/api/photos", {"content": SEA[:3000]}, 422, "cut"),
    ("/api/erase?word=zebra", {"content": SEA}, 422, "not found: zebra"),
    ("/api/erase", {"content": SEA}, 422, "word"),
    ("/api/erase?word=orca&threshold=7", {"content": SEA}, 422, "threshold"),
    ("/api/erase?word=orca&format=exe", {"content": SEA}, 422, "no format"),
    ("/api/segment?word=orca&format=svg", {"content": SEA}, 422, "no format"),
    ("/api/photos/SEA/find", {"json": {"words": []}}, 422, "no word"),
    ("/api/photos/SEA/find", {"json": {"words": "dog"}}, 422, "list"),
    ("/api/photos/SEA/find", {"json": {"words": ["dog"], "step": 3}}, 409, "no step 3"),
    ("/api/photos/SEA/erase", {"content": png(np.full((5, 5), 255, np.uint8))}, 422, "5"),
    ("/api/photos/SEA/erase", {"content": png(np.full((576, 768), 255, np.uint8))}, 422, "whole photo"),
    ("/api/photos/SEA/erase", {"content": b"junk"}, 422, "mask"),
    ("/api/photos/SEA/erase", {"content": b""}, 422, "no mask"),
    ("/api/photos/SEA/cutout", {"content": png(np.zeros((576, 768), np.uint8))}, 422, "marks none"),
    ("/api/photos/SEA/masks", {"json": {"words": ["a"], "labels": "%%"}}, 422, "base64"),
    ("/api/photos/SEA/masks", {"json": {"words": ["a"], "labels": "aGk="}}, 422, "grey PNG"),
    ("/api/photos/nobody/find", {"json": {"words": ["a"]}}, 404, "open it again"),
    ("/api/photos/..%2f..%2fetc/find", {"json": {"words": ["a"]}}, 404, ""),
]


@pytest.mark.parametrize(("path", "sent", "status", "says"), REFUSED)
def test_what_cannot_be_used_is_refused_with_a_sentence(
    client: httpx.Client, sea: str, path: str, sent: dict, status: int, says: str
) -> None:
    answer = client.post(path.replace("SEA", sea), **sent)
    assert answer.status_code == status
    assert answer.json()["status"] == status
    assert says in answer.json()["error"]
    assert client.get(f"/api/photos/{sea}").json()["steps"] == 0


def test_words_that_are_not_there_come_with_scores_and_what_is(client: httpx.Client) -> None:
    told = client.post("/api/erase?word=zebra", content=SEA).json()
    assert told["scores"]["zebra"] < 0.5
    assert "boat" in told["nearest"]


def test_a_photo_is_gone_once_it_is_closed_and_one_request_leaves_none(server: Served) -> None:
    with server.client() as client:
        before = len(server.photos)
        id = client.post("/api/photos", content=SEA).json()["id"]
        assert len(server.photos) == before + 1
        client.post("/api/erase?word=orca", content=SEA)
        client.post("/api/erase?word=zebra", content=SEA)
        assert len(server.photos) == before + 1
        assert client.post(f"/api/photos/{id}/close").status_code == 204
        assert len(server.photos) == before
        assert client.get(f"/api/photos/{id}").status_code == 404


@pytest.mark.parametrize("name", ["../../../etc/passwd", "..\\..\\boot.ini", "/abs/olute.jpg", "<b>x</b>.jpg", "\x00"])
def test_a_photos_name_is_only_a_name(client: httpx.Client, name: str) -> None:
    told = client.post("/api/photos", params={"name": name}, content=SEA).json()
    assert not set(told["name"]) & set('/\\<>:"|?*\x00')
    assert not told["name"].startswith(".")
    shown = client.get(f"/api/photos/{told['id']}/file").headers["content-disposition"]
    assert "/" not in shown.partition("''")[2]
    client.delete(f"/api/photos/{told['id']}")


def test_the_api_describes_itself(client: httpx.Client) -> None:
    described = client.get("/api/openapi.json").json()
    paths = set(described["paths"])
    assert {"/api/photos", "/api/photos/{id}/find", "/api/photos/{id}/erase", "/api/erase", "/api/status"} <= paths
    assert client.get("/docs").status_code == 404  # it would load scripts from elsewhere


def test_the_limits_are_told(client: httpx.Client) -> None:
    limits = client.get("/api/status").json()["limits"]
    assert limits == {"megapixels": 50.0, "bytes": 50_000_000, "jobs": 1, "queue": 8, "seconds": 60.0}


def test_the_ten_line_example_and_the_guide_say_the_same_and_work(server: Served, tmp_path: Path) -> None:
    example = (ROOT / "examples" / "api.py").read_text(encoding="utf-8")
    guide = (ROOT / "docs" / "guides" / "api.md").read_text(encoding="utf-8")
    assert example.strip() in guide
    assert len([line for line in example.splitlines() if line.strip()]) <= 12
    (tmp_path / "api.py").write_text(example.replace("http://127.0.0.1:7860/", server.address))
    photo = str(ROOT / "examples" / "sea.jpg")
    ran = subprocess.run(
        [sys.executable, "api.py", photo, "orca"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout)["found"] == ["orca"]
    assert (tmp_path / "erased.jpg").read_bytes() == unsay.erase(SEA, "orca")


def test_the_guides_routes_and_statuses_are_the_apis_own(client: httpx.Client) -> None:
    guide = (ROOT / "docs" / "guides" / "api.md").read_text(encoding="utf-8")
    described = client.get("/api/openapi.json").json()["paths"]
    told = {(m, p) for m, p in re.findall(r"^\| `(GET|POST|DELETE) (/api[^`?]*)", guide, re.M)}
    assert told <= {(method.upper(), path) for path, methods in described.items() for method in methods}
    assert len(told) == 13
    limits = (ROOT / "docs" / "guides" / "page.md").read_text(encoding="utf-8")
    own = Settings()
    for text in (
        f"{own.max_megapixels:g} megapixels, {own.max_bytes // 10**6} MB",
        f"{own.job_bytes // 10**9} GB at most",
        f"| {own.queue} | 429",
        f"| {own.seconds:g} s | 504",
        f"| {own.stall:g} s |",
        f"| {own.photos}, and {own.photo_bytes // 10**9} GB of files",
    ):
        assert text in limits


def test_curl_as_the_guide_shows_it(server: Served, tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "guides" / "api.md").read_text(encoding="utf-8")
    lines = [line.strip() for line in guide.splitlines() if line.startswith("    curl ")]
    assert len(lines) == 3
    (tmp_path / "photo.jpg").write_bytes(SEA)
    for line in lines:
        command = line.replace("http://127.0.0.1:7860/", server.address).replace("word=dog", "word=orca")
        subprocess.run(["bash", "-c", command.replace("curl ", "curl --silent ")], cwd=tmp_path, check=True)
    assert (tmp_path / "erased.jpg").read_bytes() == unsay.erase(SEA, "orca", "cat")
    assert json.loads((tmp_path / "masks.json").read_text())["annotations"]
    assert pixels((tmp_path / "dog.png").read_bytes()).shape == (576, 768, 4)
