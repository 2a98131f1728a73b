"""Parameters of the notebooks: one strict, flat model for each, and the reader of ``params/<profile>/*.yaml``.

A key must be known, present, of its exact type, finite and in range. Text is never turned into a
number: YAML reads ``1e-4`` as text, so it must be written ``1.0e-4``. A notebook gets its checked
parameters by ``p = params.NaiveMse.from_cell(globals())``.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from .checks import InpaintError
from .features import LPIPS_NETWORKS
from .invert import SPACES, Search
from .losses import LPIPS_MODES, Objective, objective_from
from .masks import FAMILIES
from .steering import CLIP_FORMS, FORMS

__all__ = ["MODELS", "Classifier", "Clip", "Generator", "Inpaint", "Inversion", "MaskRobustness", "MseLpips",
           "NaiveMse", "Params", "Regularisers", "Stochasticity", "Summary", "load",
           "model_for"]  # fmt: skip

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**62)]
Name = Annotated[str, Field(min_length=1)]
Folder = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]  # neither none nor all
Share = Annotated[float, Field(gt=0, le=1)]
Resamples = Annotated[int, Field(ge=100)]  # fewer give no 95 % interval
MaskFamily = Literal[FAMILIES]
LpipsMode = Literal[LPIPS_MODES]
LpipsNetwork = Literal["percept-guide", *LPIPS_NETWORKS]  # of an objective: never the judge
Guide = Name  # a shipped guide, a file, ARCHITECTURE:FILE, or for CLIP ARCHITECTURE/TAG; that it is no judge is checked

FIDELITY = ("mse_weight", "lpips_weight", "lpips_network", "lpips_mode")


class Params(BaseModel):
    """What every notebook has: the folder of its results under ``reports/`` and the root of its seeds."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    notebook: ClassVar[str] = ""

    profile: Folder
    seed: Seed

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], source: str = "parameters") -> Self:
        """Returns the checked parameters.

        Raises InpaintError, naming ``source`` and every faulty key, what it holds and what would be right.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            faults = "; ".join(_fault(e, tuple(cls.model_fields)) for e in error.errors())
            raise InpaintError(f"{source}: {faults}") from None

    @classmethod
    def from_cell(cls, namespace: Mapping[str, Any]) -> Self:
        """Returns the parameters that a notebook's parameters cell has put into ``namespace`` (``globals()``)."""
        return cls.from_mapping({k: namespace[k] for k in cls.model_fields if k in namespace})


class Inversion(Params):
    """What the notebooks share that search the latent space of a generator."""

    generator: Name  # a shipped model or a safetensors file
    space: Literal[SPACES]
    steps: Count
    learning_rate: Positive
    last_rate: Share  # the last rate as a fraction of the first
    mse_weight: Weight

    def terms(self) -> dict[str, Any]:
        """Returns the keys that describe how the known pixels are fitted, for ``losses.objective_from``."""
        return {key: value for key, value in self if key in FIDELITY}

    def objective(self) -> Objective:
        """Returns the objective that the keys of ``terms`` describe."""
        return objective_from(self.terms())

    def search(self) -> Search:
        """Returns how to search; what is no parameter here keeps the default of ``invert.Search``."""
        return self._search()

    def _search(self, **change: Any) -> Search:
        known = {field.name for field in fields(Search)}
        return Search(**{key: value for key, value in self if key in known} | change)


class Targets(Inversion):
    """What the notebooks share that inpaint a set of test images."""

    image_steps: Count  # budget: most generator passes of one image, see store.Store
    faces: Annotated[int, Field(ge=2)]  # generated targets; one has no interval
    batch_size: Count
    mask_family: MaskFamily
    coverage: Fraction
    resamples: Resamples  # of the bootstrap
    shown: Count  # faces in the picture


class Generator(Params):
    """Parameters of ``generator.ipynb``."""

    notebook = "generator"

    generator: Name
    discriminator: Name
    samples: Count
    codes: Annotated[int, Field(ge=4)]
    truncations: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)]
    mixed: Count
    resamples: Resamples


class NaiveMse(Targets):
    """Parameters of ``naive_mse.ipynb``."""

    notebook = "naive_mse"

    mse_weight: Positive


