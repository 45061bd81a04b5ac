"""What the API takes and gives, as JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from unsay.options import MAX_WORDS

Words = Annotated[list[str], Field(max_length=MAX_WORDS)]


class PhotoState(BaseModel):
    """An open photo. `step`: the edits that are looked at; `steps`: those made. `nearest`: words it seems to show."""

    id: str
    name: str
    format: str
    width: int
    height: int
    nearest: list[str]
    step: int
    steps: int


class FindRequest(BaseModel):
    """Words to look for in the photo after `step` edits; `threshold` from 0 to 1, null: the bundle's own."""

    words: Words
    step: int = Field(0, ge=0)
    threshold: float | None = None
    box: tuple[int, int, int, int] | None = None
    point: tuple[int, int] | None = None


class Found(BaseModel):
    """Where the words are. `labels`: a grey PNG of the photo's size in base64, value i = the i-th word."""

    words: list[str]
    found: list[str]
    not_found: list[str]
    scores: dict[str, float]
    nearest: list[str]
    labels: str
    seconds: float


class Erased(BaseModel):
    """An edit was made. `hole_share`: the share of the photo that was filled."""

    step: int
    steps: int
    hole_share: float
    seconds: float


class MasksRequest(BaseModel):
    """Masks to be written: `labels` as `Found` has them, or as drawn since."""

    words: Words
    labels: str
    scores: dict[str, float] = {}


class Limits(BaseModel):
    """What the server allows: megapixels and bytes of a photo, jobs at a time, jobs that wait, seconds of a job."""

    megapixels: float
    bytes: int
    jobs: int
    queue: int
    seconds: float


class Status(BaseModel):
    """How busy the server is. `heic`: whether HEIC is read here."""

    version: str
    running: int
    waiting: int
    limits: Limits
    heic: bool


class Sample(BaseModel):
    """A photo to try it on, with words that it shows; `grow`: pixels to erase around them; `hint`: what else to do."""

    name: str
    file: str
    words: list[str]
    licence: str
    grow: int | None = None
    hint: str | None = None


class Error(BaseModel):
    """Why a request was not done: one sentence, and the status once more."""

    error: str
    status: int
