"""Mask -> pixels: crop around the hole, fill, hand back patches to lay over the photo."""