class MseLpips(Targets):
    """Parameters of ``mse_lpips.ipynb``."""

    notebook = "mse_lpips"

    lpips_weight: Positive
    lpips_network: LpipsNetwork
    lpips_modes: Annotated[list[LpipsMode], Field(min_length=1)]
    steps_long: Count  # updates of the longer control run of MSE alone
    great: Share  # what counts as "greatly": the least fraction by which hole LPIPS must fall


class Steered(Inversion):
    """What the notebooks share that steer the hole with a wish."""

    image_steps: Count  # budget: most generator passes of one image, see store.Store
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


class MaskRobustness(Inversion):
    """Parameters of ``mask_robustness.ipynb``."""

    notebook = "mask_robustness"

    image_steps: Count  # budget: most generator passes of one image, see store.Store
    faces: Annotated[int, Field(ge=2)]  # generated targets
    batch_size: Count
    lpips_weight: Positive
    lpips_network: LpipsNetwork
    lpips_mode: LpipsMode
    shapes: list[MaskFamily]
    face_parts: list[MaskFamily]
    strokes: list[MaskFamily]
    coverages: Annotated[list[Fraction], Field(min_length=2)]
    part_limit: Fraction  # largest coverage of the parts of the face
    noticeable: Share  # what counts as harder: least relative difference of hole LPIPS
    position_coverage: Fraction  # at which the sides are compared, one of coverages
    least_hidden: Count  # masks that must hide a pixel for the map of difficulty
    probe_family: MaskFamily  # the mask that is shifted, and under which known pixels are corrupted
    probe_coverage: Fraction
    shifts: Annotated[list[Count], Field(min_length=1)]
    random_starts: Annotated[int, Field(ge=2)]  # of a face, against which shifts are measured
    noise_levels: Annotated[list[Positive], Field(min_length=1)]
    jpeg_qualities: Annotated[list[Annotated[int, Field(ge=1, le=95)]], Field(min_length=1)]
    photos: Annotated[int, Field(ge=0)]  # held-out CelebA faces, where INPAINTLIB_DATA is set
    photo_families: Annotated[list[MaskFamily], Field(min_length=1)]
    resamples: Resamples
    shown: Count  # faces in the picture

    @model_validator(mode="after")
    def _what_is_compared_is_there(self) -> Self:
        for name in ("coverages", "shifts", "noise_levels", "jpeg_qualities", "photo_families"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} must name nothing twice")
        families = self.families()
        if len(set(families)) < len(families):
            raise ValueError("shapes, face_parts and strokes must name no family twice, and none of the sides")
        if missing := {"center", "scatter", *self.photo_families} - set(families):
            raise ValueError(f"the families must hold what is compared; {', '.join(sorted(missing))} lack")
        if self.position_coverage not in self.coverages:
            raise ValueError(f"position_coverage must be one of coverages, {self.coverages}")
        return self

    def families(self) -> list[MaskFamily]:
        """Returns the families of masks; the four sides, which one test compares, are always there."""
        return [*self.shapes, "left", "right", "top", "bottom", *self.face_parts, *self.strokes]

    def corruptions(self) -> dict[str, Any]:
        """Returns what is done to the known pixels, for ``corruptions.corruption_scores``."""
        return {"noise_levels": self.noise_levels, "jpeg_qualities": self.jpeg_qualities}


class Regularisers(Targets):
    """Parameters of ``regularisers.ipynb``."""

    notebook = "regularisers"

    mse_weight: Positive
    lpips_weight: Positive
    lpips_network: LpipsNetwork
    lpips_mode: LpipsMode
    discriminator: Name  # of the adversarial term; scores how real a face looks where it was no part of the objective
    adversarial_weights: Annotated[list[Positive], Field(min_length=1)]
    l2_weights: Annotated[list[Positive], Field(min_length=1)]
    mahalanobis_weights: Annotated[list[Positive], Field(min_length=1)]
    noise_weight: Weight  # of the penalty on optimised noise
    lbfgs_step: Positive  # first step length of L-BFGS
    best_of: Count  # random codes of the start that takes the best of them
    near: Fraction  # what counts as converged: largest distance from the last error, as a fraction of it
    noticeable: Share  # what counts as a noticeable gain, as a fraction of the default's hole LPIPS
    reference: Annotated[int, Field(ge=4)]  # other generated faces that sets of fillings are compared with

    @model_validator(mode="after")
    def _weights_differ(self) -> Self:
        for kind, weights in self.weights().items():
            if len(set(weights)) < len(weights):
                raise ValueError(f"{kind}_weights must name nothing twice")
        return self

    def weights(self) -> dict[str, list[float]]:
        """Returns regulariser -> its weights."""
        return {"adversarial": self.adversarial_weights, "l2": self.l2_weights, "mahalanobis": self.mahalanobis_weights}


