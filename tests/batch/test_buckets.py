"""Buckets over S3's own protocol: a server on this machine, reached as any other is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.stand_ins import Here, tree
from unsay.batch import How, Job, places, run_batch
from unsay.batch.journal import MANIFEST
from unsay.batch.places import STATE, open_place
from unsay.errors import BadInput

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("colour_words"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket's URL."""
    import fsspec
    import s3fs

    for name, value in {"AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    places._opened.cache_clear()
    files = fsspec.filesystem("s3")
    name = f"unsay-{len(files.ls('')) if files.ls('') else 0}"
    files.mkdir(name)
    return f"s3://{name}"


def test_a_bucket_is_as_good_as_a_folder(photos: Path, tmp_path: Path, here: Here, tiny: str, bucket: str) -> None:
    job = Job("erase", ("red",), bundle=tiny)
    run_batch(job, str(photos), str(tmp_path / "out"))
    place = open_place(bucket)
    place.files.put(str(photos) + "/", place.path("in/"), recursive=True)
    run_batch(job, f"{bucket}/in", f"{bucket}/out")
    there = {e.name: place.read(f"out/{e.name}") for e in open_place(f"{bucket}/out").walk()}
    local = tree(tmp_path / "out")
    assert {n: d for n, d in there.items() if n != MANIFEST} == {n: d for n, d in local.items() if n != MANIFEST}
    assert not place.files.exists(place.path(f"out/{STATE}"))
    ours, theirs = (
        [{k: v for k, v in json.loads(line).items() if k != "stamp"} for line in text.splitlines()]
        for text in (there[MANIFEST], local[MANIFEST])
    )
    assert ours == theirs


def test_a_second_run_over_a_bucket_reads_nothing(photos: Path, here: Here, tiny: str, bucket: str) -> None:
    job = Job("erase", ("red",), bundle=tiny)
    place = open_place(bucket)
    place.files.put(str(photos) + "/", place.path("in/"), recursive=True)
    run_batch(job, f"{bucket}/in", f"{bucket}/out")
    here.done.clear()
    place.files.invalidate_cache()
    progress = run_batch(job, f"{bucket}/in", f"{bucket}/out")
    assert (here.done, progress.unchanged) == ([], 5)
    place.files.pipe_file(place.path("in/a.png"), (photos / "b.png").read_bytes())
    place.files.invalidate_cache()
    run_batch(job, f"{bucket}/in", f"{bucket}/out")
    assert here.done == ["a.png"]


def test_a_glob_of_a_bucket(photos: Path, here: Here, tiny: str, bucket: str, tmp_path: Path) -> None:
    place = open_place(bucket)
    place.files.put(str(photos) + "/", place.path("in/"), recursive=True)
    run_batch(Job("erase", ("red",), bundle=tiny), f"{bucket}/in/**/*.png", str(tmp_path / "out"))
    assert sorted(here.done) == ["a.png", "b.png", "deep/er/c.png", "grey.png"]


def test_a_bucket_that_is_not_there_is_said(photos: Path, here: Here, tiny: str, bucket: str) -> None:
    with pytest.raises(BadInput, match="nothing can be written to s3://no-such-bucket/out"):
        run_batch(Job("erase", ("red",), bundle=tiny), str(photos), "s3://no-such-bucket/out", How())
