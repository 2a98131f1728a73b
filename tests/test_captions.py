"""The captions: what they say is so, of every word they are made, and their opposites deny it."""

import functools
import json

import numpy as np
import pytest

from inpaintlib.attributes import CELEBA
from inpaintlib.captions import (
    MEN,
    OFTEN,
    PEOPLE,
    PHRASES,
    TEMPLATES,
    WOMEN,
    Caption,
    neutral,
    opposites,
    vocabulary,
    words,
    write,
)
from inpaintlib.checks import InpaintError
from inpaintlib.weights import MODELS

SPOKEN_OF = pytest.mark.parametrize("attribute", [*PHRASES, "Male"])


def faces(n: int, *, seed: int = 0) -> np.ndarray:
    """Returns labels (n, 40) of random faces, some with few attributes and some with many."""
    rng = np.random.default_rng(seed)
    return rng.random((n, len(CELEBA))) < rng.random((n, 1))


@functools.cache
def captions(n: int) -> tuple[Caption, ...]:
    rng = np.random.default_rng(1)
    return tuple(write(row, CELEBA, rng) for row in faces(n))


def says(text: str, phrase: str) -> bool:
    return f" {' '.join(words(phrase))} " in f" {' '.join(words(text))} "


def phrases(attribute: str, value: bool) -> tuple[str, ...]:
    if attribute == "Male":
        return MEN if value else WOMEN
    p = PHRASES[attribute]
    return (*p.before, *p.after) if value else (*p.not_before, *p.not_after)


# What a caption says ----------------------------------------------------------------------------------


def test_caption_is_true_of_its_own_face():
    for row, caption in zip(faces(500), captions(500), strict=True):
        assert caption.facts and caption.true_of(row[None], CELEBA).tolist() == [True], caption


def test_text_has_a_phrase_of_each_of_its_facts():
    for caption in captions(500):
        for attribute, value in caption.facts.items():
            assert any(says(caption.text, p) for p in phrases(attribute, value)), (caption, attribute)


def test_no_phrase_states_two_facts():
    stated = [p for attribute in [*PHRASES, "Male"] for value in (True, False) for p in phrases(attribute, value)]
    assert len(stated) == len(set(stated))


def test_truth_of_captions_equals_a_loop_over_faces_and_facts():
    labels, texts = faces(60, seed=2), captions(60)
    for caption in texts:
        expected = []
        for row in labels:
            held = [bool(row[CELEBA.index(a)]) == value for a, value in caption.facts.items()]
            expected.append(all(held))
        assert caption.true_of(labels, CELEBA).tolist() == expected
    share = np.mean([c.true_of(labels, CELEBA) for c in texts])
    assert 0.1 < share < 0.9  # neither always nor never


def test_caption_without_a_gender_is_of_no_man_and_no_woman():
    found = captions(500)
    for caption in found:
        gendered = any(says(caption.text, noun) for noun in (*MEN, *WOMEN))
        assert gendered == ("Male" in caption.facts), caption
    assert 0.4 < np.mean(["Male" in c.facts for c in found]) < 0.6


def test_every_attribute_is_said_and_denied():
    facts = [fact for caption in captions(3000) for fact in caption.facts.items()]
    assert {(a, v) for a in [*PHRASES, "Male"] for v in (True, False)} == set(facts)


def test_attributes_of_interest_are_spoken_of_more_often():
    facts = [a for caption in captions(3000) for a in caption.facts]
    count = {a: facts.count(a) for a in PHRASES}
    rest = np.mean([count[a] for a in PHRASES if a not in OFTEN])
    assert min(count[a] for a in ("Smiling", "Eyeglasses", "Young")) > 2.0 * rest


def test_caption_depends_on_the_generator_it_is_given():
    row = faces(1)[0]
    run = lambda seed: [write(row, CELEBA, np.random.default_rng(seed)) for _ in range(3)]  # noqa: E731
    assert run(0) == run(0) and len({c.text for seed in range(20) for c in run(seed)}) > 10


def test_caption_speaks_of_the_known_attributes_only():
    names = ("Smiling", "Young", "Bangs", "Male", "Eyeglasses")
    rng = np.random.default_rng(0)
    facts = {a for _ in range(200) for a in write(rng.random(5) < 0.5, names, rng).facts}
    assert facts == set(names)


# Words ------------------------------------------------------------------------------------------------


def test_vocabulary_has_every_word_of_every_caption():
    known = vocabulary()
    texts = [c.text for c in captions(3000)] + [t for a in [*PHRASES, "Male"] for side in opposites(a) for t in side]
    assert {word for text in [*texts, *neutral()] for word in words(text)} == set(known)
    assert list(known) == sorted(set(known))


def test_longest_caption_fits_the_context_of_the_shipped_models():
    longest = sorted((max(len(words(p)) for v in (True, False) for p in phrases(a, v)) for a in PHRASES), reverse=True)
    nouns = max(len(words(noun)) for noun in (*MEN, *WOMEN, *PEOPLE))
    joins = 3  # "and" between four phrases
    most = max(len(words(t)) for t in TEMPLATES) + len(["an"]) + nouns + sum(longest[:4]) + joins
    assert max(len(words(c.text)) for c in captions(3000)) <= most
    for model in ("clip-guide", "clip-judge"):
        config = json.loads((MODELS / f"{model}.json").read_text(encoding="utf-8"))
        assert most + len(["begin", "end"]) <= config["text_cfg"]["context_length"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  A woman,NOT smiling. ", ["a", "woman", "not", "smiling"]),
        ("clean-shaven", ["clean", "shaven"]),
        ("Straße_5", ["straße", "5"]),
        (" .,!", []),
    ],
)
def test_words_are_lower_case_and_without_punctuation(text, expected):
    assert words(text) == expected


# Opposites --------------------------------------------------------------------------------------------


@SPOKEN_OF
def test_opposites_are_stated_and_disjoint(attribute):
    said, denied = opposites(attribute)
    assert said and denied and not set(said) & set(denied)
    for value, texts in ((True, said), (False, denied)):
        assert all(any(says(text, p) for p in phrases(attribute, value)) for text in texts)


@pytest.mark.parametrize(
    ("attribute", "said", "denied"),
    [
        ("Smiling", "a smiling person", "a person not smiling"),
        ("Eyeglasses", "a person with glasses", "a person without glasses"),
        ("Young", "a young person", "an old person"),
        ("Male", "a man", "a woman"),
    ],
)
def test_opposites_are_plain_sentences(attribute, said, denied):
    assert said in opposites(attribute)[0] and denied in opposites(attribute)[1]


def test_neutral_captions_state_nothing():
    texts = neutral()
    assert "a person" in texts and len(texts) == len(set(texts)) > 3
    every = [p for attribute in [*PHRASES, "Male"] for value in (True, False) for p in phrases(attribute, value)]
    assert not any(says(text, p) for text in texts for p in every)


@pytest.mark.parametrize("attribute", ["Smile", "", "male"])
def test_attribute_without_a_phrase_is_refused(attribute):
    with pytest.raises(InpaintError, match=f"attribute must be one that captions speak of; got '{attribute}'"):
        opposites(attribute)
