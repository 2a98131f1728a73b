"""Checkpoints of the common community version of StyleGAN2 for PyTorch (its keys are ``g_ema``, ``d``, ``latent_avg``).

It is the same network under other names, with two differences in what is stored: a modulated 3x3 convolution is scaled
by 1 / sqrt(9 fan_in) where it is used (here its weight is stored scaled, so that demodulation's epsilon means the
same), and some tensors have an axis of length 1 more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import numpy as np

from ..errors import InpaintError

__all__ = ["discriminator_state", "generator_state", "is_rosinality"]

Arrays = dict[str, np.ndarray]


def is_rosinality(names: Mapping[str, object]) -> bool:
    """Tells whether a state dict has this version's names of a generator."""
    return "input.input" in names and "conv1.conv.weight" in names


def _scaled(x: np.ndarray) -> np.ndarray:
    if x.ndim != 5:
        raise InpaintError("has a modulated convolution whose weight has not 5 dimensions")
    return (x[0] * np.float32(1.0 / math.sqrt(x.shape[2] * x.shape[3] * x.shape[4]))).astype(x.dtype)


def _same(x: np.ndarray) -> np.ndarray:
    return x


def _first(x: np.ndarray) -> np.ndarray:
    if x.ndim < 2 or x.shape[0] != 1:
        raise InpaintError("has a tensor without its first axis of length 1")
    return x[0]


def _scalar(x: np.ndarray) -> np.ndarray:
    if x.size != 1:
        raise InpaintError("has a noise strength that is no single number")
    return x.reshape(())


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1)


def _map(x: np.ndarray) -> np.ndarray:
    if x.ndim != 4 or x.shape[:2] != (1, 1):
        raise InpaintError("has a noise map whose shape is not (1, 1, H, W)")
    return x[0, 0]


Rule = tuple[str, Callable[[np.ndarray], np.ndarray]]
STYLED: dict[str, Rule] = {
    "conv.weight": ("weight", _scaled),
    "conv.modulation.weight": ("affine.weight", _same),
    "conv.modulation.bias": ("affine.bias", _same),
    "noise.weight": ("noise_strength", _scalar),
    "activate.bias": ("bias", _flat),
}
TO_RGB: dict[str, Rule] = {
    "conv.weight": ("weight", _first),
    "conv.modulation.weight": ("affine.weight", _same),
    "conv.modulation.bias": ("affine.bias", _same),
    "bias": ("bias", _flat),
}
# Filters are the same everywhere, but for a factor; ours are constants.
FILTER = re.compile(r".*\.kernel")
FIR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def _split(name: str, pattern: str) -> tuple[int, str] | None:
    found = re.fullmatch(pattern + r"(?:\.(.*))?", name)
    return (int(found[1]), found[2] or "") if found else None


def _generator_rule(name: str) -> Rule | None:
    """The place of a tensor of the generator in ours, and how it gets there."""
    if name == "input.input":
        return "synthesis.b4.const", _first
    if found := _split(name, r"style\.(\d{1,2})"):
        index, rest = found
        return (f"mapping.fc{index - 1}.{rest}", _same) if rest in ("weight", "bias") and index > 0 else None
    for head, rules, block, layer in (("conv1.", STYLED, "b4", "conv1"), ("to_rgb1.", TO_RGB, "b4", "torgb")):
        if name.startswith(head) and (rule := rules.get(name.removeprefix(head))):
            return f"synthesis.{block}.{layer}.{rule[0]}", rule[1]
    if (found := _split(name, r"convs\.(\d{1,2})")) and (rule := STYLED.get(found[1])):
        return f"synthesis.b{8 << found[0] // 2}.conv{found[0] % 2}.{rule[0]}", rule[1]
    if (found := _split(name, r"to_rgbs\.(\d{1,2})")) and (rule := TO_RGB.get(found[1])):
        return f"synthesis.b{8 << found[0]}.torgb.{rule[0]}", rule[1]
    if (found := _split(name, r"noises\.noise_(\d{1,2})")) and not found[1]:
        index = found[0]
        place = "b4.conv1" if index == 0 else f"b{8 << (index - 1) // 2}.conv{(index - 1) % 2}"
        return f"synthesis.{place}.noise_const", _map
    return None


def _check_filter(name: str, x: np.ndarray) -> None:
    if x.shape != FIR.shape or not np.allclose(x / max(float(x.sum()), 1e-9), FIR, atol=1e-6):
        raise InpaintError(f"has another resampling filter than [1, 3, 3, 1] as {ascii(name[:60])}")


def _renamed(state: Arrays, rule_of: Callable[[str], Rule | None]) -> Arrays:
    out: Arrays = {}
    for name, x in state.items():
        if FILTER.fullmatch(name):
            _check_filter(name, x)
            continue
        rule = rule_of(name)
        if rule is None:
            raise InpaintError(f"has a tensor {ascii(name[:60])}, which this version of StyleGAN2 does not have")
        out[rule[0]] = rule[1](x)
    return out


def generator_state(state: Arrays, latent_avg: np.ndarray | None) -> Arrays:
    """Returns a generator's state under our names.

    Args:
        state: name -> array, of the key ``g_ema``.
        latent_avg: (w_dim,), or None if the file has none.

    Raises:
        InpaintError: for a tensor of another name or form.
    """
    out = _renamed(state, _generator_rule)
    return out if latent_avg is None else out | {"mapping.w_avg": _flat(latent_avg)}


def discriminator_state(state: Arrays) -> Arrays:
    """Returns a discriminator's state (of the key ``d``) under our names.

    Raises InpaintError for a tensor of another name or form.
    """
    blocks = [found[0] for name in state if (found := _split(name, r"convs\.(\d{1,2})"))]
    largest = 4 << max(blocks, default=0)
    fixed = {"final_conv.0.weight": "b4.conv.weight", "final_conv.1.bias": "b4.conv.bias",
             "final_linear.0.weight": "b4.fc.weight", "final_linear.0.bias": "b4.fc.bias",
             "final_linear.1.weight": "b4.out.weight", "final_linear.1.bias": "b4.out.bias",
             "convs.0.0.weight": f"b{largest}.fromrgb.weight",
             "convs.0.1.bias": f"b{largest}.fromrgb.bias"}  # fmt: skip
    layers = {"conv1.0.weight": "conv0.weight", "conv1.1.bias": "conv0.bias", "conv2.1.weight": "conv1.weight",
              "conv2.2.bias": "conv1.bias", "skip.1.weight": "skip.weight"}  # fmt: skip

    def rule(name: str) -> Rule | None:
        if name in fixed:
            return fixed[name], _flat if name.endswith(".bias") else _same
        found = _split(name, r"convs\.(\d{1,2})")
        if found and found[0] > 0 and found[1] in layers:
            return f"b{largest >> found[0] - 1}.{layers[found[1]]}", _flat if found[1].endswith("bias") else _same
        return None

    return _renamed(state, rule)
