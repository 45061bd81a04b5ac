"""Routes about an open photo: open, look, find words, erase, download, close."""

from __future__ import annotations

import base64
import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from unsay.options import InpaintOptions, SegmentOptions
from unsay.web import work
from unsay.web.answers import (
    BODY,
    FILE,
    REFUSALS,
    Clock,
    Desk,
    attachment,
    chosen_suffix,
    from_base64,
    own_suffix,
    plain_name,
)
from unsay.web.jobs import Refused
from unsay.web.kept import drop_edit
from unsay.web.schemas import Erased, FindRequest, Found, MasksRequest, PhotoState
from unsay.web.store import Opened, Store

Step = Annotated[int, Query(ge=0, description="How many edits are looked at; 0 is the photo as it came.")]
MASK_SUFFIXES = {"labels": ".png", "coco": ".json", "labelme": ".json"}


def photo_routes(desk: Desk) -> APIRouter:
    """The routes of a photo as a whole: open, look at, download, close."""
    routes = APIRouter(prefix="/api/photos", tags=["an open photo"], responses=REFUSALS)
    store = desk.store

    @routes.post("", status_code=201, openapi_extra=BODY)
    async def open_photo(request: Request, name: str = "photo") -> PhotoState:
        """Open the photo that is the request's body; it is looked at once, any words can then be found in it."""
        desk.not_full()
        photo = await store.receive(request.stream(), plain_name(name))
        try:
            photo.about = await desk.run(request, work.open_photo, photo.folder)
        except BaseException:
            store.discard(photo)
            raise
        store.keep(photo)
        return PhotoState(**photo.state(0))

    @routes.get("/{id}")
    async def state(id: str) -> PhotoState:
        """What is open under this id."""
        with store.using(id) as photo:
            return PhotoState(**photo.state(len(photo.edits)))

    @routes.get("/{id}/picture", responses=FILE)
    async def picture(request: Request, id: str, step: Step = 0) -> Response:
        """The photo after `step` edits as a JPEG to look at: full size, sRGB, the way up that it is displayed."""
        with store.using(id) as photo:
            data = await desk.run(request, work.picture, photo.folder, photo.until(step))
        return Response(data, media_type="image/jpeg")

    @routes.get("/{id}/file", responses=FILE)
    async def file(request: Request, id: str, step: Step = 0, format: str | None = None) -> Response:
        """The photo after `step` edits, in its own format with all that it carried, or in another."""
        suffix = chosen_suffix(format)
        with store.using(id) as photo:
            data = await desk.run(request, work.photo_file, photo.folder, photo.until(step), suffix)
            suffix = suffix or own_suffix(photo.about["format"])
            return attachment(data, suffix, f"{stem(photo)}.unsaid{suffix}")

    @routes.delete("/{id}", status_code=204)
    @routes.post("/{id}/close", status_code=204)
    async def close(id: str) -> None:
        """Delete the photo and all that was made of it."""
        store.drop(id)

    return routes


def word_routes(desk: Desk) -> APIRouter:
    """The routes about what is in a photo: find, erase, cut out, masks."""
    routes = APIRouter(prefix="/api/photos/{id}", tags=["an open photo"], responses=REFUSALS)
    store = desk.store

    @routes.get("/regions", responses=FILE)
    async def regions(request: Request, id: str, step: Step = 0) -> Response:
        """The regions before any was named, as a grey PNG of the photo's size: one value each, from 1."""
        with store.using(id) as photo:
            data = await desk.run(request, work.regions, photo.folder, photo.until(step))
        return Response(data, media_type="image/png")

    @routes.post("/find")
    async def find(request: Request, id: str, asked: FindRequest) -> Found:
        """Find words; those that the photo does not show are listed, not refused. All words compete for each place."""
        clock = Clock()
        options = SegmentOptions(asked.threshold, asked.box, asked.point)
        with store.using(id) as photo:
            edits = photo.until(asked.step)
            found = await desk.run(request, work.find_words, photo.folder, edits, asked.words, options)
            photo.measure()
        labels = base64.b64encode(found.pop("labels")).decode()
        return Found(**found, labels=labels, seconds=clock.seconds)

    @routes.post("/erase", openapi_extra=BODY)
    async def erase(request: Request, id: str, step: Step = 0, grow: int | None = None, texture: bool = True) -> Erased:
        """Fill what the mask in the body (a PNG, white = fill) covers; edits after `step` are dropped."""
        clock = Clock()
        desk.not_full()
        options = InpaintOptions(grow, None, texture=texture)
        with store.using(id) as photo, one_edit(photo) as name:
            edits = photo.until(step)
            mask = await received_mask(request, store, photo, name)
            share = await desk.run(request, work.erase_mask, photo.folder, edits, name, mask, options)
            photo.add(name, step)
            steps = len(photo.edits)
        return Erased(step=steps, steps=steps, hole_share=share, seconds=clock.seconds)

    @routes.post("/cutout", openapi_extra=BODY, responses=FILE)
    async def cutout(request: Request, id: str, step: Step = 0) -> Response:
        """What the mask in the body covers, transparent elsewhere, as a PNG."""
        desk.not_full()
        with store.using(id) as photo, temporary(photo) as name:
            edits = photo.until(step)
            mask = await received_mask(request, store, photo, name)
            data = await desk.run(request, work.cut_out, photo.folder, edits, mask)
            return attachment(data, ".png", f"{stem(photo)}.cutout.png")

    @routes.post("/masks", responses=FILE)
    async def masks(request: Request, id: str, asked: MasksRequest, format: str = "labels") -> Response:
        """Masks as a label image (PNG), COCO or labelme (JSON)."""
        if format not in MASK_SUFFIXES:
            raise Refused(422, f"no format {format[:20]!r}: use one of {', '.join(MASK_SUFFIXES)}")
        labels = from_base64(asked.labels)
        with store.using(id) as photo:
            shape = (photo.about["height"], photo.about["width"])
            given = (shape, format, photo.name, asked.words, asked.scores, labels)
            data = await desk.run(request, work.mask_file, *given)
            suffix = MASK_SUFFIXES[format]
            return attachment(data, suffix, f"{stem(photo)}.{format}{suffix}")

    return routes


@contextlib.contextmanager
def temporary(photo: Opened) -> Iterator[str]:
    """A name that no other file of the photo has; nothing of this name stays, unless an edit was made of it."""
    name = secrets.token_hex(8)
    try:
        yield name
    finally:
        if name not in photo.edits:
            drop_edit(photo.folder, name)
        (photo.folder / f"mask-{name}.png").unlink(missing_ok=True)
        photo.measure()


@contextlib.contextmanager
def one_edit(photo: Opened) -> Iterator[str]:
    """The name of a new edit, the only one that is being made of this photo. Raises `Refused` with 429."""
    if photo.editing:
        raise Refused(429, "another edit of this photo is being made: try again in a few seconds")
    photo.editing = True
    try:
        with temporary(photo) as name:
            yield name
    finally:
        photo.editing = False


async def received_mask(request: Request, store: Store, photo: Opened, name: str) -> Path:
    """The request's body as a file. Raises `Refused` for an empty one, or one that is too large."""
    path = await store.pour(request.stream(), photo, f"mask-{name}.png")
    if not path.stat().st_size:
        raise Refused(422, "no mask came: send a PNG of the photo's size as the request's body")
    return path


def stem(photo: Opened) -> str:
    """The photo's name without its suffix."""
    return photo.name.rpartition(".")[0] or photo.name
