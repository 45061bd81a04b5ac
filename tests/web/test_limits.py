"""What the server does not allow: too much, too long, too many, strangers; and that nothing of it stays."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import httpx
import numpy as np
import pytest

from unsay.errors import BadInput
from unsay.web.settings import Settings, check_settings, is_loopback
from web.served import ROOT, Served, served, until

pytestmark = pytest.mark.slow
SEA = (ROOT / "examples" / "sea.jpg").read_bytes()


def large(side: int = 2400) -> bytes:
    """A photo on which the work takes a while."""
    noise = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", cv2.resize(noise, (side, side)))[1])


def stripes(side: int = 2400) -> bytes:
    """A mask of many holes for it."""
    mask = np.zeros((side, side), np.uint8)
    mask[:, (np.arange(side) // 150) % 2 == 0] = 255
    mask[-20:] = 0
    return bytes(cv2.imencode(".png", mask)[1])


def test_too_many_bytes_and_too_many_pixels_are_413_before_anything_is_decoded(tmp_path: Path) -> None:
    with served(tmp_path, jobs=1, max_bytes=200_000, max_megapixels=1.0) as server, server.client() as client:
        told = client.post("/api/photos", content=b"x" * 200_001)
        assert (told.status_code, "0.2 MB" in told.json()["error"]) == (413, True)
        chunks = client.post("/api/photos", content=iter([b"x" * 50_000] * 5))  # no length is told ahead
        assert chunks.status_code == 413
        assert client.post("/api/photos/nobody/find", content=b" " * 200_001).status_code == 413
        many = bytes(cv2.imencode(".png", np.zeros((1001, 1000), np.uint8))[1])
        start = time.perf_counter()
        told = client.post("/api/photos", content=many)
        assert (told.status_code, "1 megapixels" in told.json()["error"]) == (413, True)
        assert time.perf_counter() - start < 2
        claims = many.replace(b"IHDR" + (1000).to_bytes(4, "big"), b"IHDR" + (60000).to_bytes(4, "big"))
        assert client.post("/api/photos", content=claims).status_code in (413, 422)
        assert server.photos == []
        assert client.post("/api/photos", content=SEA).status_code == 201


def test_a_job_that_takes_too_long_is_504_and_the_next_one_is_done(tmp_path: Path) -> None:
    with served(tmp_path, jobs=1, seconds=6.0) as server, server.client() as client:
        id = client.post("/api/photos", content=large()).json()["id"]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            job = pool.submit(client.post, f"/api/photos/{id}/erase", content=stripes())
            assert until(lambda: client.get("/api/status").json()["running"] == 1)
            time.sleep(0.3)
            os.kill(server.workers[0], signal.SIGSTOP)  # it will never be done
            late = job.result()
        assert late.status_code == 504
        assert "6 s" in late.json()["error"]
        assert until(lambda: client.get("/api/status").json()["running"] == 0)
        assert client.get(f"/api/photos/{id}").json()["steps"] == 0
        assert client.post("/api/photos", content=SEA).status_code == 201


def test_a_full_line_is_429_with_a_time_to_try_again_and_no_accepted_job_is_lost(tmp_path: Path) -> None:
    with served(tmp_path, jobs=1, queue=1) as server, concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: _post(server, SEA), range(8)))
        statuses = sorted(a.status_code for a in answers)
        assert set(statuses) == {201, 429}
        assert statuses.count(201) >= 2
        refused = next(a for a in answers if a.status_code == 429)
        assert int(refused.headers["retry-after"]) > 0
        assert "try again" in refused.json()["error"]
        assert len(server.photos) == statuses.count(201)
        assert _post(server, SEA).status_code == 201


def _post(server: Served, photo: bytes) -> httpx.Response:
    with server.client() as client:
        return client.post("/api/photos", content=photo)


def test_a_job_whose_asker_leaves_is_stopped_and_changes_nothing(tmp_path: Path) -> None:
    with served(tmp_path, jobs=1) as server, server.client() as client:
        id = client.post("/api/photos", content=large()).json()["id"]
        worker = server.workers
        with pytest.raises(httpx.ReadTimeout):
            client.post(f"/api/photos/{id}/erase", content=stripes(), timeout=1.0)
        assert until(lambda: client.get("/api/status").json()["running"] == 0, 5)
        assert until(lambda: server.workers and server.workers != worker)  # its process was ended, another is there
        assert client.get(f"/api/photos/{id}").json()["steps"] == 0
        assert client.post(f"/api/photos/{id}/find", json={"words": ["dog"]}).status_code == 200
        assert not list(server.temp.glob("**/*.part"))


def test_a_worker_that_is_killed_is_replaced_and_its_job_says_so(tmp_path: Path) -> None:
    with served(tmp_path, jobs=1) as server, server.client() as client:
        id = client.post("/api/photos", content=large()).json()["id"]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            job = pool.submit(client.post, f"/api/photos/{id}/erase", content=stripes())
            time.sleep(1)
            os.kill(server.workers[0], signal.SIGKILL)
            assert job.result().status_code == 500
        assert client.post(f"/api/photos/{id}/find", json={"words": ["dog"]}).status_code == 200


def test_workers_that_die_while_nobody_asks_are_replaced(tmp_path: Path) -> None:
    with served(tmp_path, jobs=1) as server, server.client() as client:
        for _ in range(2):
            os.kill(server.workers[0], signal.SIGKILL)
            time.sleep(1)
            assert client.post("/api/photos", content=SEA).status_code == 201


def test_an_edit_that_fails_or_is_the_second_at_once_changes_nothing(tmp_path: Path) -> None:
    small = np.zeros((576, 768), np.uint8)
    small[20:60, 20:60] = 255
    mask = bytes(cv2.imencode(".png", small)[1])
    everything = bytes(cv2.imencode(".png", np.full((576, 768), 255, np.uint8))[1])
    with served(tmp_path, jobs=2) as server, server.client() as client:
        id = client.post("/api/photos", content=SEA).json()["id"]
        for step in range(2):
            assert client.post(f"/api/photos/{id}/erase?step={step}", content=mask).status_code == 200
        kept = [client.get(f"/api/photos/{id}/file?step={step}").content for step in range(3)]
        assert client.post(f"/api/photos/{id}/erase?step=0", content=everything).status_code == 422
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            send = [pool.submit(client.post, f"/api/photos/{id}/erase?step=2", content=mask) for _ in range(6)]
            statuses = sorted(job.result().status_code for job in send)
        assert set(statuses) == {200, 429}
        assert [client.get(f"/api/photos/{id}/file?step={step}").content for step in range(3)] == kept
        names = [path.name for path in server.photos[0].iterdir()]
        assert len([name for name in names if name.startswith("patches")]) == 3  # each took the place of the one before
        assert not [name for name in names if name.startswith("mask") or name.endswith(".part")]


def test_an_error_of_ours_is_a_sentence_with_all_headers(tmp_path: Path) -> None:
    with served(tmp_path, jobs=1) as server, server.client() as client:
        id = client.post("/api/photos", content=SEA).json()["id"]
        (server.photos[0] / "photo").write_bytes(b"")
        (server.photos[0] / "seen-photo.npz").write_bytes(b"no archive")
        told = client.post(f"/api/photos/{id}/find", json={"words": ["dog"]})
        assert (told.status_code, told.json()["status"]) == (500, 500)
        assert "default-src 'self'" in told.headers["content-security-policy"]


def test_a_client_that_sends_all_before_it_reads_gets_the_refusal(tmp_path: Path) -> None:
    with served(tmp_path, jobs=1, max_bytes=1_000_000) as server:
        request = urllib.request.Request(f"{server.address}api/photos", data=b"x" * 30_000_000)
        with pytest.raises(urllib.error.HTTPError) as told:
            urllib.request.urlopen(request)
        assert (told.value.code, b"1 MB" in told.value.read()) == (413, True)
        told.value.close()


def test_a_bundle_that_is_none_ends_the_start_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "unsay", "serve", "--port", "0", "--bundle", "startr"]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("unsay: no bundle 'startr'")
    assert ran.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_senders_that_fall_silent_are_cut_off_and_others_are_served_meanwhile(tmp_path: Path) -> None:
    with served(tmp_path, jobs=1, stall=1.0) as server, server.client() as client:
        beginnings = [
            b"",
            b"GET /",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
            b"POST /api/photos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\nsome",
            b"POST /api/photos/x/find HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b'Content-Length: 50\r\n\r\n{"words',
        ]
        connections = [_connect(server, begun) for begun in beginnings for _ in range(5)]
        assert client.get("/api/status").status_code == 200
        ends = [_rest(connection) for connection in connections]
        assert all(b"408" in end for end in ends[-10:])
        assert all(end == b"" for end in ends[:15])
        assert server.photos == []


def _connect(server: Served, begun: bytes) -> socket.socket:
    place = urlsplit(server.address)
    connection = socket.create_connection((place.hostname, place.port), timeout=10)
    connection.sendall(begun)
    return connection


def _rest(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection; waits 10 s at most for more."""
    with connection:
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "attacker.example"},
        {"host": "127.0.0.1.attacker.example"},
        {"host": "[::1].attacker.example"},
        {"host": "localhost:x@attacker.example"},
        {"origin": "http://["},
        {"origin": "http://attacker.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_other_origins_and_names_are_refused(small: Served, headers: dict[str, str]) -> None:
    with small.client() as client:
        assert client.post("/api/erase?word=orca", content=SEA, headers=headers).status_code == 403
        assert client.get("/api/status", headers=headers).status_code == 403


def test_the_page_of_this_server_is_not_another_origin(small: Served) -> None:
    with small.client() as client:
        origin = small.address.rstrip("/")
        headers = {"origin": origin, "sec-fetch-site": "same-origin"}
        assert client.get("/api/status", headers=headers).status_code == 200


def test_every_answer_forbids_what_comes_from_elsewhere(small: Served) -> None:
    with small.client() as client:
        for path in ("/", "/api/status", "/nothing", "/static/style.css"):
            headers = client.get(path).headers
            assert "default-src 'self'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
        assert client.get("/api/status").headers["cache-control"] == "no-store"
        assert "server" not in headers


@pytest.mark.parametrize(
    "path", ["/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py", "//etc"]
)
def test_no_path_leads_out_of_the_pages_files(small: Served, path: str) -> None:
    place = urlsplit(small.address)
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert connection.recv(65536).split(b" ")[1] == b"404"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with served(tmp_path_factory.mktemp("small"), jobs=1) as server:
        yield server


def test_a_password_is_asked_for(tmp_path: Path) -> None:
    with served(tmp_path, jobs=1, auth="ann:s3cret") as server:
        with server.client() as client:
            told = client.get("/api/status")
            assert (told.status_code, told.headers["www-authenticate"][:5]) == (401, "Basic")
            assert client.get("/").status_code == 401
        with server.client(auth=("ann", "wrong")) as client:
            assert client.get("/").status_code == 401
        with server.client(auth=("ann", "s3cret")) as client:
            assert client.get("/api/status").status_code == 200


def test_another_host_needs_a_password() -> None:
    check_settings(Settings(host="localhost"))
    check_settings(Settings(host="0.0.0.0", auth="a:b"))
    with pytest.raises(BadInput, match="--auth"):
        check_settings(Settings(host="0.0.0.0"))
    for auth in ("a", ":b", "a:"):
        with pytest.raises(BadInput, match="NAME:PASSWORD"):
            check_settings(Settings(auth=auth))
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "[::1]", "LOCALHOST", "10.0.0.1", "example.com", "")] == [
        True, True, True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nothing_is_left_when_it_ends(tmp_path: Path, number: int) -> None:
    with served(tmp_path, jobs=2) as server:
        assert _post(server, SEA).status_code == 201
        workers = server.workers
        assert (len(server.photos), len(workers)) == (1, 2)
        assert server.end(number) == 0
        assert list(tmp_path.glob("unsay-page-*")) == []
        assert until(lambda: not any(_runs(w) for w in workers))


def test_what_a_killed_server_left_goes_with_the_next_and_its_processes_end(tmp_path: Path) -> None:
    with served(tmp_path, jobs=1) as server:
        assert _post(server, SEA).status_code == 201
        workers = server.workers
        assert workers
        server.end(signal.SIGKILL)
        assert len(list(tmp_path.glob("unsay-page-*"))) == 1
        assert until(lambda: not any(_runs(w) for w in workers))
    foreign = tmp_path / "unsay-page-notes"
    foreign.mkdir()
    with served(tmp_path, jobs=1) as server:
        assert server.photos == []
        assert len(list(tmp_path.glob("unsay-page-*"))) == 2
    assert list(tmp_path.glob("unsay-page-*")) == [foreign]


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_photos_unused_for_longest_go_first_when_there_are_too_many(tmp_path: Path) -> None:
    with served(tmp_path, jobs=1, photos=2) as server, server.client() as client:
        ids = [client.post("/api/photos", content=SEA).json()["id"] for _ in range(2)]
        client.get(f"/api/photos/{ids[0]}")
        ids.append(client.post("/api/photos", content=SEA).json()["id"])
        assert [client.get(f"/api/photos/{id}").status_code for id in ids] == [200, 404, 200]
        assert len(server.photos) == 2


WATCH = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname", "urllib.Request"):
        host = arguments[1][0] if event == "socket.connect" and isinstance(arguments[1], tuple) else arguments[0]
        with open({log!r}, "a") as file:
            file.write(f"{{event}} {{host}}\\n")
sys.addaudithook(watch)
"""


def test_neither_the_server_nor_its_workers_connect_to_anybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "connections.txt"
    (tmp_path / "sitecustomize.py").write_text(WATCH.format(log=str(log)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with served(tmp_path, jobs=1) as server, server.client() as client:
        id = client.post("/api/photos", content=SEA).json()["id"]
        client.post(f"/api/photos/{id}/find", json={"words": ["orca", "qwertyish thing"]})
        assert client.post("/api/erase?word=orca", content=SEA).status_code == 200
        assert client.get("/").status_code == 200
    told = log.read_text().splitlines() if log.exists() else []
    assert [line for line in told if "127.0.0.1" not in line] == []
    assert "socket.getaddrinfo 127.0.0.1" in told  # the watch was on
