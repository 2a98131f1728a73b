"""What a network is made of, told from the shapes of its weights, and checked against what its file says of it.

Shapes are in the file and so cost what they cost; arguments are a few bytes and could ask for anything. So the config
is read off the shapes, and recorded arguments must agree with it; what shapes do not tell (clamping, the group of the
minibatch standard deviation) is taken from the arguments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import InpaintError
from .pickles import short

__all__ = ["ORDERS", "Shapes", "agreed", "discriminator_config", "generator_config", "is_later"]

#: Name of a tensor -> its shape.
Shapes = Mapping[str, tuple[int, ...]]
#: Positional arguments of the official constructors.
ORDERS = {
    "Generator": ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs", "synthesis_kwargs"),
    "Discriminator": ("c_dim", "img_resolution", "img_channels", "architecture", "channel_base", "channel_max",
                      "num_fp16_res", "conv_clamp", "cmap_dim", "block_kwargs", "mapping_kwargs", "epilogue_kwargs"),
}  # fmt: skip
MAX_RESOLUTION = 4096
MAX_WIDTH = 2**16
MAX_LAYERS = 64
FIR = [1, 3, 3, 1]
LR_MULTIPLIER = 0.01  # of mapping networks
# What the StyleGAN2 of the StyleGAN3 release, which writes a generator's arguments in another way, takes by default.
LATER = {"num_fp16_res": 4, "conv_clamp": 256}

Width = Annotated[int, Field(ge=0, le=MAX_WIDTH)]
Clamp = Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
Architecture = Literal["orig", "skip", "resnet"]


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Mapping(_Arguments):
    num_layers: Annotated[int, Field(ge=0, le=MAX_LAYERS)] = 8
    embed_features: Width | None = None
    layer_features: Width | None = None
    activation: Literal["lrelu"] = "lrelu"
    lr_multiplier: Annotated[float, Field(gt=0, le=1)] = LR_MULTIPLIER
    w_avg_beta: float | None = 0.995


class _Layers(_Arguments):
    channel_base: Annotated[int, Field(ge=1, le=2**24)] = 32768
    channel_max: Annotated[int, Field(ge=1, le=2**16)] = 512
    num_fp16_res: Annotated[int, Field(ge=0, le=16)] = 0
    conv_clamp: Clamp = None


class _Synthesis(_Layers):
    architecture: Architecture = "skip"
    fused_modconv_default: bool | str = True  # how it is computed, not what
    resample_filter: list[int] | tuple[int, ...] = Field(default=FIR)
    fp16_channels_last: bool = False
    use_noise: bool = True
    activation: Literal["lrelu"] = "lrelu"


class _Generator(_Arguments):
    z_dim: Width
    c_dim: Width
    w_dim: Width
    img_resolution: Width
    img_channels: Width
    mapping_kwargs: _Mapping = _Mapping()
    synthesis_kwargs: _Synthesis = _Synthesis()


class _Block(_Arguments):
    activation: Literal["lrelu"] = "lrelu"
    resample_filter: list[int] | tuple[int, ...] = Field(default=FIR)
    fp16_channels_last: bool = False
    freeze_layers: Annotated[int, Field(ge=0)] = 0


class _Epilogue(_Arguments):
    mbstd_group_size: Annotated[int, Field(ge=1, le=2**16)] | None = 4
    mbstd_num_channels: Literal[1] = 1
    activation: Literal["lrelu"] = "lrelu"


class _Discriminator(_Layers):
    c_dim: Width
    img_resolution: Width
    img_channels: Width
    architecture: Architecture = "resnet"
    cmap_dim: Width | None = None
    block_kwargs: _Block = _Block()
    mapping_kwargs: _Mapping = _Mapping()
    epilogue_kwargs: _Epilogue = _Epilogue()


MODELS = {"Generator": _Generator, "Discriminator": _Discriminator}


def is_later(arguments: Mapping[str, Any]) -> bool:
    """Tells whether a generator was written by the StyleGAN3 release: its synthesis arguments are not in a group."""
    return "synthesis_kwargs" not in arguments and bool(arguments.keys() & _Synthesis.model_fields.keys())


def _recorded(kind: str, arguments: dict[str, Any], later: bool) -> _Generator | _Discriminator:
    if later and kind == "Generator":
        flat = {key: arguments[key] for key in arguments.keys() & _Synthesis.model_fields.keys()}
        arguments = {key: x for key, x in arguments.items() if key not in flat} | {"synthesis_kwargs": LATER | flat}
    elif later:
        arguments = LATER | arguments
    try:
        return MODELS[kind].model_validate(arguments)
    except ValidationError as error:
        first = error.errors()[0]
        key, found = ".".join(map(str, first["loc"])), first.get("input")
        if first["type"] == "extra_forbidden":
            raise InpaintError(f"has a {kind} with the unknown argument {short(key)}") from None
        if first["type"] == "missing":
            raise InpaintError(f"does not record the argument {short(key)} of its {kind}") from None
        what = re.sub(r"^\w+ should", "must", first["msg"])[:120]
        raise InpaintError(f"has a {kind} whose argument {short(key)} {what}; found {short(found)}") from None


def agreed(kind: str, config: dict[str, Any], arguments: dict[str, Any], *,
           later: bool = False) -> tuple[dict[str, Any], dict[str, str]]:  # fmt: skip
    """Returns the config, completed by the recorded arguments, and notes of what of them has no place in it.

    Args:
        kind: ``Generator`` or ``Discriminator``.
        config: of :func:`generator_config` or :func:`discriminator_config`.
        arguments: of the official class's constructor.
        later: of the file's generator, see :func:`is_later`.

    Raises:
        InpaintError: if an argument is unknown or impossible, or contradicts the shapes.
    """
    a = _recorded(kind, arguments, later)
    layers = a.synthesis_kwargs if kind == "Generator" else a
    said = {"c_dim": a.c_dim, "img_resolution": a.img_resolution, "img_channels": a.img_channels,
            "architecture": layers.architecture}  # fmt: skip
    if kind == "Generator":
        said |= {"z_dim": a.z_dim, "w_dim": a.w_dim}
        _check_filter(layers.resample_filter)
    else:
        _check_filter(a.block_kwargs.resample_filter)
    if kind == "Generator" or a.c_dim:  # else there is no mapping network, whatever is said of it
        said["mapping_layers"] = a.mapping_kwargs.num_layers
        if a.mapping_kwargs.num_layers and a.mapping_kwargs.lr_multiplier != LR_MULTIPLIER:
            rate = short(a.mapping_kwargs.lr_multiplier)
            raise InpaintError(f"has a {kind} whose argument lr_multiplier is {rate}; {LR_MULTIPLIER} is known")
    if a.img_resolution == 4 and kind == "Generator":
        said["architecture"] = config["architecture"]  # with a single block all are the same
    for name, value in said.items():
        if config[name] != value:
            raise InpaintError(f"says that its {kind} has {name} {value}, and holds the weights of {config[name]}")
    widths = {"channel_base": layers.channel_base, "channel_max": layers.channel_max}
    for res in _resolutions(a.img_resolution):
        if (width := _width(res, **widths)) != _width(res, config["channel_base"], config["channel_max"]):
            raise InpaintError(f"says that its {kind} has {width} channels at {res} px, and holds weights of others")
    config = config | widths | {"conv_clamp": layers.conv_clamp}
    if kind == "Discriminator":
        config["mbstd_group_size"] = a.epilogue_kwargs.mbstd_group_size
    return config, {"num_fp16_res": str(layers.num_fp16_res)}


def _check_filter(taps: list[int] | tuple[int, ...]) -> None:
    if list(taps) != FIR:
        raise InpaintError("has a network with another resampling filter than [1, 3, 3, 1]")


def _resolutions(largest: int) -> list[int]:
    return [2**i for i in range(2, largest.bit_length())]


def _width(res: int, channel_base: int, channel_max: int) -> int:
    return min(channel_base // res, channel_max)


def _shape(shapes: Shapes, name: str, dims: int) -> tuple[int, ...]:
    if name not in shapes:
        raise InpaintError(f"lacks the tensor {name!r}")
    if len(shapes[name]) != dims or not all(0 < n <= MAX_WIDTH for n in shapes[name]):
        raise InpaintError(f"has a tensor {name!r} of the shape {short_shape(shapes[name])}; {dims} dimensions belong")
    return shapes[name]


def short_shape(shape: tuple[int, ...]) -> str:
    """Returns a shape for a message, as ``(512, 512, 3, 3)``; never long."""
    return "(" + ", ".join(short(n) for n in shape[:8]) + ")"


def _blocks(shapes: Shapes, prefix: str, *, least: int) -> list[int]:
    """Returns the resolutions of a network's blocks, 4, 8, ...; they must have no gap."""
    found = {int(m[1]) for name in shapes if (m := re.match(rf"{re.escape(prefix)}b(\d{{1,5}})\.", name))}
    if not found or max(found) > MAX_RESOLUTION or sorted(found) != _resolutions(max(found)) or max(found) < least:
        raise InpaintError(
            f"has blocks of {sorted(found)[:12]} px; 4, 8, ... up to {MAX_RESOLUTION} without a gap belong"
        )
    return sorted(found)


