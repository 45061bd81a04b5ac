"""Batches on Ray itself: real workers, real kills, a real cluster. What a batch does is tested in test_running.py."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch.stand_ins import Here, png, tree
from unsay.batch import How, Job, run_batch
from unsay.batch.journal import MANIFEST
from unsay.errors import UnsayError
from unsay.results import Pixels

pytestmark = pytest.mark.slow
LONG = 240
AGENT = re.compile(r"ray::\w+Agent|agent\.py|agent/main\.py")
"""Ray's own observers: where the command was killed they end by themselves, within about a minute."""
PHOTOS = 40


@pytest.fixture
def many(tmp_path: Path, make_rgb: Callable[..., Pixels]) -> Path:
    """Photos with masks beside them: 40 that differ, and one that is none."""
    rng = np.random.default_rng(0)
    for number in range(PHOTOS):
        height, width = (int(side) for side in rng.integers(300, 500, 2))
        mask = np.zeros((height, width, 3), np.uint8)
        mask[60:200, 80:220] = 255
        for name, pixels in (("photos", make_rgb(height, width, number)), ("masks", mask)):
            path = tmp_path / name / f"{number % 3}" / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(pixels))
    for name in ("photos", "masks"):
        (tmp_path / name / "0" / "none.png").write_bytes(b"none")
    return tmp_path


@pytest.fixture
def expected(many: Path, tiny: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What a batch in one process gives."""
    stand_in = Here()
    with monkeypatch.context() as patch:
        patch.setattr("unsay.batch.running.workers", stand_in.workers)
        patch.setattr("unsay.batch.running.records", stand_in.records)
        run_batch(Job("inpaint", bundle=tiny), str(many / "photos"), str(many / "expected"), masks=str(many / "masks"))
    return tree(many / "expected")


def start(
    many: Path, tiny: str, *more: str, out: str = "out", path: str = "", **variables: str
) -> subprocess.Popen[str]:
    """The command, in a process of its own."""
    command = [sys.executable, "-m", "unsay.cli", "batch", "inpaint", str(many / "photos"), str(many / out)]
    command += ["--masks", str(many / "masks"), "--bundle", tiny, "--json", *more]
    paths = os.pathsep.join(filter(None, [path, os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": paths, **variables}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment
    )


def descendants(root: int) -> list[tuple[int, str]]:
    """The processes below one, with their command lines."""
    found = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [
        (int(line.split(None, 2)[0]), int(line.split(None, 2)[1]), line.split(None, 2)[2])
        for line in found.splitlines()
    ]
    below, known = [], {root}
    while more := [(pid, args) for pid, parent, args in rows if parent in known and pid not in known]:
        below += more
        known |= {pid for pid, _ in more}
    return below


def wait_for(what: Callable[[], Any], seconds: float = LONG) -> Any:
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.02)
    return found


def lives(pid: int) -> bool:
    """Whether a process has not ended; some systems leave the names of ended ones for a while."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def of_ray() -> set[int]:
    """Processes of Ray on this machine, its observers aside."""
    found = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 1) for line in found.splitlines()]
    ours = re.compile(r"ray::|raylet|gcs_server|/ray/")
    return {int(pid) for pid, args in rows if ours.search(args) and not AGENT.search(args) and lives(int(pid))}


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """No process of Ray's and no folder of it outlives a test."""
    before = of_ray()
    yield
    wait_for(lambda: not of_ray() - before, 90)


def test_two_workers_do_what_one_process_does(many: Path, tiny: str, expected: dict[str, bytes]) -> None:
    """Also where the path for temporary files is too long for Ray's sockets."""
    temporary = many / ("a long name " * 10).strip()
    temporary.mkdir()
    home = str(many / "home")
    process = start(many, tiny, "--workers", "2", TMPDIR=str(temporary), HOME=home)
    out, told = process.communicate(timeout=LONG)
    assert process.returncode == 1, told  # a photo that is none
    answer = json.loads(out)
    assert (answer["photos"], answer["done"], answer["failed"], answer["unchanged"]) == (PHOTOS + 1, PHOTOS, 1, 0)
    assert not (Path(home) / ".ray").exists(), "nothing is kept in the user's home"
    assert tree(many / "out") == expected
    assert told == f"unsay: 1 of {PHOTOS + 1} photos failed: {many / 'out' / MANIFEST} says why\n"
    assert list(temporary.iterdir()) == []
    again = start(many, tiny, "--workers", "2")
    assert json.loads(again.communicate(timeout=LONG)[0])["unchanged"] == PHOTOS
    assert tree(many / "out") == expected


def test_nothing_listens_for_other_machines_while_it_runs(many: Path, tiny: str) -> None:
    process = start(many, tiny, "--workers", "1")
    wait_for(lambda: list((many / "out").rglob("*.png")))
    pids = {pid for pid, _ in descendants(process.pid)} | {process.pid}
    listening = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout.splitlines()
    ours = [line for line in listening if any(f"pid={pid}," in line for pid in pids)]
    assert ours
    assert [line for line in ours if not line.split()[3].startswith(("127.0.0.", "[::1]:", "[::ffff:127.0.0."))] == []
    process.communicate(timeout=LONG)


