"""Sentences about faces, and which of them are true of whom: what the small CLIP models learnt to read.

Every phrase states one attribute's value. A caption joins one to four of them around a noun, as "a photo of a
young woman with blond hair, not smiling". So of any caption and any labelled face one can say whether it is true,
which is what the training needs, and for every attribute there are captions that say it and captions that deny it.
The words of this module are all that those models know.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .checks import InpaintError

__all__ = ["Caption", "PHRASES", "neutral", "opposites", "vocabulary", "words", "write"]


class Phrases(NamedTuple):
    """How an attribute is said and denied: adjectives before the noun, phrases after it."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    not_before: tuple[str, ...] = ()
    not_after: tuple[str, ...] = ()


def _phrases(yes: str, no: str) -> Phrases:
    """Phrases separated by "|"; those that stand before the noun begin with "^"."""
    split = lambda text: [p.strip() for p in text.split("|") if p.strip()]  # noqa: E731
    front = lambda text: tuple(p[1:] for p in split(text) if p.startswith("^"))  # noqa: E731
    back = lambda text: tuple(p for p in split(text) if not p.startswith("^"))  # noqa: E731
    return Phrases(front(yes), back(yes), front(no), back(no))


PHRASES: dict[str, Phrases] = {
    "Smiling": _phrases(
        "^smiling | ^happy | with a smile | who is smiling | who smiles | with a happy expression | with a big smile",
        "^serious | not smiling | without a smile | who is not smiling | with a serious expression | no smile"
        " | with a serious expression not smiling",
    ),
    "Young": _phrases("^young | ^youthful | who is young", "^old | ^elderly | ^older | ^aged | who is old | not young"),
    "Eyeglasses": _phrases(
        "with glasses | with eyeglasses | wearing glasses | wearing eyeglasses | wearing spectacles | with spectacles",
        "without glasses | without eyeglasses | not wearing glasses | no glasses | with no glasses",
    ),
    "Blond_Hair": _phrases(
        "^blond | ^blonde | with blond hair | with blonde hair | with fair hair | with golden hair",
        "without blond hair | not blond | whose hair is not blond",
    ),
    "Black_Hair": _phrases("with black hair | with dark hair", "without black hair | whose hair is not black"),
    "Brown_Hair": _phrases("with brown hair | ^brunette", "without brown hair | whose hair is not brown"),
    "Gray_Hair": _phrases(
        "with gray hair | with grey hair | with white hair | ^gray haired", "without gray hair | without grey hair"
    ),
    "Bald": _phrases("^bald | who is bald | without hair | with no hair", "who is not bald | with hair | not bald"),
    "Bangs": _phrases("with bangs | with a fringe", "without bangs | without a fringe | no bangs"),
    "Wavy_Hair": _phrases("with wavy hair | with curly hair", "without wavy hair | without curly hair"),
    "Straight_Hair": _phrases("with straight hair", "without straight hair"),
    "Receding_Hairline": _phrases("with a receding hairline | with a high forehead", "without a receding hairline"),
    "Wearing_Lipstick": _phrases(
        "wearing lipstick | with lipstick | with red lipstick | with red lips | with painted lips",
        "without lipstick | not wearing lipstick | no lipstick | with no lipstick",
    ),
    "Heavy_Makeup": _phrases(
        "with makeup | wearing makeup | with heavy makeup | wearing heavy makeup",
        "without makeup | not wearing makeup | with no makeup | no makeup",
    ),
    "No_Beard": _phrases(
        "^shaven | without a beard | with no beard | clean shaven | no beard | not bearded",
        "^bearded | with a beard | who has a beard | wearing a beard",
    ),
    "Mustache": _phrases(
        "with a mustache | with a moustache", "without a mustache | without a moustache | no mustache"
    ),
    "Goatee": _phrases("with a goatee", "without a goatee | no goatee"),
    "Sideburns": _phrases("with sideburns", "without sideburns"),
    "5_o_Clock_Shadow": _phrases("^unshaven | with stubble | ^stubbly", "without stubble | no stubble"),
    "Wearing_Hat": _phrases(
        "wearing a hat | with a hat | wearing a cap | with a cap",
        "without a hat | not wearing a hat | no hat | with no hat | without a cap",
    ),
    "Wearing_Earrings": _phrases("wearing earrings | with earrings", "without earrings | not wearing earrings"),
    "Wearing_Necklace": _phrases("wearing a necklace | with a necklace", "without a necklace"),
    "Wearing_Necktie": _phrases("wearing a tie | with a tie | wearing a necktie", "without a tie | not wearing a tie"),
    "Mouth_Slightly_Open": _phrases(
        "with an open mouth | whose mouth is open | showing teeth",
        "with a closed mouth | whose mouth is closed | with closed lips",
    ),
    "Big_Lips": _phrases("with big lips | with full lips | with thick lips", "without big lips | with thin lips"),
    "Big_Nose": _phrases("with a big nose | with a large nose", "with a small nose | without a big nose"),
    "Pointy_Nose": _phrases("with a pointy nose", "without a pointy nose"),
    "Narrow_Eyes": _phrases("with narrow eyes | with small eyes", "without narrow eyes | with wide eyes"),
    "Bushy_Eyebrows": _phrases("with bushy eyebrows | with thick eyebrows", "without bushy eyebrows"),
    "Arched_Eyebrows": _phrases("with arched eyebrows", "without arched eyebrows"),
    "Bags_Under_Eyes": _phrases("with bags under the eyes | with tired eyes", "without bags under the eyes"),
    "High_Cheekbones": _phrases("with high cheekbones", "without high cheekbones"),
    "Rosy_Cheeks": _phrases("with rosy cheeks | with red cheeks", "without rosy cheeks"),
    "Pale_Skin": _phrases("^pale | with pale skin", "without pale skin"),
    "Oval_Face": _phrases("with an oval face", "without an oval face"),
    "Chubby": _phrases("^chubby | with a round face | ^fat", "^slim | not chubby | ^thin"),
    "Double_Chin": _phrases("with a double chin", "without a double chin"),
    "Attractive": _phrases("^attractive | ^beautiful | ^pretty | ^handsome", "not attractive"),
    "Blurry": _phrases("^blurry | ^blurred", "^sharp"),
}

