"""Losses, data, loops and export; needs the `[train]` extra."""
