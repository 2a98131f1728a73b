"""What a user of the explorer can turn, and how it becomes a params file of ``make inpaint``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, StringConstraints

from ..blending import BLENDS
from ..checks import InpaintError
from ..framing import CROPS
from ..invert import SPACES
from ..search import PRECISIONS
from ..steering import CLIP_FORMS, FORMS
from ..strict import Folder, Guide, LpipsMode, LpipsNetwork, Name, Params, Positive, Seed, Share, Weight
from ..wishparams import Inpaint

__all__ = ["Settings", "command"]

Wish = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)]
OF_FILES = ("image", "mask", "out", "resize_mask", "threshold_mask")  # keys of a params file that no user turns


class Settings(Params):
    """Settings of a run; the defaults alone make a good one.

    They mean what ``params/embedded/inpaint.yaml`` says of the keys of the same names. Raises pydantic's error for a
    wrong value; :meth:`from_mapping` says it in one sentence.
    """

    profile: Folder = "explorer"
    seed: Seed = 0
    generator: Name = "faces64"
    prompt: Wish = ""
    attributes: Wish = ""  # "+Smiling,-Eyeglasses"
    samples: Annotated[int, Field(ge=1, le=16)] = 4
    steps: Annotated[int, Field(ge=1, le=5000)] = 100
    space: Literal[SPACES] = "w"
    start: Literal["w_avg", "random"] = "random"
    learning_rate: Positive = 0.1
    last_rate: Share = 0.1
    precision: Literal[PRECISIONS] = "float32"
    mse_weight: Weight = 1.0
    lpips_weight: Weight = 1.0
    lpips_mode: LpipsMode = "fill+features"
    lpips_network: LpipsNetwork = "percept-guide"
    classifier_weight: Positive = 0.3
    classifier_network: Guide = "attributes-guide"
    classifier_form: Literal[FORMS] = "plain"
    classifier_epsilon: Weight = 0.1
    clip_weight: Positive = 1.0
    clip_network: Guide = "clip-guide"
    clip_form: Literal[CLIP_FORMS] = "directional"
    fit_share: Annotated[float, Field(ge=0, lt=1)] = 0.5  # of the steps, that fit the known pixels before a wish steers
    stay_weight: Weight = 1.0  # does not count where no step fits the known pixels alone
    crop: Literal[CROPS] = "square"
    eyes: Wish = ""  # of an aligned face, "x,y,x,y"; "" looks for faces
    face: Annotated[int, Field(ge=0)] = 0  # which of those that are found, 0 = the one that has a hole
    blend: Literal[BLENDS] = "hard"
    feather: Annotated[int, Field(ge=1, le=1000)] = 8  # pixels of the photo

    @property
    def fit_steps(self) -> int:
        """The steps that fit the known pixels before a wish steers; always fewer than all."""
        return min(round(self.steps * self.fit_share), self.steps - 1)

    def params(self, image: Path | str = "", mask: Path | str = "", out: Path | str = "") -> dict[str, Any]:
        """Returns exactly the keys of ``params.Inpaint``, as a params file holds them.

        Args:
            image, mask, out: the files of ``make inpaint``.
        """
        values = self.model_dump(exclude={"fit_share"})
        if not (values["mse_weight"] or values["lpips_weight"]):
            raise InpaintError("the weights of squared error and LPIPS must not both be 0; nothing would be fitted")
        files = {"image": str(image), "mask": str(mask), "out": str(out), "resize_mask": False, "threshold_mask": False}
        values |= files | {"fit_steps": self.fit_steps}
        values |= {} if self.fit_steps else {"stay_weight": 0.0}
        return {key: values[key] for key in Inpaint.model_fields}

    @classmethod
    def from_params(cls, values: Mapping[str, Any]) -> Self:
        """Returns the settings whose :meth:`params` are this mapping, whatever its files.

        Raises InpaintError for a wrong key or value.
        """
        p = Inpaint.from_mapping(values, "params.yaml").model_dump(exclude={*OF_FILES, "fit_steps"})
        return cls.from_mapping({**p, "fit_share": values["fit_steps"] / values["steps"]}, "params.yaml")

    def yaml(self, image: Path | str = "", mask: Path | str = "", out: Path | str = "") -> str:
        """Returns the text of a params file with the values of :meth:`params`."""
        # Not as JSON: YAML would read its 1e-05 as text.
        return yaml.safe_dump(self.params(image, mask, out), sort_keys=False, allow_unicode=True, width=10**6)


def command(
    image: Path | str, mask: Path | str, params: Path | str, out: Path | str, threads: int, python: str = ""
) -> str:
    """Returns the line that makes a result again, bit for bit: ``make inpaint IMAGE=... MASK=...``.

    Args:
        image, mask, params: its files.
        out: the PNG to write.
        threads: that torch computed with; other numbers change the last bits.
        python: the interpreter, "" = that of the project's ``.venv``.
    """
    files = {"IMAGE": image, "MASK": mask, "PARAMS": params, "OUT": out} | ({"PYTHON": python} if python else {})
    said = " ".join(f"{name}={shlex.quote(str(path))}" for name, path in files.items())
    return f"make inpaint {said} THREADS={threads}"
