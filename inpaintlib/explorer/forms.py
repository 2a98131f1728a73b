"""The explorer's form: wishes and settings, as a :class:`~inpaintlib.explorer.settings.Settings`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import ipywidgets

from ..attributes import CELEBA
from ..blending import BLENDS
from ..checks import InpaintError
from ..framing import CROPS
from ..invert import SPACES
from .parts import Chips, column, field, fold, row
from .settings import Settings

__all__ = ["Form"]

COMMON = ("Smiling", "Eyeglasses", "Male", "Young", "Blond_Hair", "Black_Hair", "Bangs", "Mouth_Slightly_Open",
          "Wearing_Lipstick", "Mustache", "No_Beard", "Bald")  # fmt: skip
STARTS = {"several places (random)": "random", "the average face": "w_avg"}
# name -> (label, what it does, type of the field, its range)
NUMBERS: dict[str, tuple[str, str, type, dict[str, float]]] = {
    "samples": ("Samples", "How many completions are searched for", int, {"min": 1, "max": 16}),
    "steps": ("Steps", "Updates of each search; more fit better and take longer", int, {"min": 1, "max": 5000}),
    "seed": ("Seed", "Of the first sample; another one gives other completions", int, {"min": 0, "max": 2**53}),
    "mse_weight": ("Weight of squared error", "How much the known pixels' colours count", float, {"min": 0}),
    "lpips_weight": ("Weight of LPIPS", "How much the known pixels' look counts", float, {"min": 0}),
    "clip_weight": ("Weight of the prompt", "How strongly the sentence pulls", float, {"min": 0.01}),
    "classifier_weight": ("Weight of attributes", "How strongly wanted and unwanted pull", float, {"min": 0.01}),
    "fit_share": ("Share of steps before wishes", "Steps that only fit known pixels", float, {"min": 0, "max": 0.99}),
    "stay_weight": ("Weight of staying", "How much a wish may not change of the first fit", float, {"min": 0}),
    "learning_rate": ("Learning rate", "The first step's size", float, {"min": 0.001, "step": 0.01}),
    "feather": ("Feather (pixels)", "Width of the rim of feathered blending", int, {"min": 1, "max": 1000}),
    "face": ("Face", "Which of several aligned faces, 0 = the one with a hole", int, {"min": 0, "max": 99}),
}
CHOICES: dict[str, tuple[str, str, Any]] = {
    "space": ("Search space", "w: faces as the model makes them; w+: fits closer; z: the model's input", SPACES),
    "start": ("Start", "Where the searches begin", STARTS),
    "blend": ("Blending", "How the filling meets the photo: hard edge, matching colours, or a soft rim", BLENDS),
    "crop": ("Crop", "What the model sees: the centred square, or the face, found and aligned", CROPS),
}
TEXTS = {
    "eyes": (
        "Eyes (x,y,x,y)",
        "Where an aligned face has its eyes, in pixels, if they are not found",
        "203,101,247,103",
    ),
}
BASIC = ("samples", "steps")
SOURCE = "settings"  # what their faults are said of


class Form:
    """Inputs for what a user turns; ``page`` shows them.

    Settings without an input keep the values that :meth:`show` was given.
    """

    def __init__(self) -> None:
        self.base = Settings()
        prompt = ipywidgets.Text(description="Prompt", placeholder="a smiling woman with glasses",
                                 tooltip="What the face should look like; empty = no wish")  # fmt: skip
        self.fields: dict[str, ipywidgets.DOMWidget] = {"prompt": field(prompt, "ex-wide")}
        self.fields |= {name: _number(*said) for name, said in NUMBERS.items()}
        self.fields |= {name: _choice(*said) for name, said in CHOICES.items()}
        self.fields |= {name: _text(*said) for name, said in TEXTS.items()}
        rest = [name for name in CELEBA if name not in COMMON]
        self.chips = Chips(names=[*COMMON, *rest], common=len(COMMON))
        rest = row(*(self.fields[name] for name in self.fields if name not in ("prompt", *BASIC)))
        advanced = fold("advanced settings", "Weights, space, start, blending, crop", rest)
        basic = row(*(self.fields[name] for name in BASIC))
        self.page = column(self.fields["prompt"], self.chips, basic, advanced)

    def show(self, settings: Settings) -> None:
        """Fills the inputs."""
        self.base, self.chips.wishes = settings, settings.attributes
        for name, widget in self.fields.items():
            widget.value = getattr(settings, name)

    def settings(self) -> Settings:
        """Returns what the inputs hold. Raises InpaintError for what cannot be used."""
        values = {name: widget.value for name, widget in self.fields.items()}
        try:
            return Settings.from_mapping(self.base.model_dump() | values | {"attributes": self.chips.wishes}, SOURCE)
        except InpaintError as error:
            raise InpaintError(self._in_words(str(error).removeprefix(f"{SOURCE}: "))) from None

    def observe(self, call: Callable[[], None]) -> None:
        """Has ``call`` called after each change of an input."""
        for widget in self.fields.values():
            widget.observe(lambda _: call(), "value")
        self.chips.observe(lambda _: call(), "wishes")

    def _in_words(self, faults: str) -> str:
        """The faults of settings with the labels of their inputs instead of keys."""
        for name, widget in self.fields.items():
            faults = re.sub(rf"(^|; ){name} (?=must )", rf"\1{widget.description} ", faults)
        return faults


def _number(label: str, tooltip: str, kind: type, bounds: dict[str, float]) -> ipywidgets.DOMWidget:
    make = ipywidgets.BoundedIntText if kind is int else ipywidgets.BoundedFloatText
    options = {"max": 1e6} | ({} if kind is int else {"step": 0.05}) | bounds
    return field(make(value=options["min"], description=label, tooltip=tooltip, **options))


def _choice(label: str, tooltip: str, options: Any) -> ipywidgets.DOMWidget:
    options = list(options.items()) if isinstance(options, dict) else list(options)
    return field(ipywidgets.Dropdown(options=options, description=label, tooltip=tooltip))


def _text(label: str, tooltip: str, example: str) -> ipywidgets.DOMWidget:
    return field(ipywidgets.Text(description=label, tooltip=tooltip, placeholder=example))
