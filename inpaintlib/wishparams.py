"""Parameters of the notebooks whose hole is steered, ``classifier`` and ``clip``, and of those for one's own photo."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from .blending import BLENDS
from .framing import CROPS
from .invert import Search
from .losses import Objective, objective_from
from .search import PRECISIONS
from .steering import CLIP_FORMS, FORMS
from .strict import (
    Count,
    Fraction,
    Guide,
    Inversion,
    LpipsMode,
    LpipsNetwork,
    Name,
    Positive,
    Resamples,
    Searches,
    Share,
    Weight,
)

__all__ = ["Classifier", "Clip", "Inpaint", "OwnPhoto", "Steered"]


class Steered(Searches):
    """What the notebooks share that steer the hole with a wish."""

    discriminator: Name  # scores how real a face looks
    faces: Annotated[int, Field(ge=2)]  # generated targets
    batch_size: Count
    mouth_coverage: Fraction
    eyes_coverage: Fraction
    hair_coverage: Fraction
    lpips_weight: Weight
    lpips_network: LpipsNetwork
    lpips_mode: LpipsMode
    mouth_wishes: Annotated[list[Name], Field(min_length=1)]  # where the mouth is hidden; the first is studied further
    eyes_wishes: list[Name]
    hair_wishes: list[Name]
    contrast: Name  # a case, "part|wishes|prompt", whose hidden part does not show its attribute
    weights: list[Positive]  # of the sweep
    views: Count  # of the variant whose gradient is averaged over random views
    fit_steps: Count  # of the variants with two phases: the first one's updates
    stay_weight: Weight
    frozen_layers: list[Annotated[int, Field(ge=0)]]
    classifier_weight: Positive
    classifier_network: Guide
    equal: Share  # what counts as no less success: the largest loss, as a share of the faces
    reference: Annotated[int, Field(ge=4)]  # other generated faces that naturalness is measured against
    resamples: Resamples
    shown: Count

    def search(self) -> Search:
        """Returns how to search in one phase."""
        return self._search(fit_steps=0, stay_weight=0.0, frozen_layers=())

    def two_phases(self) -> Search:
        """Returns how to search in two phases."""
        return self._search()

    def cases(self) -> list[str]:
        """Returns the cases as ``prompting.parse_case`` reads them, "part|wishes"."""
        wishes = {"mouth": self.mouth_wishes, "eyes": self.eyes_wishes, "hair": self.hair_wishes}
        return [f"{part}|{wish}" for part, listed in wishes.items() for wish in listed]

    def grid(self) -> dict[str, Any]:
        """Returns what is searched for, as the keyword arguments of ``prompting.classifier_jobs`` and ``clip_jobs``."""
        return {"cases": self.cases(), "contrast": self.contrast, "weights": self.weights, "views": self.views}

    def coverages(self) -> dict[str, float]:
        """Returns part of the face -> hidden fraction of the pixels."""
        return {"mouth": self.mouth_coverage, "eyes": self.eyes_coverage, "hair": self.hair_coverage}

    def classifier(self) -> dict[str, Any]:
        """Returns the ``classifier_*`` keys of the objective, without wishes."""
        return {key: value for key, value in self if key.startswith("classifier_")}


class Classifier(Steered):
    """Parameters of ``classifier.ipynb``."""

    notebook = "classifier"

    easy: Share  # what counts as easy: the least rise of judged success
    classifier_epsilon: Weight  # of the margin and soft forms


class Clip(Steered):
    """Parameters of ``clip.ipynb``."""

    notebook = "clip"

    clip_weight: Positive
    clip_network: Guide
    clip_form: Literal[CLIP_FORMS]
    mouth_prompts: list[Name]  # one for each of mouth_wishes, which say what the judges look for; and so on
    eyes_prompts: list[Name]
    hair_prompts: list[Name]
    slides: list[Name]  # the slides' prompts: can they be read?

    @model_validator(mode="after")
    def _a_prompt_for_each_wish(self) -> Self:
        for part in ("mouth", "eyes", "hair"):
            wishes, prompts = getattr(self, f"{part}_wishes"), getattr(self, f"{part}_prompts")
            if len(wishes) != len(prompts):
                raise ValueError(f"{part}_prompts must be one for each of the {len(wishes)} {part}_wishes")
        return self

    def cases(self) -> list[str]:
        """Returns the cases, "part|wishes|prompt"."""
        prompts = [*self.mouth_prompts, *self.eyes_prompts, *self.hair_prompts]
        return [f"{case}|{prompt}" for case, prompt in zip(super().cases(), prompts, strict=True)]

    def clip(self) -> dict[str, Any]:
        """Returns the ``clip_*`` keys of the objective, without a prompt."""
        return {key: value for key, value in self if key.startswith("clip_")}


class OwnPhoto(Searches):
    """Parameters of ``own_photo.ipynb``."""

    notebook = "own_photo"

    part: Literal["mouth", "nose", "hair"]  # with the eyes hidden no face is found
    coverage: Fraction  # of the face's square
    samples: Count
    start: Literal["w_avg", "random"]
    lpips_weight: Weight
    lpips_mode: LpipsMode
    lpips_network: LpipsNetwork
    feather: Count  # pixels of the photo


class Inpaint(Inversion):
    """Parameters of ``inpaint.ipynb``; the paths and wishes are empty in the params file, `make inpaint` gives them."""

    notebook = "inpaint"

    image: str
    mask: str
    out: str  # the PNG to write
    crop: Literal[CROPS]
    eyes: str  # of an aligned face, "x,y,x,y", or "" to look for faces
    face: Annotated[int, Field(ge=0)]  # which of those that are found, 0 = all
    blend: Literal[BLENDS]
    feather: Count  # pixels
    precision: Literal[PRECISIONS]
    resize_mask: bool
    threshold_mask: bool
    samples: Count
    start: Literal["w_avg", "random"]  # search.STARTS but "best", which would need candidates
    lpips_weight: Weight
    lpips_mode: LpipsMode
    lpips_network: LpipsNetwork
    attributes: str  # "+Smiling,-Eyeglasses", or "" for none
    prompt: str  # a sentence, or "" for none
    classifier_weight: Positive
    classifier_network: Guide
    classifier_form: Literal[FORMS]
    classifier_epsilon: Weight
    clip_weight: Positive
    clip_network: Guide
    clip_form: Literal[CLIP_FORMS]
    fit_steps: Annotated[int, Field(ge=0)]
    stay_weight: Weight

    def wishes(self) -> dict[str, Any]:
        """Returns the keys of the objective that steer; none without attributes and prompt."""
        keys = {}
        for term, key, wish in (("classifier", "wishes", self.attributes), ("clip", "prompt", self.prompt)):
            if wish:
                keys |= {name: value for name, value in self if name.startswith(f"{term}_")} | {f"{term}_{key}": wish}
        return keys

    def objective(self) -> Objective:
        """Returns the objective: known pixels, and what is wished."""
        return objective_from(self.terms() | self.wishes())

    def search(self) -> Search:
        """Returns how to search; without a wish there is one phase, whatever ``fit_steps`` says."""
        return super().search() if self.wishes() else self._search(fit_steps=0, stay_weight=0.0)
