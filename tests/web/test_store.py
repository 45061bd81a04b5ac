"""Open photos: what they may take of the disk, which go first, and what an edit does to the ones after it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from unsay.web.jobs import Refused
from unsay.web.settings import Settings
from unsay.web.store import Opened, Store


@pytest.fixture(autouse=True)
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def make() -> Iterator[Any]:
    stores: list[Store] = []

    def one(**settings: Any) -> Store:
        stores.append(Store(Settings(**settings)))
        return stores[-1]

    yield one
    for store in stores:
        store.close()


async def chunks(size: int, part: int = 100) -> AsyncIterator[bytes]:
    for at in range(0, size, part):
        yield b"x" * min(part, size - at)


def opened(store: Store, size: int = 1000) -> Opened:
    photo = asyncio.run(store.receive(chunks(size), "photo.jpg"))
    store.keep(photo)
    return photo


def test_photos_unused_for_longest_make_room_for_one_that_comes(make: Any) -> None:
    store = make(photo_bytes=2500)
    first, second = opened(store), opened(store)
    with store.using(first.id):
        pass
    third = opened(store)
    assert set(store.photos) == {first.id, third.id}
    assert not second.folder.exists()


def test_a_photo_in_use_is_not_let_go_and_then_there_is_no_room(make: Any) -> None:
    store = make(photo_bytes=1500)
    first = opened(store)
    with store.using(first.id), pytest.raises(Refused, match="no room") as told:
        opened(store)
    assert told.value.status == 429
    assert first.folder.exists()
    assert not store.incoming
    assert len(list(store.root.iterdir())) == 1


def test_a_photo_that_came_slowly_is_not_let_go_as_it_arrives(make: Any) -> None:
    store = make(photos=2)
    slow = asyncio.run(store.receive(chunks(10), "slow.jpg"))
    others = [opened(store), opened(store)]
    store.keep(slow)
    assert slow.id in store.photos
    assert others[0].id not in store.photos


def test_photos_count_until_they_are_kept_or_discarded(make: Any) -> None:
    store = make(photo_bytes=1500)
    waiting = asyncio.run(store.receive(chunks(1000), "a.jpg"))  # its job runs
    with pytest.raises(Refused, match="no room"):
        opened(store)
    store.discard(waiting)
    assert opened(store).folder.exists()


@pytest.mark.parametrize(("size", "status"), [(0, 422), (2001, 413)])
def test_nothing_and_too_much_leave_nothing(make: Any, size: int, status: int) -> None:
    store = make(max_bytes=2000)
    with pytest.raises(Refused) as told:
        opened(store, size)
    assert told.value.status == status
    assert list(store.root.iterdir()) == []


def test_one_that_was_closed_while_it_was_used_goes_after_that(make: Any) -> None:
    store = make()
    photo = opened(store)
    with store.using(photo.id):
        store.drop(photo.id)
        assert photo.folder.exists()
        with pytest.raises(Refused, match="open it again"), store.using(photo.id):
            pass
    assert not photo.folder.exists()


def test_an_edit_drops_those_after_its_step_and_no_others(make: Any) -> None:
    photo = opened(make())
    for number, name in enumerate(("aa", "bb", "cc")):
        for kind in ("patches", "seen"):
            (photo.folder / f"{kind}-{name}.npz").write_bytes(b"x")
        photo.add(name, number)
    assert photo.until(2) == ("aa", "bb")
    with pytest.raises(Refused, match="no step 4") as told:
        photo.until(4)
    assert told.value.status == 409
    photo.add("dd", 1)
    assert photo.until(2) == ("aa", "dd")
    assert sorted(path.name for path in photo.folder.iterdir()) == ["patches-aa.npz", "photo", "seen-aa.npz"]


def test_a_folder_that_was_taken_away_is_made_anew(make: Any) -> None:
    store = make()
    store.root.rmdir()
    assert opened(store).folder.exists()
