"""The model cards of the networks that judge or steer: features, attribute classifiers, CLIP models.

Every number was stored in the weights by the training; of data a card needs nothing.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import safe_open

from ..checks import InpaintError
from ..scoreboard import MINORITY
from ..weights import MODELS, load_weights, shipped_names
from .attributes import means
from .faces import role

__all__ = ["CARDS", "TERMS", "attributes_card", "check", "clip_card", "facts_of", "hardware", "kind", "lines",
           "percept_card"]  # fmt: skip

ROLES = {"guide": "for objectives, never for tables", "judge": "for tables, never for objectives"}
HALVES = {"guide": "even", "judge": "odd"}
AIM_ATTRIBUTES = 0.80  # mean balanced accuracy
AIM_CLIP = 0.85  # zero-shot balanced accuracy, of each of these:
AIM_CLIP_OF = ("Smiling", "Male", "Eyeglasses", "Blond_Hair")

TERMS = """## Data and terms

{data}
The data are for non-commercial research only and are not part of this package; neither is any image
decoded from them. These weights were trained on them and are shared for **non-commercial research**
under the terms of `LICENSE-WEIGHTS.md`. Do not use them to identify, depict or judge people."""

LIMITS = """## Limits

The labels are annotators' impressions of celebrities' photographs, some of them matters of taste, and a network
repeats them with their prejudices: what it says of a face is no fact about a person. Faces are seen at 64 px."""


# Facts ------------------------------------------------------------------------------------------------


def kind(name: str) -> str:
    """Returns the kind of a network, a key of :data:`CARDS`, or ``"generator"``."""
    first = name.rpartition("-")[0]
    return first if first in CARDS else "generator"


def check(path: Path) -> None:
    """Raises InpaintError unless a weights file has the name and the metadata that its card needs."""
    needed = {"config", "settings", "seconds"}
    if kind(path.stem) == "generator":
        needed |= {"images_seen"}
    else:
        role(path.stem)
        needed |= {"scores"}
    _, metadata = load_weights(path)
    if missing := sorted(needed - metadata.keys()):
        raise InpaintError(f"{path} must be a file that a training wrote; its metadata lack {', '.join(missing)}")


def facts_of(name: str) -> dict[str, str]:
    """Returns the metadata of a shipped model."""
    with safe_open(MODELS / f"{name}.safetensors", framework="pt") as f:
        return f.metadata()


def hardware(facts: Mapping[str, str]) -> str:
    return f"{facts.get('hardware', 'not recorded')}, {float(facts['seconds']) / 60:.0f} minutes"


def lines(rows: Mapping[str, object]) -> str:
    """Returns rows of a Markdown table with two columns."""
    return "\n".join(f"| {key} | {value} |" for key, value in rows.items())


def _summary(name: str, facts: Mapping[str, str], network: object, scores: Mapping[str, str]) -> str:
    """The table on top of a card."""
    rows = {
        "role": ROLES[role(name)], "SHA-256": f"`{shipped_names()[name]}`; float16", "network": f"`{network}`",
        "training": f"`{facts['settings']}`", "hardware, time": hardware(facts), **scores,
    }  # fmt: skip
    return f"| | |\n|---|---|\n{lines(rows)}"


# Numbers ----------------------------------------------------------------------------------------------


def _interval(row: Mapping[str, float], key: str) -> str:
    """``0.812 [0.790, 0.834]``; without an interval if a single value gave none; a dash if there is no value."""
    if key not in row:
        return "–"
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    ends = f" [{low:.3f}, {high:.3f}]" if math.isfinite(low) and math.isfinite(high) else ""
    return f"{row[key]:.3f}{ends}"


def _percent(value: float) -> float:
    """Percent with one decimal, rounded down: what falls short of an aim is not rounded up to it."""
    return math.floor(1000.0 * value + 1e-9) / 10.0


def _short(value: float, aim: float) -> str:
    return f"{100.0 * aim - _percent(value):.1f} percentage points short"


def _filled(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 115, break_long_words=False, break_on_hyphens=False)


def _attribute_table(rows: Sequence[Mapping]) -> str:
    """A row an attribute, with its baselines: balanced accuracy 0.5, average precision = share, accuracy."""
    head = "attribute | faces with it | balanced accuracy | average precision | its chance (share) | majority accuracy"
    body = []
    for r in rows:
        name = r["attribute"] + (" (not counted)" if r["minority"] < MINORITY else "")
        cells = [name, r["with"], _interval(r, "balanced_accuracy"), _interval(r, "average_precision"),
                 f"{r['with'] / r['faces']:.3f}", f"{r['majority_accuracy']:.3f}"]  # fmt: skip
        body.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([f"| {head} |", "|---" * 6 + "|", *body])


def _table_note(rows: Sequence[Mapping]) -> str:
    return _filled(
        f"On {rows[0]['faces']} held-out faces. In brackets 95 % bootstrap intervals: of an attribute over the faces,"
        f" of a mean over the attributes. Chance and majority have a balanced accuracy of 0.5. Attributes with fewer"
        f" than {MINORITY} faces on either side are listed and not counted in the means."
    )


def _mean_rows(found: Mapping[str, float], total: int) -> dict[str, str]:
    """Rows of the table on top: the means of :func:`inpaintlib.train.attributes.means`."""
    counted = f"{found['attributes_counted']} of {total}"
    if "balanced_accuracy" not in found:
        return {"attributes counted": counted}
    return {
        "attributes counted": counted,
        "mean balanced accuracy": f"{_interval(found, 'balanced_accuracy')} (chance 0.5)",
        "mean average precision":
            f"{_interval(found, 'average_precision')} (chance {found['average_precision_chance']:.3f})",
        f"accuracy of these decisions, mean of all {total}":
            f"{found['accuracy']:.3f} (majority {found['majority_accuracy']:.3f})",
    }  # fmt: skip


# Cards ------------------------------------------------------------------------------------------------


def percept_card(name: str) -> str:
    """Returns the card of a feature network."""
    facts = facts_of(name)
    scores = json.loads(facts["scores"])
    rows = {
        "CIFAR-10 test accuracy": f"{scores['cifar10_accuracy']:.3f} (majority {scores['cifar10_majority']:.3f})",
        "CelebA attributes, mean accuracy on 500 held-out faces":
            f"{scores['attribute_accuracy']:.3f} (majority {scores['attribute_majority']:.3f})",
    }  # fmt: skip
    data = f"Trained on the {HALVES[role(name)]}-numbered images of CIFAR-10's training set and of 9,000 CelebA faces."
    return f"""# {name}

