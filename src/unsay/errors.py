"""One tree of errors. Every message names the value, the limit and the next step, on one line."""

from __future__ import annotations


class UnsayError(Exception):
    """Base of every error that Unsay raises on purpose; `exit_status` is what the command line ends with."""

    exit_status = 1


class BadInput(UnsayError):
    """A photo, mask, word or option cannot be used as given."""

    exit_status = 2


class TooLarge(BadInput):
    """A photo has more pixels than are taken; `megapixels`: how many, in millions."""

    def __init__(self, message: str, megapixels: float) -> None:
        super().__init__(message)
        self.megapixels = megapixels


class BundleError(UnsayError):
    """A bundle is missing, damaged, or lacks the part that is needed."""


class NotFound(UnsayError):
    """None of the words was found in the photo; nothing was written.

    `scores` maps every word to its score in [0, 1]; `nearest` lists words that are in the photo, best first.
    """

    exit_status = 3

    def __init__(self, message: str, scores: dict[str, float], nearest: list[str] | None = None) -> None:
        super().__init__(message)
        self.scores = scores
        self.nearest = nearest or []
