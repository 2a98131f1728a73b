"""Attribute classifiers: frozen networks that say of a face which of CelebA's 40 attributes it has.

``attributes-guide`` (a small vision transformer, the XCiT of El-Nouby et al. 2021) is for objectives,
``attributes-judge`` (a residual network) for tables; they were trained on disjoint halves of the faces. Both are
``timm`` networks with two numbers an attribute on top, fitted on faces that the training did not see (Platt 1999):

    logit_a = slope_a * network_a(x) + offset_a              so that sigmoid(logit_a) is a probability
    p_a > prior_a                                            "has it": likelier than before looking

The second line is the decision of every table here. For a calibrated network it has the best balanced accuracy,
while the threshold 1/2 would never find a rare attribute.

A *wish* is an attribute with a sign, ``+Smiling`` or ``-Eyeglasses``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .checks import InpaintError, check_integer
from .images import resize
from .weights import build, like, load_weights

__all__ = ["AttributeNetwork", "CELEBA", "SHIPPED", "Wish", "load_classifier", "parse_wishes"]

SHIPPED = ("attributes-guide", "attributes-judge")

#: CelebA's attributes in their official order.
CELEBA = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache",
    "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks",
    "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick",
    "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip


class AttributeNetwork(nn.Module):
    """A ``timm`` classifier with its preprocessing and calibration.

    Args:
        architecture: a name that ``timm.create_model`` knows.
        options: further arguments of ``timm.create_model``, for instance ``{"img_size": 64}``.
        attributes: names of the outputs, in order.
        size: side in pixels of the images that the network reads; others are resized (differentiably).
        mean, std: of the network's input, for channels in [0, 1].
        mirror: outside of training, average the network's logits over the image and its mirror image: twice the work,
            and the same answer for both. For a judge, who is asked seldom.

    Raises InpaintError if timm does not know the architecture or its options.
    """

    def __init__(self, architecture: str, *, options: dict | None = None, attributes: Sequence[str] = CELEBA,
                 size: int = 64, mean: Sequence[float] = (0.5,) * 3, std: Sequence[float] = (0.5,) * 3,
                 mirror: bool = False):  # fmt: skip
        super().__init__()
        check_integer("size", size, low=1)
        self.config = {"architecture": architecture, "options": options or {}, "attributes": list(attributes),
                       "size": size, "mean": list(mean), "std": list(std), "mirror": mirror}  # fmt: skip
        self.source = ""  # the name or file that it was loaded from
        self.attributes, self.size, self.mirror = tuple(attributes), size, mirror
        self.network = _timm(architecture, len(self.attributes), options or {})
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        n = len(self.attributes)
        for name, start in (("slope", torch.ones(n)), ("offset", torch.zeros(n)), ("prior", torch.full((n,), 0.5))):
            self.register_buffer(name, start)

    def raw(self, x: Tensor) -> Tensor:
        """Returns the network's own logits, (N, A), before calibration, for x (N, 3, H, W) in [-1, 1]."""
        if x.shape[-2:] != (self.size, self.size):
            x = resize(x, self.size)
        x = ((x + 1.0) / 2.0 - self.mean) / self.std
        if self.mirror and not self.training:
            return self.network(torch.cat([x, x.flip(3)])).unflatten(0, (2, -1)).mean(dim=0)
        return self.network(x)

    def forward(self, x: Tensor) -> Tensor:
        """Returns calibrated logits, (N, A), for images x (N, 3, H, W) in [-1, 1] of any size."""
        return self.slope * self.raw(x) + self.offset

    def evidence(self, logits: Tensor) -> Tensor:
        """Returns calibrated logits minus the prior's: the log likelihood ratio, above 0 where the face has it."""
        return logits - torch.logit(self.prior.clamp(1e-4, 1 - 1e-4))

    def index(self, attribute: str) -> int:
        """Returns the place of an attribute.

        Raises InpaintError, offering the nearest names, if the network does not know it.
        """
        if attribute in self.attributes:
            return self.attributes.index(attribute)
        folded = {re.sub("[^a-z0-9]", "", name.lower()): name for name in self.attributes}
        near = get_close_matches(re.sub("[^a-z0-9]", "", attribute.lower()), folded, n=3, cutoff=0.5)
        hint = f"; nearest: {', '.join(folded[n] for n in near)}" if near else f"; known: {', '.join(self.attributes)}"
        raise InpaintError(f"attribute must be one that the classifier knows; got {attribute!r}{hint}")


