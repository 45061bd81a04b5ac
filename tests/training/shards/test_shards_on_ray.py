"""The way of docs/training-segmentation.md, Millions of pairs, with the starter's own networks and Ray itself."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
SENTENCES = ("An orca swims beside a boat .", "The moon over the sea .", "A boat on the water under the moon .")


def unsay(*words: str) -> tuple[str, str]:
    """What the command printed, and what it told."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "unsay.cli", *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def downloaded(tmp_path: Path) -> Path:
    """Three shards of four parts of a photo, as img2dataset writes them; one of the twelve is no photo."""
    folder = tmp_path / "downloaded"
    folder.mkdir()
    sea = cv2.imread(str(ROOT / "examples" / "sea.jpg"))
    for shard in range(3):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as archive:
            for number in range(4 * shard, 4 * shard + 4):
                part = sea[number * 8 : number * 8 + 300, number * 16 : number * 16 + 400]
                photo = bytes(cv2.imencode(".jpg", part)[1]) if number != 6 else b"none"
                for suffix, content in (("jpg", photo), ("txt", SENTENCES[number % 3].encode())):
                    member = tarfile.TarInfo(f"{number:09d}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return folder


def write_config(path: Path, **changes: Any) -> str:
    """The starter's configuration, for two steps on few pairs."""
    config = yaml.safe_load((ROOT / "src/unsay/training/configs/segment-starter.yaml").read_text(encoding="utf-8"))
    config |= {"side": 192, "batch": 4, "epochs": 1, "warmup": 1, "out": str(path.parent / "run"), **changes}
    config["nouns"] |= {"least_photos": 1}
    config["machine"] |= {"threads": 1}
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(path)


def test_from_downloaded_shards_to_a_bundle_that_erases(downloaded: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    first = write_config(tmp_path / "a.yaml", data={"kind": "webdataset", "path": str(downloaded)})
    told = unsay("prepare", "pairs", "--config", first, "-o", str(prepared), "--workers", "2")[1]
    assert "11 pairs in 3 shards, 0 of them as they were; left out: photo cannot be decoded 1" in told
    index = json.loads((prepared / "unsay-pairs.json").read_text(encoding="utf-8"))
    assert {noun: index["nouns"][noun] for noun in ("boat", "moon", "orca")} == {"boat": 7, "moon": 8, "orca": 3}
    before = {path.name: path.read_bytes() for path in prepared.glob("*.tar")}
    again = unsay("prepare", "pairs", "--config", first, "-o", str(prepared))[1]
    assert "11 pairs in 3 shards, 3 of them as they were" in again
    shutil.rmtree(prepared)
    unsay("prepare", "pairs", "--config", first, "-o", str(prepared), "--workers", "1")
    assert {path.name: path.read_bytes() for path in prepared.glob("*.tar")} == before, "one worker gives other bytes"

    second = write_config(tmp_path / "b.yaml", data={"kind": "shards", "path": str(prepared)})
    checkpoint = unsay("train", "segment", "--config", second)[0].strip()
    bundle = tmp_path / "bundle"
    shutil.copytree(ROOT / "src" / "unsay" / "bundles" / "starter", bundle)
    unsay("export", checkpoint, "-o", str(bundle))
    about = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["training"]["segment"]
    assert about["data"].startswith("11 pairs of ")
    sea = str(ROOT / "examples" / "sea.jpg")
    how = ("--bundle", str(bundle), "--threshold", "0", "--dry-run", "--json")
    assert json.loads(unsay("erase", sea, "boat", *how)[0])["found"] == ["boat"]
