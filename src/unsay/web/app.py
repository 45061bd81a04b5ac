"""The page and its HTTP API put together: static files, routes, and how refusals are answered."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import unsay
from unsay.web.answers import Desk
from unsay.web.guard import Guard, answer_json
from unsay.web.jobs import Gone, Jobs, Refused
from unsay.web.oneshot import one_shot_routes
from unsay.web.photos import photo_routes, word_routes
from unsay.web.schemas import Limits, Sample, Status
from unsay.web.settings import Settings
from unsay.web.store import Store

STATIC = Path(__file__).parent / "static"
NOBODY = 499
"""The status of an answer that nobody waits for."""


def create_app(settings: Settings, jobs: Jobs, store: Store) -> FastAPI:
    """The application; `jobs` are started and stopped, `store` closed by whoever made them."""
    app = FastAPI(
        title="Unsay",
        version=unsay.__version__,
        summary="Edit photos by words, on this machine.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
    )
    desk = Desk(settings, jobs, store)
    app.include_router(photo_routes(desk))
    app.include_router(word_routes(desk))
    app.include_router(one_shot_routes(desk))
    _add_page(app, desk)
    _add_refusals(app)
    app.add_middleware(Guard, settings=settings)
    return app


def _add_page(app: FastAPI, desk: Desk) -> None:
    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/api/status", tags=["the server"])
    async def status() -> Status:
        """How busy the server is and what it allows."""
        own = desk.settings
        limits = Limits(
            megapixels=own.max_megapixels, bytes=own.max_bytes, jobs=own.jobs, queue=own.queue, seconds=own.seconds
        )
        return Status(
            version=unsay.__version__,
            running=desk.jobs.running,
            waiting=desk.jobs.waiting,
            limits=limits,
            heic=find_spec("pillow_heif") is not None,
        )

    @app.get("/api/samples", tags=["the server"])
    async def samples() -> list[Sample]:
        """Photos to try it on."""
        listed = STATIC / "samples" / "samples.json"
        return [Sample(**one) for one in json.loads(listed.read_text(encoding="utf-8"))]

    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        headers = {"retry-after": "2"} if error.status == 429 else None
        return JSONResponse(answer_json(error), error.status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return JSONResponse(answer_json(Refused(422, "the request's body is not JSON in UTF-8")), 422)
        if first["loc"] == ("body",):
            hint = "send a JSON object, with the header Content-Type: application/json"
            return JSONResponse(answer_json(Refused(422, hint)), 422)
        where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
        sentence = f"{where or 'the request'}: {first['msg'][:200]}"
        return JSONResponse(answer_json(Refused(422, sentence)), 422)

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        if error.status_code == 400:  # a body that FastAPI cannot parse
            return JSONResponse(answer_json(Refused(422, "the request's body is not JSON in UTF-8")), 422)
        return JSONResponse(answer_json(Refused(error.status_code, str(error.detail))), error.status_code)

    @app.exception_handler(Gone)
    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=NOBODY)
