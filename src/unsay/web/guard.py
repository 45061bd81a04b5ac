"""Who may ask, and how much may be sent: before anything of a request is looked at. An ASGI middleware."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import re
import sys
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unsay.web.jobs import Refused
from unsay.web.settings import Settings, is_loopback
from unsay.web.store import too_many_bytes

SEND_SECONDS = 60.0
"""One who does not take an answer for so long does not get the rest of it."""
DRAIN_SECONDS = 3.0
JSON_BYTES = 20_000_000
HEADERS = (
    (b"content-security-policy", b"default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
     b"form-action 'self'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)  # fmt: skip


class Slow(Exception):
    """A receiver fell silent within its answer."""


class Guard:
    """Passes on what may be asked; refuses other hosts' and other origins' requests, strangers and floods."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        body, answer = _Body(receive, self._limit(scope["path"]), self.settings.stall), _Answer(send, scope["path"])
        try:
            self._check(scope, headers)
            await self.app(scope, body, lambda message: answer(message) if body.refused is None else _nothing())
        except Refused as refused:
            body.refused = refused
        except Slow:
            return
        except Exception as error:  # ours, to be mended; whoever asked gets a sentence as for any other refusal
            print(f"unsay: {type(error).__name__}: {' '.join(str(error).split())[:500]}", file=sys.stderr)
            body.refused = Refused(500, f"something went wrong on the server ({type(error).__name__}): try again")
        if body.refused is not None:
            await body.drain()
            await answer.refuse(body.refused)

    def _limit(self, path: str) -> int:
        """Bytes of a body. Those that go into memory, as JSON does, are much smaller than photos and masks."""
        return (
            min(JSON_BYTES, self.settings.max_bytes) if path.endswith(("/find", "/masks")) else self.settings.max_bytes
        )

    def _check(self, scope: Scope, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        if self.settings.local and not is_loopback(_name(host)):
            raise Refused(403, f"this page is served to this machine alone, not as {host[:80]!r}: use localhost")
        origin = headers.get("origin")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            raise Refused(403, f"requests from other pages ({origin[:80]}) are refused")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and scope["path"].startswith("/api"):
            raise Refused(403, "requests from other pages are refused")
        if self.settings.auth and not _knows(headers.get("authorization", ""), self.settings.auth):
            raise Refused(401, "a name and a password are needed: those given with --auth")
        if not headers.get("content-length", "0").isdecimal():
            raise Refused(400, "the Content-Length is no number")
        if int(headers.get("content-length", "0")) > (limit := self._limit(scope["path"])):
            raise too_many_bytes(limit)


class _Body:
    """The request's body: no more than may be sent, and not more slowly.

    `refused`: why it was not read on. The application may make an error of its own of that exception; it is not sent.
    """

    def __init__(self, receive: Receive, limit: int, stall: float) -> None:
        self.receive, self.limit, self.stall = receive, limit, stall
        self.came, self.whole = 0, False
        self.refused: Refused | None = None

    async def __call__(self) -> Message:
        if self.whole:  # only that the client leaves can come now
            return await self.receive()
        try:
            message = await asyncio.wait_for(self.receive(), self.stall)
        except asyncio.TimeoutError:
            self.whole = True
            self.refused = Refused(408, f"nothing came for {self.stall:g} s: send the request again")
            raise self.refused from None
        self.came += len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        if self.came > self.limit:
            self.refused = too_many_bytes(self.limit)
            raise self.refused
        return message

    async def drain(self) -> None:
        """Take in what is still sent, for a while: many clients read an answer only once they have sent everything."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._rest(), DRAIN_SECONDS)

    async def _rest(self) -> None:
        while not self.whole:
            self.whole = not (await self.receive()).get("more_body", False)


class _Answer:
    """The answer, with the headers that every one has."""

    def __init__(self, send: Send, path: str) -> None:
        self.send, self.path, self.begun = send, path, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            cache = [] if any(name == b"cache-control" for name, _ in message["headers"]) else [_cache(self.path)]
            message = {**message, "headers": [*message["headers"], *HEADERS, *cache]}
        try:
            await asyncio.wait_for(self.send(message), SEND_SECONDS)
        except asyncio.TimeoutError:
            raise Slow from None

    async def refuse(self, refused: Refused) -> None:
        """Answer with an error, unless an answer was begun; the rest of the request is not read."""
        if self.begun:
            return
        body = json.dumps(answer_json(refused)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(b"connection", b"close")]
        if refused.status == 401:
            headers += [(b"www-authenticate", b'Basic realm="Unsay", charset="UTF-8"')]
        if refused.status == 429:
            headers += [(b"retry-after", b"2")]
        await self({"type": "http.response.start", "status": refused.status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


async def _nothing() -> None:
    """What is sent in place of an answer that will be another."""


def _cache(path: str) -> tuple[bytes, bytes]:
    """Answers about photos are kept nowhere; the page's own files are asked for again."""
    return b"cache-control", b"no-store" if path.startswith("/api") else b"no-cache"


def _name(host: str) -> str:
    """The host without its port: "localhost:7860", "[::1]:7860"; empty for what is neither."""
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?", host)
    return found[1].rstrip(".") if found else ""


def _knows(given: str, auth: str) -> bool:
    kind, _, code = given.partition(" ")
    expected = base64.b64encode(auth.encode()).decode()
    return kind.lower() == "basic" and hmac.compare_digest(code.strip().encode(), expected.encode())


def answer_json(refused: Refused) -> dict[str, Any]:
    """What a refusal says in JSON."""
    return {"error": str(refused), "status": refused.status, **refused.details}