def _channels(widths: dict[int, int], kind: str) -> dict[str, int]:
    """Returns the channel_base and channel_max that give these widths."""
    largest, most = max(widths), max(widths.values())
    base = widths[largest] * largest
    if any(_width(res, base, most) != width for res, width in widths.items()):
        raise InpaintError(
            f"has a {kind} with {list(widths.values())[:12]} channels, which fall in another way than known"
        )
    return {"channel_base": base, "channel_max": most}


def _architecture(shapes: Shapes, inner: str) -> str:
    """The architecture: ``inner`` names a tensor that only 'skip' has."""
    if inner in shapes:
        return "skip"
    return "resnet" if any(name.endswith(".skip.weight") for name in shapes) else "orig"


def _depth(shapes: Shapes) -> int:
    """The number of a mapping network's layers, at most one more than is allowed."""
    return next(i for i in range(MAX_LAYERS + 2) if f"mapping.fc{i}.weight" not in shapes or i > MAX_LAYERS)


def generator_config(shapes: Shapes) -> dict[str, Any]:
    """Returns the arguments of :class:`~inpaintlib.stylegan2.Generator` that give these shapes.

    Raises InpaintError if a tensor that tells is missing, or the shapes are of no generator of this kind.
    """
    layers = _depth(shapes)
    w_dim, fan_in = _shape(shapes, "mapping.fc0.weight", 2)
    w_dim = _shape(shapes, f"mapping.fc{layers - 1}.weight", 2)[0]
    c_dim = _shape(shapes, "mapping.embed.weight", 2)[1] if "mapping.embed.weight" in shapes else 0
    if fan_in <= (w_dim if c_dim else 0) or layers > MAX_LAYERS:
        raise InpaintError("has a mapping network whose layers do not fit each other")
    found = _blocks(shapes, "synthesis.", least=4)
    last = found[-1]
    widths = {res: _shape(shapes, f"synthesis.b{res}.conv1.weight", 4)[0] for res in found}
    return dict(z_dim=fan_in - (w_dim if c_dim else 0), c_dim=c_dim, w_dim=w_dim, img_resolution=last,
                img_channels=_shape(shapes, f"synthesis.b{last}.torgb.weight", 4)[0],
                architecture=_architecture(shapes, "synthesis.b4.torgb.weight"), mapping_layers=layers,
                conv_clamp=None, **_channels(widths, "Generator"))  # fmt: skip


