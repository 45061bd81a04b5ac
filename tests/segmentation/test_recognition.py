"""Evidence, presence and the naming of groups, on numbers small enough to follow."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from unsay.segmentation.lexicon import Lexicon
from unsay.segmentation.recognition import (
    Constants,
    calibrated,
    evidence,
    limits,
    make_queries,
    name_groups,
    presence,
    standing,
)
from unsay.segmentation.regions import Regions

PLAIN = Constants(
    unit=1.0,
    kind_margin=0.2,
    kind_photos=0,
    trust_photos=0.0,
    alone=0.0,
    whole_head=0.0,
    unseen_scale=1.0,
    unseen_bonus=0.0,
    class_weight=1.0,
    class_floor=-2.0,
)
YES = np.array([True, True])


def lexicon() -> Lexicon:
    """The word "animal" has the kinds "dog" and "cat"; ImageNet class 1 is a dog, 2 a cat."""
    vocabulary = ["animal", "dog", "cat"]
    vectors = np.eye(3, dtype=np.float32)
    classes = np.array([[0, 0, 1], [0, 1, 0], [0, 0, 1]], np.float32)
    spread = np.eye(3, dtype=np.float32)
    kinds = {"animal": [1, 2]}
    places = {w: i for i, w in enumerate(vocabulary)}
    return Lexicon(
        vocabulary, [50, 900, 100], [], kinds, {"dog": [1], "cat": [2]}, vectors, classes, spread[0], spread, places
    )


def with_relatives() -> Lexicon:
    """A "wolf" has the family of the dog (class 1), and one of dog and cat; "baker" is a person, worn is class 0."""
    plain = lexicon()
    return dataclasses.replace(
        plain,
        vocabulary=["animal", "dog", "cat", "baker"],
        photos=[50, 900, 100, 400],
        vectors=np.vstack([plain.vectors, plain.vectors[:1]]),
        index={**plain.index, "baker": 3},
        related={"wolf": [[1], [1, 2]], "fox": [[1, 2]], "baker": [[0]]},
        people=frozenset({"baker"}),
        worn=[0],
    )


def regions(*embeddings: tuple[float, ...], logits: object = None) -> Regions:
    rows = np.array(embeddings, np.float32)
    given = np.zeros((len(rows), 0), np.float32) if logits is None else np.array(logits, np.float32)
    return Regions(rows / np.linalg.norm(rows, axis=1, keepdims=True), given, np.ones(len(rows), np.float32))


def test_a_kind_of_the_word_speaks_for_it_and_pays_a_margin() -> None:
    """The sentences have "animal" 50 times and its kinds 1,000 times: a kind pays 50 / 1,050 of the margin."""
    constants = dataclasses.replace(PLAIN, kind_margin=2.1)
    queries = make_queries(["animal"], np.eye(3, dtype=np.float32)[:1], lexicon(), constants)
    rows = evidence(queries, regions((1, 0, 0), (0, 1, 0), (0, 1, 1)), constants)
    assert rows[0].tolist() == pytest.approx([1.0, 0.9, np.sqrt(0.5) - 0.1], abs=1e-6)


def test_the_share_of_its_classes_adds_to_a_word_that_covers_some() -> None:
    queries = make_queries(["dog", "sofa"], np.array([[0, 1, 0], [1, 0, 0]], np.float32), lexicon(), PLAIN)
    seen = regions((0, 1, 0), (0, 1, 0), logits=[[0, 20, 0], [20, 0, 0]])
    rows = evidence(queries, seen, PLAIN)
    assert rows[0].tolist() == pytest.approx([3.0, 1.0], abs=1e-3)  # log share 0, two above the floor; far below it
    assert rows[1].tolist() == pytest.approx([0.0, 0.0], abs=1e-3)


def test_kinds_that_training_hardly_saw_do_not_speak() -> None:
    own = np.eye(3, dtype=np.float32)[:1]
    few = make_queries(["animal"], own, lexicon(), dataclasses.replace(PLAIN, kind_photos=101))
    assert len(make_queries(["animal"], own, lexicon(), PLAIN).vectors) == 3
    assert few.vectors.tolist() == [[1, 0, 0], [0, 1, 0]]


def test_the_head_counts_as_far_as_training_saw_the_noun() -> None:
    constants = dataclasses.replace(PLAIN, trust_photos=100.0, alone=1.0)
    queries = make_queries(["dog", "cat"], np.eye(3, dtype=np.float32)[1:], lexicon(), constants)
    assert queries.trust.tolist() == pytest.approx([0.9, 0.5])
    seen = regions((0, 1, 0), (0, 1, 0), logits=[[0, 20, 0], [0, 20, 0]])
    assert evidence(queries, seen, constants)[0, 0] == pytest.approx(0.9 + 1.1 * 2, abs=1e-3)


def test_the_best_region_may_speak_for_the_whole() -> None:
    queries = make_queries(["sofa"], np.array([[1, 0, 0]], np.float32), lexicon(), PLAIN)
    seen = regions((1, 0, 0), (0, 1, 0))
    rows = [evidence(queries, seen, dataclasses.replace(PLAIN, whole_head=w))[0, -1] for w in (0.0, 0.5, 1.0)]
    assert rows == pytest.approx([0.0, 0.5, 1.0])


def test_without_a_bank_the_unit_is_the_temperature() -> None:
    none = np.zeros((0, 0), np.float32)
    empty = Lexicon([], [], [], {}, {}, none, none, none, none, {})
    constants = dataclasses.replace(PLAIN, temperature=0.5)
    queries = make_queries(["dog"], np.array([[0, 1, 0]], np.float32), empty, constants)
    assert evidence(queries, regions((0, 1, 0), (0, 1, 0)), constants)[0].tolist() == [2.0, 2.0]


def test_presence_weighs_the_best_region_against_the_whole() -> None:
    rows = np.array([[1.0, 5.0, 2.0]], np.float32)
    assert presence(rows, dataclasses.replace(PLAIN, best_region=0.25))[0] == pytest.approx(0.25 * 5 + 0.75 * 2)


def test_a_score_is_even_where_its_curve_says_and_grows() -> None:
    constants = dataclasses.replace(PLAIN, present_at=3.0, unseen_at=1.0, unseen_slope=2.0)
    queries = make_queries(["dog", "cat", "sofa"], np.eye(3, dtype=np.float32), lexicon(), constants)
    assert calibrated(np.array([3.0, 4.0, 1.0], np.float32), queries, constants)[[0, 2]].tolist() == [0.5, 0.5]
    low, high = (calibrated(np.full(3, v, np.float32), queries, constants) for v in (1.5, 2.5))
    assert (low < high).all()
    assert low[2] == pytest.approx(1 / (1 + np.exp(-1.0)))


def stand(presences: tuple[float, ...], constants: Constants, named: int = 3) -> list[bool]:
    """Whether dog, cat and sofa stand, each strongest in region 0 and as strong there as in the photo."""
    queries = make_queries(["dog", "cat", "sofa"], np.eye(3, dtype=np.float32), lexicon(), constants)
    strength = np.array(presences, np.float32)
    rows = np.stack([strength, strength - 1, strength], axis=1)
    return standing(rows, strength, queries, named, constants).tolist()


def test_words_with_classes_drive_out_those_far_behind_and_others_stand_by_themselves() -> None:
    constants = dataclasses.replace(PLAIN, behind_best=2.0, behind_rival=0.5)
    queries = make_queries(["dog", "cat", "sofa"], np.eye(3, dtype=np.float32), lexicon(), constants)
    assert queries.covered.tolist() == queries.animal.tolist() == [True, True, False]
    assert stand((5.0, 4.4, 1.0), constants) == [True, False, True]
    assert stand((5.0, 4.6, 9.0), constants) == [True, True, True]
    wide = dataclasses.replace(constants, behind_rival=9.0)
    assert stand((5.0, 2.9, 1.0), wide) == [True, False, True]


def test_what_nobody_named_drives_out_only_where_the_word_is_strongest() -> None:
    """The cat is named, the dog and the sofa are not; the dog is the clearer animal of the photo."""
    constants = dataclasses.replace(PLAIN, behind_best=2.0, behind_rival=0.5, behind_here=-0.5)
    queries = make_queries(["cat", "dog", "sofa"], np.eye(3, dtype=np.float32)[[2, 1, 0]], lexicon(), constants)
    strength = np.array([3.0, 8.0, 9.0], np.float32)
    apart = np.array([[1.0, 4.0, 3.0], [8.0, 3.4, 8.0], [9.0, 9.0, 9.0]], np.float32)
    assert standing(apart, strength, queries, 1, constants).all(), "nor is what nobody named driven out by itself"
    near = apart.copy()
    near[1, 1] = 3.6  # the cat has to lead by half a unit
    assert standing(near, strength, queries, 1, constants).tolist() == [False, True, True]


def test_the_strongest_present_word_takes_a_group_if_it_leads_the_background() -> None:
    claims = np.array([[3.0, 1.0, 4.0], [2.0, 2.0, 5.0]], np.float32)
    rivals = np.array([[0.0, 2.5, 0.0]], np.float32)
    flat = dataclasses.replace(PLAIN, middle=0.0, lead=0.0)
    assert name_groups(claims, rivals, YES, flat).tolist() == [1, 0, 2]
    assert name_groups(claims, rivals, np.array([True, False]), flat).tolist() == [1, 0, 1]
    assert not name_groups(claims, rivals, ~YES, flat).any()


def test_how_far_a_group_must_lead_depends_on_the_photo() -> None:
    claims = np.array([[9.0, 4.0, 1.0]], np.float32)
    rivals = np.zeros((1, 3), np.float32)
    constants = dataclasses.replace(PLAIN, middle=1.0)
    assert name_groups(claims, rivals, YES[:1], constants).tolist() == [1, 0, 0]  # the middle of 9 and 1 is 5
    assert name_groups(claims - 5, rivals, YES[:1], constants).tolist() == [1, 0, 0]
    assert name_groups(claims, rivals, YES[:1], dataclasses.replace(PLAIN, middle=0.5)).tolist() == [1, 1, 0]


def test_without_background_words_a_present_word_takes_what_it_leads_with() -> None:
    nothing = np.full((1, 2), -np.inf, np.float32)
    assert name_groups(np.array([[1.0, -1.0]]), nothing, YES[:1], PLAIN).any()


# --- words without classes of their own -------------------------------------------------------------------------------

NO_NAMES = np.array([[1, 0, 0]], np.float32)
"""A vector far from every class name."""
KIN = dataclasses.replace(PLAIN, related_scale=0.5, related_weight=2.0, related_floor=-3.0, related_bonus=0.25)


def test_a_word_without_classes_is_taken_for_its_relatives() -> None:
    """Region 0 is of class 1: the wolf's own family; region 1 of class 2: a family of two, so half the share."""
    queries = make_queries(["wolf"], NO_NAMES, with_relatives(), KIN)
    assert (queries.kin.tolist(), queries.covered.tolist(), queries.people.tolist()) == ([True], [False], [False])
    seen = regions((1, 0, 0), (0, 1, 0), (1, 0, 0), logits=[[0, 20, 0], [0, 0, 20], [20, 0, 0]])
    rows = evidence(queries, seen, KIN)[0]
    assert rows.tolist() == pytest.approx([0.5 + 2 * 3 + 0.25, 2 * (3 + np.log(0.5)) + 0.25, 0.5 + 0.25], abs=1e-3)