A small feature network for LPIPS and KID, trained as a classifier of CIFAR-10's classes and CelebA's attributes at
once (`inpaintlib.train.percept`). Guide and judge differ in architecture and share no training image. LPIPS on it
uses uniform layer weights: it is **not calibrated on human judgements**, and its values compare only with each other.

{_summary(name, facts, facts["config"], rows)}

{TERMS.format(data=data)}
"""


def _faces_data(name: str) -> str:
    return f"Trained on the {HALVES[role(name)]}-numbered of 9,000 CelebA faces (numbers from 0)"


def mean_aim(found: Mapping[str, float]) -> str:
    """Returns the sentence that says whether an attribute classifier reaches its aim."""
    aim = f"The aim of {AIM_ATTRIBUTES:.0%} mean balanced accuracy".replace("%", " %")
    if "balanced_accuracy" not in found:
        return f"{aim} cannot be judged: no attribute has {MINORITY} faces on either side."
    value = found["balanced_accuracy"]
    if value >= AIM_ATTRIBUTES:
        return f"{aim} is reached: {_percent(value):.1f} %."
    return f"{aim} is missed: {_percent(value):.1f} % is {_short(value, AIM_ATTRIBUTES)}."


def attributes_card(name: str) -> str:
    """Returns the card of an attribute classifier."""
    facts = facts_of(name)
    config, scores, settings = (json.loads(facts[key]) for key in ("config", "scores", "settings"))
    attributes, rows = config.pop("attributes"), scores["attributes"]
    numbers = _mean_rows(scores["means"], len(attributes)) | {
        "calibration error": f"{scores['calibration_error']:.3f} (mean gap of probability and share, 10 bins)"
    }
    data = f"{_faces_data(name)},\nof which the last {settings['calibration']} served the calibration alone."
    about = f"""Says of a face which of CelebA's {len(attributes)} attributes it has (`inpaintlib.train.attributes`):
    a `timm` network trained from {facts.get("start", "random weights")}, with a logit an attribute that is calibrated
    to be a probability's. An attribute is decided to be there where its probability is above its share in the
    training faces, which finds rare attributes at the price of accuracy. Guide and judge differ in architecture and
    share no training image."""
    return f"""# {name}

{_filled(about)}

{_summary(name, facts, json.dumps(config), numbers)}

{_filled(mean_aim(scores["means"]))}

## Attributes

{_table_note(rows)}

{_attribute_table(rows)}

{TERMS.format(data=data)}

{LIMITS}
"""


def zero_shot_aim(rows: Sequence[Mapping]) -> str:
    """Returns the sentences that say which attributes reach the aim of a CLIP model, and which fall short."""
    found = {r["attribute"]: r.get("balanced_accuracy") for r in rows}
    reached, missed = [], []
    for name in AIM_CLIP_OF:
        value = found.get(name)
        if value is None:
            missed.append(f"{name} (not measured)")
        elif value >= AIM_CLIP:
            reached.append(f"{name} ({_percent(value):.1f} %)")
        else:
            missed.append(f"{name} ({_percent(value):.1f} %, {_short(value, AIM_CLIP)})")
    aim = f"The aim is {100 * AIM_CLIP:.0f} % zero-shot balanced accuracy for each of {', '.join(AIM_CLIP_OF)}."
    return f"{aim} Reached: {', '.join(reached) or 'none'}. Missed: {', '.join(missed) or 'none'}."


def clip_card(name: str) -> str:
    """Returns the card of a small CLIP model."""
    facts = facts_of(name)
    config, rows = json.loads(facts["config"]), json.loads(facts["scores"])["attributes"]
    words, numbers = config["vocabulary"], {"started from": facts.get("start", "random weights")}
    numbers |= _mean_rows(means(rows), len(rows))
    return f"""# {name}

A small CLIP model of `open_clip` (`inpaintlib.train.clip`): an image tower and a text tower that place 64 px faces
and short English captions in one space. It learnt from captions that were written from the same {len(rows)} attributes
of CelebA that the table lists (`inpaintlib.captions`): **it knows nothing beyond them**, and no word but those
below. Guide and judge have different image towers and share no training image.

{_summary(name, facts, json.dumps(config["open_clip"]), numbers)}

## Zero-shot attributes

{_filled(zero_shot_aim(rows))}

A face is decided to have an attribute if it is nearer to the captions that say so than to those that deny it.
{_table_note(rows)}

{_attribute_table(rows)}

## The {len(words)} words that it knows

{_filled(", ".join(words))}

{TERMS.format(data=_faces_data(name) + ".")}

{LIMITS}
"""


CARDS = {"attributes": attributes_card, "clip": clip_card, "percept": percept_card}
