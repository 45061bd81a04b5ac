"""`unsay serve`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from unsay.commands.console import note


def serve(
    host: Annotated[
        str, typer.Option("--host", metavar="NAME", help="Where to serve; any but this machine needs --auth.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", help="The port; 0 takes any that is free.")] = 7860,
    auth: Annotated[
        str | None,
        typer.Option("--auth", metavar="NAME:PASSWORD", help="Ask for these; $UNSAY_AUTH does the same unseen."),
    ] = None,
    bundle: Annotated[str, typer.Option("--bundle", metavar="NAME|DIR", help="The networks to use.")] = "starter",
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Open a page on this machine: drop a photo, type a word, erase it."""
    from unsay.web.server import serve as run
    from unsay.web.settings import PASSWORD_VARIABLE, Settings

    def ready(address: str) -> None:
        note(f"Unsay is at {address} (Ctrl-C ends it)")
        if open_browser:
            import webbrowser

            webbrowser.open(address)

    run(Settings(host, port, bundle, os.environ.get(PASSWORD_VARIABLE, "") if auth is None else auth), ready)
    note("ended; all photos are deleted")