def test_a_name_alike_counts_among_relatives() -> None:
    """The names of classes 0 and 2 are this word's own vector; class 1 is at a right angle to it."""
    near = dataclasses.replace(KIN, related_similar=0.5)
    queries = make_queries(["wolf"], np.array([[0, 0, 1]], np.float32), with_relatives(), near)
    assert queries.related[0].tolist() == pytest.approx([1.0, 1 + np.exp(-2), 1.5])


def test_an_attribute_keeps_the_relatives_and_classes_of_its_noun() -> None:
    words = ["grey wolf", "old dog", "dogged wolfhound"]
    queries = make_queries(words, NO_NAMES.repeat(3, 0), with_relatives(), KIN)
    assert queries.kin.tolist() == [True, False, False]
    assert queries.covered.tolist() == [False, True, False]


def test_a_noun_of_many_sentences_needs_no_relatives() -> None:
    """Four hundred photos: the head knows it."""
    constants = dataclasses.replace(KIN, trust_photos=20.0)
    queries = make_queries(["baker"], NO_NAMES, with_relatives(), constants)
    assert queries.kin.tolist() == [False]


def test_people_are_known_by_what_they_wear() -> None:
    constants = dataclasses.replace(PLAIN, trust_photos=20.0, worn_weight=2.0, worn_floor=-1.0)
    queries = make_queries(["baker", "sofa"], NO_NAMES.repeat(2, 0), with_relatives(), constants)
    assert queries.people.tolist() == [True, False]
    seen = regions((1, 0, 0), (1, 0, 0), logits=[[20, 0, 0], [0, 20, 0]])
    rows = evidence(queries, seen, constants)
    assert rows[0].tolist() == pytest.approx([1 + 2 * 1, 1], abs=1e-3)
    assert rows[1].tolist() == pytest.approx([1, 1])


def test_each_kind_of_word_has_its_curve_and_its_limit() -> None:
    constants = dataclasses.replace(
        KIN, present_at=1.0, unseen_at=2.0, related_at=3.0, threshold=0.1, unseen_threshold=0.2, related_threshold=0.3
    )
    queries = make_queries(["dog", "sofa", "wolf", "qwzx"], NO_NAMES.repeat(4, 0), with_relatives(), constants)
    assert calibrated(np.array([1.0, 2.0, 3.0, 2.0]), queries, constants).tolist() == [0.5] * 4
    known = np.array([True, True, True, False])
    assert limits(queries, known, constants).tolist() == pytest.approx([0.1, 0.2, 0.3, 0.9])
