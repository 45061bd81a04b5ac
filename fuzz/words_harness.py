"""Words as people, scripts and strangers give them: checked, and looked for on the tests' bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fuzz import seeds, stage


def load() -> Callable[[bytes], object]:
    """The test: zero bytes divide the words; one in eight runs the whole verb."""
    from unsay import verbs
    from unsay.photo import Photo
    from unsay.segmentation.words import bare, check_words, singular

    bundle, rgb = stage.tiny_bundle(), Photo.open(seeds.photos("png")[2]).rgb

    def test(data: bytes) -> object:
        words = data.decode("utf-8", "surrogateescape").split("\0")
        checked = check_words(words)
        assert len(checked) == len(words)
        assert all(word == word.strip() and word for word in checked)
        known = {bare(word) for word in checked}
        assert all(isinstance(singular(bare(word), known.__contains__), str) for word in checked)
        return verbs.erase(rgb.copy(), words, bundle=bundle) if len(data) % 8 == 0 else checked

    return test


def start() -> Iterable[bytes]:
    """Words of several kinds."""
    return [b"red", b"The Dogs\0a cat", "red\0\U0001f415\0ß İ".encode(), b"x\xff", b"\x1b[31mred\0 \n"]
