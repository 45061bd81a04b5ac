"""What the routes share: running a job for a request, receiving photos, naming files."""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import Request, Response

from unsay.photo.write import SUFFIXES
from unsay.web import work
from unsay.web.jobs import Jobs, Refused, busy
from unsay.web.schemas import Error
from unsay.web.settings import Settings
from unsay.web.store import Store

T = TypeVar("T")
MEDIA = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".tiff": "image/tiff",
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".json": "application/json",
}
_OWN = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "tiff": ".tiff", "avif": ".avif", "heic": ".heic"}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": what}
    for status, what in {
        404: "No photo of this id is open.",
        409: "The photo has no such step, or no longer.",
        413: "Too many bytes or pixels.",
        422: "What was sent cannot be used as given.",
        429: "Busy: try again after `Retry-After` seconds.",
        507: "The server's disk is full.",
        504: "The work took too long and was stopped.",
    }.items()
}
BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"format": "binary"}}}}}
FILE: dict[int | str, dict[str, Any]] = {200: {"description": "The file.", "content": {"application/octet-stream": {}}}}


class Desk:
    """What every route needs: the settings, the jobs, the open photos."""

    def __init__(self, settings: Settings, jobs: Jobs, store: Store) -> None:
        self.settings, self.jobs, self.store = settings, jobs, store

    async def run(self, request: Request, function: Callable[..., T | work.Refusal], *given: Any) -> T:
        """A job for this request; one whose sender leaves is stopped. Raises `Refused`, `Gone`."""
        return await self.jobs.run(lambda: left(request), function, *given)

    def not_full(self) -> None:
        """Refuse before a photo is received what would be refused after it."""
        if self.jobs.full:
            raise busy(self.settings)


async def left(request: Request) -> None:
    """Returns once the sender of a request, whose body was read, has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def attachment(data: bytes, suffix: str, name: str, report: dict[str, Any] | None = None) -> Response:
    """A file to keep under `name`, with what was found in a header of its own."""
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
    if report is not None:
        headers["x-unsay-report"] = json.dumps(report)
    return Response(data, media_type=MEDIA[suffix], headers=headers)


def plain_name(given: str) -> str:
    """The last part of a file's name, without what no file name should hold."""
    last = PurePath(given.replace("\\", "/")).name
    clean = re.sub(r"[\x00-\x1f\x7f<>:\"|?*/\\]", "_", "".join(c for c in last if c.isprintable()))[:120].strip(". ")
    return clean or "photo"


def chosen_suffix(format: str | None) -> str | None:
    """The suffix that `format` stands for, None for the photo's own. Raises `Refused`."""
    if not format:
        return None
    suffix = f".{format.lower().lstrip('.')}"
    if suffix not in SUFFIXES:
        raise Refused(422, f"no format {format[:20]!r}: use one of {', '.join(sorted({*MEDIA} - {'.json'}))}")
    return _OWN[SUFFIXES[suffix]]


def own_suffix(format: str) -> str:
    """The suffix of a photo in the format `format`."""
    return _OWN[format]


def from_base64(text: str) -> bytes:
    """The bytes that `text` stands for; a data URL's head is passed over. Raises `Refused`."""
    try:
        return base64.b64decode(text.rpartition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        raise Refused(422, "labels is not base64: send the PNG's bytes in base64") from None


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Rounded to a millisecond."""
        return round(time.perf_counter() - self.start, 3)
