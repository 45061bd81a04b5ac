"""Unsay edits photos by words: name a thing, and it is erased as if it had never been there."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unsay.bundle import Bundle, load_bundle
    from unsay.errors import BadInput, BundleError, NotFound, UnsayError
    from unsay.results import Segmentation
    from unsay.verbs import cutout, erase, inpaint, segment

__version__ = "0.1.0"
__all__ = [
    "BadInput",
    "Bundle",
    "BundleError",
    "NotFound",
    "Segmentation",
    "UnsayError",
    "cutout",
    "erase",
    "inpaint",
    "load_bundle",
    "segment",
]

_HOME = {
    "BadInput": "unsay.errors",
    "Bundle": "unsay.bundle",
    "BundleError": "unsay.errors",
    "NotFound": "unsay.errors",
    "Segmentation": "unsay.results",
    "UnsayError": "unsay.errors",
    "cutout": "unsay.verbs",
    "erase": "unsay.verbs",
    "inpaint": "unsay.verbs",
    "load_bundle": "unsay.bundle",
    "segment": "unsay.verbs",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import unsay` stays instant."""
    if name not in _HOME:
        raise AttributeError(f"module 'unsay' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
