from __future__ import annotations

import pytest

from unsay.errors import BadInput
from unsay.segmentation.words import bare, check_words, singular


def test_blanks_around_words_go() -> None:
    assert check_words(["  dog", "red   car "]) == ("dog", "red car")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "no word"),
        ([""], "empty"),
        (["  \t"], "empty"),
        (["?!"], "no letter"),
        (["x" * 201], "201 characters; at most 200"),
        (["thing"] * 1001, "1001 words were given; at most 1000"),
        (["dog", "a Dog"], "'dog' and 'a Dog' are the same"),
    ],
)
def test_unusable_words_end_in_one_clear_line(words: list[str], told: str) -> None:
    with pytest.raises(BadInput, match=r"^[^\n]*$") as caught:
        check_words(words)
    assert told in str(caught.value)


def test_a_thousand_words_are_taken() -> None:
    assert len(check_words([f"thing {i}" for i in range(1000)])) == 1000


@pytest.mark.parametrize(
    ("word", "plain"), [("The Dog", "dog"), ("a dog", "dog"), ("an  apple.", "apple"), ("a", "a"), ("The", "the")]
)
def test_case_and_articles_do_not_matter(word: str, plain: str) -> None:
    assert bare(word) == plain


@pytest.mark.parametrize(
    ("word", "one"),
    [
        ("dogs", "dog"),
        ("buses", "bus"),
        ("puppies", "puppy"),
        ("scarves", "scarf"),
        ("children", "child"),
        ("red dogs", "red dog"),
        ("glass", "glass"),
        ("grass", "grass"),
        ("gizmos", "gizmos"),
    ],
)
def test_plurals_of_known_words_become_singular(word: str, one: str) -> None:
    known = {"dog", "bus", "puppy", "scarf", "child", "glass", "grass"}
    assert singular(word, known.__contains__) == one
