"""Parameters of the notebooks: one strict, flat model for each, and their files ``params/<profile>/*.yaml``.

A notebook gets its checked parameters by ``p = params.NaiveMse.from_cell(globals())``; what is checked, and how a
file is read, stands in :mod:`inpaintlib.strict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, create_model, model_validator

from .strict import (
    Count,
    Fraction,
    Inversion,
    LpipsMode,
    LpipsNetwork,
    MaskFamily,
    Name,
    Params,
    Positive,
    Resamples,
    Searches,
    Share,
    Targets,
    Weight,
    load,
)
from .wishparams import Classifier, Clip, Inpaint, OwnPhoto

__all__ = ["MODELS", "Classifier", "Clip", "Generator", "Inpaint", "Inversion", "MaskRobustness", "MseLpips",
           "NaiveMse", "OwnPhoto", "Params", "Regularisers", "Stochasticity", "Summary", "load",
           "model_for"]  # fmt: skip


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


class MaskRobustness(Searches):
    """Parameters of ``mask_robustness.ipynb``."""

    notebook = "mask_robustness"

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
        OwnPhoto,
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
