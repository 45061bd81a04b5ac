"""Fuzzing: hostile photos, masks, words and manifests, made by the hundred thousand. See `fuzz/README.md`."""
