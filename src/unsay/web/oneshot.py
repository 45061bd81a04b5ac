"""Routes without state: the photo is the request's body, the result the answer's; nothing is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from unsay.options import EraseOptions, InpaintOptions, SegmentOptions
from unsay.web import work
from unsay.web.answers import BODY, FILE, REFUSALS, Desk, attachment, chosen_suffix, own_suffix
from unsay.web.jobs import Refused

Words = Annotated[list[str], Query(description="What to look for; repeat it for several words.")]
Threshold = Annotated[float | None, Query(description="Score from 0 to 1 from which a word counts as found.")]
Grow = Annotated[int | None, Query(description="Pixels around the thing; left out: by the photo's size.")]
SEGMENT_SUFFIXES = {"overlay": ".jpg", "labels": ".png", "coco": ".json", "labelme": ".json"}


def one_shot_routes(desk: Desk) -> APIRouter:
    """The routes, for one server."""
    routes = APIRouter(prefix="/api", tags=["one photo, one answer"], responses=REFUSALS | FILE)

    async def once(request: Request, function: Callable[..., Any], *given: Any) -> tuple[bytes, dict[str, Any]]:
        desk.not_full()
        photo = await desk.store.receive(request.stream(), "photo")
        try:
            done: tuple[bytes, dict[str, Any]] = await desk.run(request, function, photo.folder, *given)
        finally:
            desk.store.discard(photo)
        return done

    @routes.post("/erase", openapi_extra=BODY)
    async def erase(
        request: Request,
        word: Words,
        threshold: Threshold = None,
        grow: Grow = None,
        texture: bool = True,
        format: str | None = None,
    ) -> Response:
        """Erase what the words name; header `X-Unsay-Report` says what was found."""
        options = EraseOptions(SegmentOptions(threshold), InpaintOptions(grow, None, texture=texture))
        suffix = chosen_suffix(format)
        data, report = await once(request, work.erase_words, word, options, suffix)
        suffix = suffix or own_suffix(report["format"])
        return attachment(data, suffix, f"photo.unsaid{suffix}", report)

    @routes.post("/segment", openapi_extra=BODY)
    async def segment(request: Request, word: Words, threshold: Threshold = None, format: str = "overlay") -> Response:
        """Masks of the words: an overlay to look at, a label image, COCO or labelme."""
        if format not in SEGMENT_SUFFIXES:
            raise Refused(422, f"no format {format[:20]!r}: use one of {', '.join(SEGMENT_SUFFIXES)}")
        data, report = await once(request, work.segment_words, word, SegmentOptions(threshold), format)
        suffix = SEGMENT_SUFFIXES[format]
        return attachment(data, suffix, f"photo.{format}{suffix}", report)

    @routes.post("/cutout", openapi_extra=BODY)
    async def cutout(request: Request, word: Words, threshold: Threshold = None, grow: Grow = 0) -> Response:
        """What the words name, transparent elsewhere, as a PNG."""
        options = EraseOptions(SegmentOptions(threshold), InpaintOptions(grow, None))
        data, report = await once(request, work.cut_out_words, word, options)
        return attachment(data, ".png", "photo.cutout.png", report)

    return routes
