"""What the parameters of every notebook have in common: strict, flat models, and the reader of their YAML files.

A key must be known, present, of its exact type, finite and in range. Text is never turned into a
number: YAML reads ``1e-4`` as text, so it must be written ``1.0e-4``.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .checks import InpaintError
from .features import LPIPS_NETWORKS
from .invert import SPACES, Search
from .losses import LPIPS_MODES, Objective, objective_from
from .masks import FAMILIES
from .search import PRECISIONS

__all__ = ["Inversion", "Params", "Searches", "Targets", "load"]

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


class Searches(Inversion):
    """What the notebooks share that search for many images."""

    image_steps: Count  # budget: most generator passes of one image, see store.Store
    precision: Literal[PRECISIONS]  # of the networks while they search, see search.Search


class Targets(Searches):
    """What the notebooks share that inpaint a set of test images."""

    faces: Annotated[int, Field(ge=2)]  # generated targets; one has no interval
    batch_size: Count
    mask_family: MaskFamily
    coverage: Fraction
    resamples: Resamples  # of the bootstrap
    shown: Count  # faces in the picture


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
    folder = path.resolve().parent.name  # "mine.yaml" alone names none
    if "profile" in values and values["profile"] != folder:
        raise InpaintError(f"{path}: profile must be {folder!r}, its folder; found {values['profile']!r}")
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