@pytest.mark.parametrize("seed", range(2))
def test_workers_may_be_killed_at_any_moment(many: Path, tiny: str, expected: dict[str, bytes], seed: int) -> None:
    process = start(many, tiny, "--workers", "2")
    rng, kills = random.Random(seed), 0
    while process.poll() is None and kills < 3:
        at_work = [pid for pid, args in descendants(process.pid) if "MapWorker" in args]
        if at_work:
            time.sleep(rng.uniform(0.0, 1.0))
            try:
                os.kill(rng.choice(at_work), signal.SIGKILL)
                kills += 1
            except ProcessLookupError:
                pass
        time.sleep(0.1)
    told = process.communicate(timeout=LONG)[1]
    assert kills
    assert process.returncode == 1, told  # a photo that is none
    assert tree(many / "out") == expected, told


@pytest.mark.parametrize("seed", range(2))
def test_the_whole_may_be_killed_at_any_moment(many: Path, tiny: str, expected: dict[str, bytes], seed: int) -> None:
    """kill -9 on the command again and again, then once without: byte for byte what an undisturbed run leaves."""
    rng = random.Random(100 + seed)
    for _ in range(2):
        process = start(many, tiny, "--workers", "2")
        begun = wait_for(lambda p=process: p.poll() is not None or any("MapWorker" in a for _, a in descendants(p.pid)))
        assert begun
        time.sleep(rng.uniform(0.0, 4.0))
        below = [pid for pid, args in descendants(process.pid) if not AGENT.search(args)]
        process.kill()
        process.communicate()
        wait_for(lambda pids=below: not any(lives(pid) for pid in pids), 90)
    process = start(many, tiny, "--workers", "2")
    process.communicate(timeout=LONG)
    assert tree(many / "out") == expected


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_what_is_done(many: Path, tiny: str, expected: dict[str, bytes], how: signal.Signals) -> None:
    process = start(many, tiny, "--workers", "1")
    wait_for(lambda: len(list((many / "out").rglob("*.png"))) > 4)
    process.send_signal(how)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from there" in told
    assert "***" not in told, "no stack of Ray's"
    done = len(list((many / "out").rglob("*.png")))
    again = start(many, tiny, "--workers", "1")
    answer = json.loads(again.communicate(timeout=LONG)[0])
    assert answer["unchanged"] >= done - 8
    assert tree(many / "out") == expected


def test_a_photo_that_kills_its_workers_is_told(
    many: Path, tiny: str, expected: dict[str, bytes], tmp_path: Path
) -> None:
    """The process ends without a word whenever it comes to one certain photo; all others are done."""
    (tmp_path / "bomb").mkdir()
    (tmp_path / "bomb" / "sitecustomize.py").write_text(
        "import os\n"
        "import unsay.batch.work as work\n"
        "do = work.do\n"
        "def bomb(item, *rest):\n"
        "    os._exit(9) if item['name'].endswith('007.png') else None\n"
        "    return do(item, *rest)\n"
        "work.do = bomb\n"
    )
    process = start(many, tiny, "--workers", "2", path=str(tmp_path / "bomb"))
    out, _ = process.communicate(timeout=LONG)
    answer = json.loads(out)
    assert (answer["done"], answer["failed"]) == (PHOTOS - 1, 2)
    records = {r["photo"]: r for r in map(json.loads, (many / "out" / MANIFEST).read_text().splitlines())}
    assert "its worker died three times" in records["1/007.png"]["error"]
    again = start(many, tiny, "--workers", "2")  # without the bomb: what failed so is tried again
    assert json.loads(again.communicate(timeout=LONG)[0])["done"] == 1
    assert tree(many / "out") == expected


def test_a_cluster_of_two_machines_shares_the_work(many: Path, tiny: str, expected: dict[str, bytes]) -> None:
    """Two raylets, as two machines have them; the command joins by --address."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        process = start(many, tiny, "--address", cluster.address)
        nodes: set[int] = set()
        while process.poll() is None:
            found = subprocess.run(["ps", "-eo", "ppid=,args="], capture_output=True, text=True, check=True).stdout
            nodes |= {int(line.split(None, 1)[0]) for line in found.splitlines() if "ray::MapWorker" in line}
            time.sleep(0.1)
        process.communicate(timeout=LONG)
        assert len(nodes) == 2
        assert tree(many / "out") == expected
    finally:
        cluster.shutdown()


def test_one_process_may_run_several(many: Path, tiny: str, expected: dict[str, bytes]) -> None:
    code = f"""
from unsay.batch import How, Job, run_batch
for out in ("one", "two"):
    how, masks = How(workers=1), {str(many / "masks")!r}
    run_batch(Job("inpaint", bundle={tiny!r}), {str(many / "photos")!r}, {str(many)!r} + "/" + out, how, masks=masks)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=LONG)
    assert tree(many / "one") == tree(many / "two") == expected


def test_no_cluster_there_is_said(many: Path, tiny: str) -> None:
    how = How(address="127.0.0.1:1")
    with pytest.raises(UnsayError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"):
        run_batch(Job("inpaint", bundle=tiny), str(many / "photos"), str(many / "out"), how, masks=str(many / "masks"))