class Stochasticity(Targets):
    """Parameters of ``stochasticity.ipynb``."""

    notebook = "stochasticity"

    space: Literal["w", "w+"]  # the mean code is in no other
    lpips_weight: Weight
    lpips_network: LpipsNetwork
    lpips_mode: LpipsMode
    samples: Annotated[int, Field(ge=4)]  # seeds of a face
    crossed: Annotated[int, Field(ge=2)]  # seeds that are searched under every hole
    shifts: Annotated[list[Count], Field(min_length=1)]
    rate: Fraction  # the other learning rate, as a fraction of learning_rate
    steps_long: Count  # updates of the longer searches
    coverages: Annotated[list[Fraction], Field(min_length=2)]  # of the spectra
    stochastic: Share  # what counts as stochastic: the start's effect beyond the noise inputs', of different faces'
    fits: Annotated[float, Field(ge=1)]  # what counts as fitting: known-pixel error, as a multiple of the face's least
    diverse: Share  # what counts as diverse: hole LPIPS between fitting fillings, of different faces'

    @model_validator(mode="after")
    def _crossed_are_of_the_samples(self) -> Self:
        if self.crossed > self.samples:
            raise ValueError(f"crossed must be at most samples, {self.samples}")
        return self


class Summary(Params):
    """Parameters of ``summary.ipynb``: it gathers what the other reports of its profile left."""

    notebook = "summary"


class Inpaint(Inversion):
    """Parameters of ``inpaint.ipynb``; the paths and wishes are empty in the params file, `make inpaint` gives them."""

    notebook = "inpaint"

    image: str
    mask: str
    out: str  # the PNG to write
    crop: Literal["square", "whole"]
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


# The order is the reading order of the reports.
MODELS: dict[str, type[Params]] = {
    m.notebook: m
    for m in (
        Generator,
        NaiveMse,
        MseLpips,
        Classifier,
        Clip,
        MaskRobustness,
        Stochasticity,
        Regularisers,
        Summary,
        Inpaint,
    )
}


def model_for(notebook: str, defaults: Mapping[str, Any]) -> type[Params]:
    """Returns the model of a notebook, by its stem.

    A notebook without a model here (a reader's own) is held to its parameters cell: the types of
    ``defaults``, the values there.
    """
    if notebook in MODELS:
        return MODELS[notebook]
    own: dict[str, Any] = {k: (type(v), ...) for k, v in defaults.items() if k not in Params.model_fields}
    return create_model(notebook, __base__=Params, **own)


def load(path: Path | str) -> dict[str, Any]:
    """Returns the mapping that a params file holds; its types and keys are the model's to check.

    Raises InpaintError if the file cannot be read, is not one flat YAML mapping, names a key twice, or
    its ``profile`` is not the folder that it lies in.
    """
    path = Path(path)
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: no UTF-8, or a date such as 2024-13-01
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise InpaintError(f"{path} must be a readable YAML file: {reason}") from None
    if not isinstance(values, dict) or not all(isinstance(k, str) for k in values):
        raise InpaintError(f"{path} must hold lines of the form 'key: value'; found {str(values)[:40]!r}")
    if "profile" in values and values["profile"] != path.parent.name:
        raise InpaintError(f"{path}: profile must be {path.parent.name!r}, its folder; found {values['profile']!r}")
    return values


class _Loader(yaml.SafeLoader):
    """A SafeLoader that refuses a key given twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in set(keys):
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _fault(error: Any, known: tuple[str, ...]) -> str:
    """Says in one clause what is wrong with one key."""
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"key '{key}' is missing"
    if error["type"] == "extra_forbidden":
        near = get_close_matches(key, known, n=1)
        return f"unknown key '{key}'" + (f" (is '{near[0]}' meant?)" if near else "")
    rule = re.sub(r"^\w+ should", "must", error["msg"])
    text = error["type"] == "float_type" and isinstance(error["input"], str)
    hint = " (text; write a number with a dot and a signed exponent, as 1.0e-4)" if text else ""
    return f"{key} {rule}, found {error['input']!r}{hint}"