def discriminator_config(shapes: Shapes) -> dict[str, Any]:
    """Returns the arguments of :class:`~inpaintlib.stylegan2.Discriminator` that give these shapes.

    Raises InpaintError as :func:`generator_config`.
    """
    found = _blocks(shapes, "", least=8)
    last = found[-1]
    widths = {res: _shape(shapes, f"b{res}.conv0.weight", 4)[1] for res in found[1:]}
    fan_out, fan_in = _shape(shapes, "b4.conv.weight", 4)[:2]
    if fan_in != fan_out + 1:
        raise InpaintError("has a Discriminator without its one channel of the minibatch standard deviation")
    c_dim = _shape(shapes, "mapping.embed.weight", 2)[1] if "mapping.embed.weight" in shapes else 0
    layers = _depth(shapes) if c_dim else 8
    if layers > MAX_LAYERS:
        raise InpaintError("has a mapping network of too many layers")
    return dict(c_dim=c_dim, img_resolution=last, mapping_layers=layers,
                img_channels=_shape(shapes, f"b{last}.fromrgb.weight", 4)[1],
                architecture=_architecture(shapes, "b4.fromrgb.weight"), conv_clamp=None, mbstd_group_size=4,
                **_channels({4: fan_out, **widths}, "Discriminator"))  # fmt: skip
