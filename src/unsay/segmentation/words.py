"""The user's words: checked, and brought to the form in which the bundle knows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from unsay.errors import BadInput
from unsay.options import MAX_WORD_LENGTH, MAX_WORDS

ARTICLES = ("a ", "an ", "the ", "my ", "some ")
IRREGULAR = {
    "men": "man",
    "women": "woman",
    "children": "child",
    "people": "person",
    "persons": "person",
    "mice": "mouse",
    "geese": "goose",
    "feet": "foot",
    "teeth": "tooth",
    "oxen": "ox",
    "leaves": "leaf",
    "knives": "knife",
    "wolves": "wolf",
    "calves": "calf",
    "shelves": "shelf",
    "loaves": "loaf",
    "policemen": "policeman",
    "firemen": "fireman",
    "cattle": "cow",
}


def check_words(words: Sequence[str]) -> tuple[str, ...]:
    """The words with outer blanks removed. Raises `BadInput` for none, too many, an empty, long or repeated one."""
    if isinstance(words, str):
        words = [words]
    if len(words) == 0:
        raise BadInput("no word was given: name at least one thing, such as 'dog', or give a point on it")
    if len(words) > MAX_WORDS:
        raise BadInput(f"{len(words)} words were given; at most {MAX_WORDS} are looked for at once: give fewer")
    seen: dict[str, str] = {}
    for word in words:
        clean = _check_word(word)
        key = bare(clean)
        if key in seen:
            raise BadInput(f"the words {seen[key]!r} and {clean!r} are the same: give each word once")
        seen[key] = clean
    return tuple(seen.values())


def _check_word(word: str) -> str:
    if not isinstance(word, str):
        raise BadInput(f"a word must be text, not {type(word).__name__}: {word!r}")
    if not word.isascii() and any("\ud800" <= c <= "\udfff" for c in word):
        raise BadInput(f"the word {word!r} is not text in UTF-8: type it again")
    clean = " ".join(word.split())
    if not clean:
        raise BadInput(f"the word {word!r} is empty: name a thing, such as 'dog'")
    if len(clean) > MAX_WORD_LENGTH:
        raise BadInput(
            f"the word {clean[:20] + '...'!r} has {len(clean)} characters; at most {MAX_WORD_LENGTH} are read"
        )
    if not any(c.isalnum() for c in clean):
        raise BadInput(f"the word {clean!r} has no letter: name a thing, such as 'dog'")
    return clean


def bare(word: str) -> str:
    """Lower case, without an article in front: "The Dog" and "a dog" are "dog"."""
    text = " ".join(word.lower().split()).strip(".,;:!?\"'")
    for article in ARTICLES:
        if text.startswith(article) and len(text) > len(article):
            return text[len(article) :]
    return text


def singular(word: str, known: Callable[[str], bool]) -> str:
    """The singular of a bare word's last part, where `known` knows it; else the word as it is."""
    head, _, last = word.rpartition(" ")
    if last in IRREGULAR:
        return f"{head} {IRREGULAR[last]}".strip()
    if known(word):
        return word
    for ending, instead in (("ies", "y"), ("ves", "f"), ("es", ""), ("s", "")):
        if last.endswith(ending) and len(last) > len(ending) + 1:
            candidate = f"{head} {last[: -len(ending)] + instead}".strip()
            if known(candidate) or known(candidate.rpartition(" ")[2]):
                return candidate
    return word
