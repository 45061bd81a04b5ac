"""Words -> masks: group the photo into regions, recognise each, bring the borders to full resolution."""

from unsay.segmentation.pipeline import segment_pixels

__all__ = ["segment_pixels"]
