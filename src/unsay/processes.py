"""Processes of ours that work beside each other, for the page and for batches: how many, and with how many threads."""

from __future__ import annotations

import os

import cv2

from unsay.photo.read import block_other_loaders

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VIPS_CONCURRENCY")
"""What numerical libraries and libvips take their number of threads from, as they are imported."""


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_ready(threads: int) -> None:
    """Make this process ready for photos of anybody: its threads bounded, the formats that we do not read shut off."""
    cv2.setNumThreads(threads)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what it cannot do is told by our answer
    block_other_loaders()
