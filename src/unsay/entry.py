"""Where the program `unsay` begins: with an answer to Ctrl-C, before anything that takes time is imported."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

INTERRUPTED = 130
INTERRUPTION = "unsay: interrupted; no file is half-written"


def main() -> int:
    """Run `unsay` with the process's own arguments and return the exit status."""
    before = signal.signal(signal.SIGINT, _end_at_once)
    from unsay.cli import main as run

    return run(sigint=before)


def _end_at_once(*_: Any) -> None:
    """Nothing was begun yet, so there is nothing to clear up."""
    if sys.stderr is not None:
        os.write(2, f"{INTERRUPTION}\n".encode())
    os._exit(INTERRUPTED)