MEN = ("man", "male", "guy", "gentleman", "male person")
WOMEN = ("woman", "female", "lady", "female person")
PEOPLE = ("person", "face", "human", "someone")
TEMPLATES = ("", "", "a photo of", "a picture of", "a portrait of", "an image of", "the face of", "this is")
JOINS = (" and", "", "")
# How often an attribute is spoken of, relative to the others'.
OFTEN = {"Smiling": 6.0, "Eyeglasses": 4.0, "Blond_Hair": 3.0, "Black_Hair": 2.0, "Brown_Hair": 2.0, "Gray_Hair": 2.0,
         "Wearing_Lipstick": 3.0, "Heavy_Makeup": 2.0, "No_Beard": 3.0, "Wearing_Hat": 3.0, "Young": 4.0, "Bangs": 2.0,
         "Mouth_Slightly_Open": 2.0, "Big_Lips": 2.0}  # fmt: skip
RARE_FACTOR = 3.0  # how much oftener a rare attribute is spoken of in a face that has it
GENDER_STATED = 0.5


class Caption(NamedTuple):
    """A sentence and the attribute values that it states."""

    text: str
    facts: dict[str, bool]

    def true_of(self, labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Returns bool (N,): of which faces, labels (N, A), the sentence is true."""
        true = np.ones(len(labels), dtype=bool)
        for attribute, value in self.facts.items():
            true &= labels[:, names.index(attribute)] == value
        return true


def _article(noun_phrase: str) -> str:
    if noun_phrase.endswith("someone"):
        return noun_phrase
    return ("an " if noun_phrase[0] in "aeiou" else "a ") + noun_phrase


def _sentence(template: str, before: Sequence[str], noun: str, after: Sequence[str], join: str) -> str:
    text = _article(" ".join([*before, noun])) if noun != "someone" or not before else _article(
        " ".join([*before, "person"])
    )  # fmt: skip
    tail = "".join((join if i else "") + " " + phrase for i, phrase in enumerate(after))
    return f"{template} {text}{tail}".strip()


def write(labels: np.ndarray, names: Sequence[str], rng: np.random.Generator) -> Caption:
    """Returns a random caption that is true of one face.

    Args:
        labels: bool (A,), the face's attributes; ``names`` are theirs, in order.
        rng: the source of every draw.
    """
    known = [a for a in PHRASES if a in names]
    has = np.array([labels[names.index(a)] for a in known])
    weight = np.array([OFTEN.get(a, 1.0) for a in known]) * np.where(has, RARE_FACTOR, 1.0)
    count = min(int(rng.choice([1, 2, 3, 4], p=[0.4, 0.35, 0.15, 0.1])), len(known))
    facts, before, after = {}, [], []
    for k in rng.choice(len(known), size=count, replace=False, p=weight / weight.sum()):
        phrases, value = PHRASES[known[k]], bool(has[k])
        front, back = (phrases.before, phrases.after) if value else (phrases.not_before, phrases.not_after)
        options = [(before, p) for p in front] + [(after, p) for p in back]
        place, phrase = options[int(rng.integers(len(options)))]
        place.append(phrase)
        facts[known[k]] = value
    noun = PEOPLE[int(rng.integers(len(PEOPLE)))]
    if "Male" in names and rng.random() < GENDER_STATED:
        facts["Male"] = bool(labels[names.index("Male")])
        nouns = MEN if facts["Male"] else WOMEN
        noun = nouns[0] if rng.random() < 0.6 else nouns[int(rng.integers(len(nouns)))]
    template, join = TEMPLATES[int(rng.integers(len(TEMPLATES)))], JOINS[int(rng.integers(len(JOINS)))]
    return Caption(_sentence(template, before, noun, after, join), facts)


def opposites(attribute: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns captions that say an attribute and captions that deny it, about "a person" of whom nothing else is said.

    Raises InpaintError if there is no phrase for it.
    """
    if attribute == "Male":
        return tuple(_article(n) for n in MEN[:2]), tuple(_article(n) for n in WOMEN[:2])
    if attribute not in PHRASES:
        raise InpaintError(f"attribute must be one that captions speak of; got {attribute!r}")
    p = PHRASES[attribute]
    say = lambda front, back: tuple(  # noqa: E731
        [_sentence("", [b], "person", [], "") for b in front]
        + [_sentence("", [], "person", [a], "") for a in back if not a.startswith("no ")]
    )
    return say(p.before, p.after), say(p.not_before, p.not_after)


def neutral() -> tuple[str, ...]:
    """Returns captions that state nothing of a face."""
    return tuple(f"{t} {_article('person')}".strip() for t in dict.fromkeys(TEMPLATES))


def words(text: str) -> list[str]:
    """Returns the words of a text in lower case, without punctuation.

    Example:
        >>> words("A woman, not smiling.")
        ['a', 'woman', 'not', 'smiling']
    """
    return re.findall(r"[^\W_]+", text.lower())


def vocabulary() -> tuple[str, ...]:
    """Returns every word that a caption can have, sorted."""
    texts = [*TEMPLATES, *MEN, *WOMEN, *PEOPLE, *JOINS, "a an"]
    for p in PHRASES.values():
        texts += [*p.before, *p.after, *p.not_before, *p.not_after]
    return tuple(sorted({word for text in texts for word in words(text)}))