def _timm(architecture: str, outputs: int, options: dict) -> nn.Module:
    import timm  # imports torchvision: seconds, so only on request

    try:
        with torch.random.fork_rng(devices=[]):
            return timm.create_model(architecture, pretrained=False, num_classes=outputs, **options)
    except (RuntimeError, TypeError) as error:
        raise InpaintError(f"architecture must be one that timm knows; got {architecture!r} ({error})") from None


class Wish(NamedTuple):
    """An attribute that the hole should, or should not, have."""

    attribute: str
    wanted: bool

    def __str__(self) -> str:
        return ("+" if self.wanted else "-") + self.attribute


def parse_wishes(text: str) -> tuple[Wish, ...]:
    """Returns the wishes of ``"+Smiling,-Eyeglasses"``; a name without a sign is wanted.

    Raises InpaintError if there is none, a name is missing, or one attribute stands twice.

    Example:
        >>> [str(w) for w in parse_wishes("+Smiling, -Eyeglasses")]
        ['+Smiling', '-Eyeglasses']
    """
    wishes = []
    for part in text.split(","):
        name = part.strip()
        sign = name[:1] if name[:1] in ("+", "-") else "+"
        name = name.removeprefix(sign).strip()
        if not name:
            raise InpaintError(f"attributes must be names with signs, as +Smiling,-Eyeglasses; got {text!r}")
        for other in wishes:
            if other.attribute.lower() == name.lower():
                kind = "contradicts" if other.wanted != (sign == "+") else "repeats"
                raise InpaintError(f"attributes must name each attribute once; {sign}{name} {kind} {other}")
        wishes.append(Wish(name, sign == "+"))
    return tuple(wishes)


@functools.lru_cache(maxsize=4)
def _cached(source: str, stamp: int) -> AttributeNetwork:
    architecture, separator, path = source.partition(":")
    network = _plain(architecture, path) if separator else build(AttributeNetwork, source)
    network.source = source
    return network


def load_classifier(name_or_path: str, *, device: torch.device | str = "cpu") -> AttributeNetwork:
    """Returns a frozen classifier; calls with the same file share one network.

    Args:
        name_or_path: ``"attributes-guide"``, ``"attributes-judge"``, a file that ``make train-attributes`` wrote,
            or ``"ARCHITECTURE:FILE"``: a timm architecture (the study's is ``vit_base_patch16_224``) and a
            safetensors file of its state with 40 outputs in CelebA's order. The latter is not calibrated.

    Raises:
        InpaintError: if the file is missing or damaged or its weights are of another architecture.
    """
    source = str(name_or_path)
    path = Path(source.rpartition(":")[2])
    stamp = path.stat().st_mtime_ns if path.is_file() else 0  # a file that was written anew is read anew
    return like(_cached(source, stamp), torch.empty(0, device=device))


def _plain(architecture: str, path: str) -> AttributeNetwork:
    """A timm network with a plain state of its own names."""
    tensors, _ = load_weights(path)
    facts = _timm(architecture, len(CELEBA), {}).pretrained_cfg
    model = AttributeNetwork(architecture, size=facts["input_size"][-1], mean=facts["mean"], std=facts["std"])
    try:
        model.network.load_state_dict(tensors)
    except RuntimeError as error:
        problem = " ".join(str(error).split())[:300]
        raise InpaintError(
            f"{path}: weights must be those of {architecture} with {len(CELEBA)} outputs; {problem}"
        ) from None
    return model.eval().requires_grad_(False)
