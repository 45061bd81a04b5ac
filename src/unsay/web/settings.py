"""What the page's server allows: one place for every limit."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from unsay.errors import BadInput
from unsay.processes import cores

PASSWORD_VARIABLE = "UNSAY_AUTH"
MEGABYTE = 1_000_000


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, is this machine's own."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class Settings:
    """How `unsay serve` runs. Sizes in bytes, times in seconds."""

    host: str = "127.0.0.1"
    port: int = 7860
    bundle: str = "starter"
    auth: str = field(default="", repr=False)
    """NAME:PASSWORD that every request has to bring (HTTP Basic); empty: none, and then only this machine is served."""
    max_megapixels: float = 50.0
    max_bytes: int = 50 * MEGABYTE
    jobs: int = field(default_factory=cores)
    """Jobs that run at the same time, each in a process of its own."""
    queue: int = 8
    """Jobs that may wait; beyond them a request is refused with 429."""
    seconds: float = 60.0
    """A job's longest time, from its start; then it is stopped with 504."""
    job_bytes: int = 3000 * MEGABYTE
    """Memory that a job's process may hold (Linux)."""
    stall: float = 10.0
    """A sender that is silent for so long is cut off: before its request's head is whole, and within its body."""
    connections: int = 1000
    photos: int = 64
    """Photos that are kept at the same time; the one unused for longest goes first."""
    photo_bytes: int = 2000 * MEGABYTE
    """Room on the disk for photos and what was made of them; beyond it, those unused for longest go."""
    keep: float = 3600.0
    """A photo that nobody used for so long is deleted."""

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the page."""
        return is_loopback(self.host)


def check_settings(settings: Settings) -> None:
    """Raise `BadInput` for settings that cannot be served, or not safely."""
    if not 0 <= settings.port <= 65535:
        raise BadInput(f"the port is {settings.port}; give 0 (any free one) to 65535")
    if settings.auth and (":" not in settings.auth or not all(settings.auth.split(":", 1))):
        raise BadInput(f"--auth (or ${PASSWORD_VARIABLE}) must be NAME:PASSWORD, neither of them empty")
    if not settings.host or not settings.auth.isprintable() or not _encodes(settings.auth):
        raise BadInput(
            "--host is empty, or --auth holds what is no text: give a host's name, and NAME:PASSWORD in UTF-8"
        )
    if not settings.local and not settings.auth:
        raise BadInput(
            f"{settings.host} can be reached from other machines: give --auth NAME:PASSWORD (or ${PASSWORD_VARIABLE}) "
            "with it, or leave --host out to serve this machine alone"
        )
    if settings.jobs < 1 or settings.queue < 0:
        raise BadInput(f"jobs is {settings.jobs} and queue {settings.queue}; at least 1 and 0 are needed")
