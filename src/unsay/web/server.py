"""`unsay serve`: settings -> a server that runs until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from unsay.errors import BadInput
from unsay.web.app import create_app
from unsay.web.jobs import Jobs
from unsay.web.protocol import PatientProtocol
from unsay.web.settings import Settings, check_settings
from unsay.web.store import Store

SWEEP_SECONDS = 60.0
SPARE_FILES = 32
"""Files that the server opens besides connections."""


def serve(settings: Settings, ready: Callable[[str], None] = lambda _: None) -> None:
    """Serve the page until SIGINT or SIGTERM; `ready` is called with its address once it answers.

    Raises `BadInput` for settings that cannot be served, `BundleError` for a bundle that cannot be used.
    """
    check_settings(settings)
    with contextlib.suppress(_Told), _listening(settings) as listening, contextlib.ExitStack() as afterwards:
        _on_signals(_end)  # from here on something may have to be deleted
        jobs, store = Jobs(settings), Store(settings)
        afterwards.callback(store.close)
        afterwards.callback(jobs.stop)
        jobs.start()
        asyncio.run(_serve(settings, jobs, store, listening, ready))


class _Told(BaseException):
    """A signal told the server to end before it was ready; no library may swallow it."""


def _end(*_: Any) -> None:
    raise _Told


def _on_signals(handler: Callable[..., Any]) -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        with contextlib.suppress(ValueError, AttributeError):  # not in the main thread: whoever runs us stops us
            signal.signal(getattr(signal, name), handler)


async def _serve(
    settings: Settings, jobs: Jobs, store: Store, listening: socket.socket, ready: Callable[[str], None]
) -> None:
    protocol = type("Protocol", (PatientProtocol,), {"patience": settings.stall})
    config = uvicorn.Config(
        create_app(settings, jobs, store),
        http=protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=min(settings.connections, _files() - SPARE_FILES),
        timeout_keep_alive=5,
        timeout_graceful_shutdown=3,
    )
    server = _Server(config)
    _on_signals(server.handle_exit)
    sweeper = asyncio.create_task(_sweep(store))
    ready(address(settings.host, listening.getsockname()[1]))
    await server.serve([listening])
    sweeper.cancel()


class _Server(uvicorn.Server):
    """uvicorn's, with the signals left to us: it would raise them again before we have cleaned up."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured."""
        yield


async def _sweep(store: Store) -> None:
    """Let old photos go also while nobody opens another."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        store.make_room()


def _listening(settings: Settings) -> socket.socket:
    host = settings.host.strip("[]")
    try:
        family = socket.getaddrinfo(host, None)[0][0]
        return socket.create_server((host, settings.port), family=family, backlog=512)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(
            f"cannot serve at {settings.host}, port {settings.port} ({reason}): give another --port, or 0 for any that "
            "is free"
        ) from error


def _files() -> int:
    """How many files and connections this process may have open."""
    if sys.platform == "win32":
        return 8192
    import resource

    return max(2 * SPARE_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def address(host: str, port: int) -> str:
    """The page's address as one types it."""
    return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{port}/"
