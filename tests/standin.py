"""Writers of files in the formats in which others publish StyleGAN2, filled with the weights of our small networks.

``write_ada`` records networks the way NVIDIA's ``torch_utils.persistence`` does: an object is a call of
``_reconstruct_persistent_obj`` with its class's name, the source text of its module and its ``__dict__``.
``rosinality`` files hold state dicts under other names; how such a network computes an image is written out here
a second time, from its structure, so that a test can compare. Nothing is copied, and nothing here reads a file.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import math
import pickle
import re
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inpaintlib.stylegan2 import Discriminator, Generator

from .tiny import seeded

#: What a real file carries is the whole source of NVIDIA's module; what matters is that nobody runs it.
SOURCE = "import pathlib\npathlib.Path({canary!r}).write_text('ran')\n"
BUFFERS = ("w_avg", "noise_const", "resample_filter")
#: Who made a network: the training of StyleGAN2-ADA, its converter of TensorFlow's networks, the StyleGAN3 release.
ORIGINS = ("ada", "tensorflow", "stylegan3")
LATER = {"num_fp16_res": 4, "conv_clamp": 256}  # that release's defaults
ERAS = ("2020", "now")  # of torch and numpy: torch 1.7 and numpy 1, or what is installed


# Stand-ins for modules that only the writing program has ------------------------------------------------


def _reconstruct(meta: dict) -> types.SimpleNamespace:
    return types.SimpleNamespace(**meta)


class EasyDict(dict):
    """A dict whose class is ``dnnlib.util.EasyDict`` in the file."""


class ShortEasyDict(dict):
    """A dict whose class is ``dnnlib.EasyDict`` in the file."""


def _scalar(dtype: np.dtype, content: bytes) -> np.generic:
    return np.frombuffer(content, dtype)[0]


def _call_it(thing: object, module: str, name: str) -> None:
    thing.__module__, thing.__name__, thing.__qualname__ = module, name, name


_call_it(_reconstruct, "torch_utils.persistence", "_reconstruct_persistent_obj")
_call_it(EasyDict, "dnnlib.util", "EasyDict")
_call_it(ShortEasyDict, "dnnlib", "EasyDict")
_call_it(_scalar, "numpy.core.multiarray", "scalar")


@contextlib.contextmanager
def official_modules() -> Iterator[None]:
    """Within the ``with`` block the modules exist that a pickle of NVIDIA's names; afterwards they do not."""
    names = ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util", "numpy.core", "numpy.core.multiarray")
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update({name: types.ModuleType(name) for name in names})
    sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj = _reconstruct
    sys.modules["dnnlib.util"].EasyDict = EasyDict
    sys.modules["dnnlib"].EasyDict = ShortEasyDict
    sys.modules["numpy.core.multiarray"].scalar = _scalar
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class Recorded(nn.Module):
    """An object that is pickled as NVIDIA's persistent classes are; subclasses give the class's name."""

    source = SOURCE.format(canary="never")

    def __init__(self, *args: object, attributes: Mapping[str, object] | None = None, **kwargs: object):
        super().__init__()
        self.__dict__.update(attributes or {})
        self.__dict__.update(_init_args=args, _init_kwargs=kwargs)

    def __reduce__(self):
        meta = dict(type="class", version=6, module_src=self.source, class_name=type(self).__name__)
        return _reconstruct, (meta | {"state": dict(self.__dict__)},), None


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, protocol: int, era: str):
        super().__init__(file, protocol)
        self.era = era

    def reducer_override(self, thing: object):
        if self.era == "2020" and isinstance(thing, np.generic):
            return _scalar, (thing.dtype, thing.tobytes())
        return NotImplemented


def dumps(thing: object, protocol: int = 3, era: str = "now") -> bytes:
    """Returns a pickle that names numpy's modules as they were called in that era."""
    file = io.BytesIO()
    with official_modules():
        _Pickler(file, protocol, era).dump(thing)
    return file.getvalue()


# NVIDIA's networks --------------------------------------------------------------------------------------

_CLASSES = {"mapping": "MappingNetwork", "synthesis": "SynthesisNetwork", "torgb": "ToRGBLayer", "mbstd":
            "MinibatchStdLayer", "fc": "FullyConnectedLayer", "out": "FullyConnectedLayer", "embed":
            "FullyConnectedLayer", "affine": "FullyConnectedLayer", "skip": "Conv2dLayer", "fromrgb": "Conv2dLayer",
            "conv": "Conv2dLayer"}  # fmt: skip


def _class_name(path: str, root: str) -> str:
    last = path.split(".")[-1]
    if not path:
        return root
    if re.fullmatch(r"fc\d+", last):
        return "FullyConnectedLayer"
    if re.fullmatch(r"conv[01]", last):
        return "SynthesisLayer" if root == "Generator" else "Conv2dLayer"
    if re.fullmatch(r"b\d+", last):
        block = "DiscriminatorEpilogue" if last == "b4" else "DiscriminatorBlock"
        return "SynthesisBlock" if root == "Generator" else block
    return _CLASSES[last]


def _attributes(class_name: str, path: str, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict:
    """Returns plain attributes such as the real objects have; they include NumPy's numbers."""
    here = {name.rpartition(".")[2]: x for name, x in state.items() if name.rpartition(".")[0] == path}
    shared = {
        key: config[key] for key in ("c_dim", "img_resolution", "img_channels", "z_dim", "w_dim") if key in config
    }
    match class_name:
        case "FullyConnectedLayer":
            slow = ".fc" in path and "mapping" in path
            lr, fan_in = (0.01 if slow else 1.0), here["weight"].shape[1]
            relu = slow or path == "b4.fc"
            return dict(activation="lrelu" if relu else "linear", weight_gain=lr / np.sqrt(fan_in), bias_gain=lr)
        case "Conv2dLayer" | "SynthesisLayer" | "ToRGBLayer":
            out, fan_in, kernel, _ = here["weight"].shape
            attributes = dict(activation="linear" if path.endswith(("skip", "torgb")) else "lrelu",
                              conv_clamp=config["conv_clamp"], padding=kernel // 2, act_gain=np.sqrt(2),
                              weight_gain=1 / np.sqrt(fan_in * kernel**2))  # fmt: skip
            up = 2 if path.endswith("conv0") and class_name == "SynthesisLayer" else 1
            return attributes | dict(up=up, use_noise="noise_strength" in here, resolution=config["img_resolution"])
        case "SynthesisBlock" | "DiscriminatorBlock" | "DiscriminatorEpilogue":
            resolution = int(path.rpartition("b")[2])
            fp16 = resolution * 2 ** config["num_fp16_res"] > config["img_resolution"]
            return dict(resolution=resolution, img_channels=config["img_channels"], use_fp16=fp16, channels_last=False,
                        architecture=config["architecture"], cmap_dim=0, in_channels=0)  # fmt: skip
        case "MinibatchStdLayer":
            return dict(group_size=config["mbstd_group_size"], num_channels=1)
        case "MappingNetwork":
            depth = sum(re.fullmatch(r"(mapping\.)?fc\d+\.bias", name) is not None for name in state)
            average = 0.995 if any(name.endswith("w_avg") for name in state) else None
            return shared | dict(num_ws=None, num_layers=depth, w_avg_beta=average)
        case "SynthesisNetwork" | "Discriminator":
            log2 = int(math.log2(config["img_resolution"]))
            return shared | dict(img_resolution_log2=log2, block_resolutions=[2**i for i in range(2, log2 + 1)])
        case _:
            return shared | dict(num_ws=2 * int(math.log2(config["img_resolution"])) - 2)


def recorded(root: str, state: Mapping[str, Tensor], config: Mapping[str, Any], *args: object,
             era: str = "now", source: str = SOURCE.format(canary="never"), **kwargs: object) -> Recorded:  # fmt: skip
    """Returns the tree of persistent objects that holds a state dict, ``root`` being the class of its top."""
    modules: dict[str, Recorded] = {}

    def module(path: str) -> Recorded:
        if path not in modules:
            name = _class_name(path, root)
            cls = type(name, (Recorded,), {"source": source})
            given = (args, kwargs) if not path else ((), {})
            modules[path] = cls(*given[0], attributes=_attributes(name, path, state, config), **given[1])
            if path:
                above, _, last = path.rpartition(".")
                module(above).add_module(last, modules[path])
        return modules[path]

    for name, x in state.items():
        path, _, last = name.rpartition(".")
        if last in BUFFERS:
            module(path).register_buffer(last, x.clone())
        else:
            module(path).register_parameter(last, nn.Parameter(x.clone(), requires_grad=False))
    if root == "Discriminator":
        module("b4.mbstd")
    for part in modules.values() if era == "2020" else ():
        for key in ("_parameters", "_buffers", "_modules"):
            part.__dict__[key] = OrderedDict(part.__dict__[key])
    return modules[""].eval()


def ada_generator(g: Generator, *, num_fp16_res: int = 0, w_avg: bool = True, noise: bool = True,
                  positional: bool = False, origin: str = "ada", **options: Any) -> Recorded:  # fmt: skip
    """Returns NVIDIA's object for our generator; ``w_avg`` and ``noise`` leave out what such a network may lack.

    ``origin``: one of :data:`ORIGINS`; each writes the arguments in another way.
    """
    config = g.config | {"num_fp16_res": num_fp16_res}
    state = {key: x for key, x in g.state_dict().items()
             if (w_avg or not key.endswith("w_avg")) and (noise or "noise_" not in key)}  # fmt: skip
    mapping = EasyDict(num_layers=config["mapping_layers"])
    if not w_avg:
        mapping["w_avg_beta"] = None
    synthesis = EasyDict({key: config[key] for key in ("channel_base", "channel_max", "num_fp16_res", "conv_clamp")})
    if config["architecture"] != "skip":  # as the real ones do, it leaves out what is the default
        synthesis["architecture"] = config["architecture"]
    if not noise:
        synthesis["use_noise"] = False
    given = {key: config[key] for key in ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")}
    if origin == "tensorflow":  # the converter states every default
        mapping |= dict(embed_features=None, layer_features=None, activation="lrelu", lr_multiplier=0.01)
        mapping.setdefault("w_avg_beta", 0.995)
        synthesis |= dict(architecture=config["architecture"], resample_filter=[1, 3, 3, 1], use_noise=noise,
                          activation="lrelu")  # fmt: skip
    if origin == "stylegan3":  # no group, and what is its default is left out
        flat = {key: x for key, x in synthesis.items() if LATER.get(key, ...) != x}
        given |= {"mapping_kwargs": mapping, "fused_modconv_default": "inference_only", **flat}
        return recorded("Generator", state, config, **given, **options)
    given |= {"mapping_kwargs": mapping, "synthesis_kwargs": synthesis}
    if positional:
        return recorded("Generator", state, config, *given.values(), **options)
    return recorded("Generator", state, config, **given, **options)


def ada_discriminator(d: Discriminator, *, num_fp16_res: int = 0, frozen: int = 0, origin: str = "ada",
                      **options: Any) -> Recorded:  # fmt: skip
    """Returns NVIDIA's object for our discriminator; its first ``frozen`` layers hold their weights as buffers."""
    config = d.config | {"num_fp16_res": num_fp16_res}
    given = {key: config[key] for key in ("c_dim", "img_resolution", "img_channels", "channel_base", "channel_max",
                                          "num_fp16_res", "conv_clamp")}  # fmt: skip
    if config["architecture"] != "resnet":
        given["architecture"] = config["architecture"]
    depth = {} if config["mapping_layers"] == 8 else {"num_layers": config["mapping_layers"]}
    if origin == "tensorflow":
        depth = dict(num_layers=config["mapping_layers"] if config["c_dim"] else 0, embed_features=None,
                     layer_features=None, activation="lrelu", lr_multiplier=0.1)  # fmt: skip
    if origin == "stylegan3":
        given = {key: x for key, x in given.items() if LATER.get(key, ...) != x}
    given |= {"block_kwargs": EasyDict(freeze_layers=frozen) if frozen else EasyDict(),
              "mapping_kwargs": EasyDict(depth),
              "epilogue_kwargs": EasyDict(mbstd_group_size=config["mbstd_group_size"])}  # fmt: skip
    top = recorded("Discriminator", d.state_dict(), config, **given, **options)
    layers = [m for m in top.modules() if type(m).__name__ == "Conv2dLayer"]
    for layer in layers[:frozen]:
        layer._buffers.update({key: layer._parameters.pop(key).data for key in ("weight", "bias")})
    return top


def ada_snapshot(g: Generator, d: Discriminator | None = None, *, era: str = "now", other: int = 1,
                 num_fp16_res: int = 0, augment: bool = True, origin: str = "ada", **options: Any) -> dict:  # fmt: skip
    """Returns the dictionary that training writes: ``g`` is the averaged generator, G has other weights."""
    shared = {"era": era, "num_fp16_res": num_fp16_res, "origin": origin}
    last = copy.deepcopy(g)
    for p in last.parameters():
        p.data.add_(float(other))
    data = dict(class_name="training.dataset.ImageFolderDataset", path="faces.zip", use_labels=bool(g.config["c_dim"]),
                max_size=None, xflip=True, resolution=g.config["img_resolution"])  # fmt: skip
    pipe = type("AugmentPipe", (Recorded,), {})(xflip=1, attributes={"xflip": 1.0, "scale_std": 0.2})
    pipe.register_buffer("p", torch.tensor(0.25))
    pipe.register_buffer("Hz_geom", torch.randn(12, generator=torch.Generator().manual_seed(0)))
    return dict(training_set_kwargs=EasyDict(data), G=ada_generator(last, **shared, **options),
                D=None if d is None else ada_discriminator(d, **shared), G_ema=ada_generator(g, **shared, **options),
                augment_pipe=pipe if augment else None)  # fmt: skip


def write_ada(path: Path, g: Generator, d: Discriminator | None = None, *, protocol: int = 3, era: str = "2020",
              **options: Any) -> Path:  # fmt: skip
    """Writes NVIDIA's snapshot of our networks."""
    path.write_bytes(dumps(ada_snapshot(g, d, era=era, **options), protocol, era))
    return path


# rosinality's networks ----------------------------------------------------------------------------------


def _kernel(factor: float = 1.0) -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return factor * torch.outer(taps, taps) / 64.0


def rosinality_generator(size: int, style_dim: int, n_mlp: int, channels: Mapping[int, int], *, seed: int = 0,
                         kernels: bool = True) -> dict[str, Tensor]:  # fmt: skip
    """Returns a random state dict with the names and shapes of rosinality's generator."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw)

    state: dict[str, Tensor] = {}

    def styled(name: str, fan_in: int, fan_out: int, kernel: int, *, up: bool = False, rgb: bool = False) -> None:
        state[f"{name}.conv.weight"] = normal(1, fan_out, fan_in, kernel, kernel)
        if up and kernels:
            state[f"{name}.conv.blur.kernel"] = _kernel(4.0)
        state[f"{name}.conv.modulation.weight"] = normal(fan_in, style_dim)
        state[f"{name}.conv.modulation.bias"] = 1.0 + 0.1 * normal(fan_in)
        if rgb:
            state[f"{name}.bias"] = 0.1 * normal(1, 3, 1, 1)
        else:
            state[f"{name}.noise.weight"] = 0.3 * normal(1)
            state[f"{name}.activate.bias"] = 0.3 * normal(fan_out)

    for i in range(1, n_mlp + 1):
        state[f"style.{i}.weight"], state[f"style.{i}.bias"] = 100.0 * normal(style_dim, style_dim), normal(style_dim)
    state["input.input"] = normal(1, channels[4], 4, 4)
    styled("conv1", channels[4], channels[4], 3)
    styled("to_rgb1", channels[4], 3, 1, rgb=True)
    for i in range(int(math.log2(size)) - 2):
        above, below = channels[4 * 2**i], channels[8 * 2**i]
        styled(f"convs.{2 * i}", above, below, 3, up=True)
        styled(f"convs.{2 * i + 1}", below, below, 3)
        styled(f"to_rgbs.{i}", below, 3, 1, rgb=True)
        if kernels:
            state[f"to_rgbs.{i}.upsample.kernel"] = _kernel(4.0)
    for i in range(2 * int(math.log2(size)) - 3):
        state[f"noises.noise_{i}"] = normal(1, 1, *[2 ** ((i + 5) // 2)] * 2)
    return state


def _lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2) * math.sqrt(2.0)


def _filtered(x: Tensor, kernel: Tensor, pad: tuple[int, int]) -> Tensor:
    n, c, h, w = x.shape
    y = F.pad(x.reshape(n * c, 1, h, w), (*pad, *pad))
    y = F.conv2d(y, kernel.flip(0, 1)[None, None].to(x))
    return y.reshape(n, c, *y.shape[2:])


def _enlarged(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    spread = torch.zeros(n, c, 2 * h, 2 * w, dtype=x.dtype)
    spread[:, :, ::2, ::2] = x
    return _filtered(spread, _kernel(4.0), (2, 1))


def _modulated(x: Tensor, state: Mapping[str, Tensor], name: str, w: Tensor, *, up: bool, demodulate: bool) -> Tensor:
    weight, slope = state[f"{name}.weight"], state[f"{name}.modulation.weight"]
    style = F.linear(w, slope / math.sqrt(slope.shape[1]), state[f"{name}.modulation.bias"])
    kernels = weight / math.sqrt(weight[0, 0].numel()) * style[:, None, :, None, None]
    if demodulate:
        kernels = kernels * (kernels.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    items = []
    for item, kernel in zip(x, kernels, strict=True):  # one image with its own kernel after the other
        if up:
            y = F.conv_transpose2d(item[None], kernel.transpose(0, 1), stride=2)
            items.append(_filtered(y, _kernel(4.0), (1, 1)))
        else:
            items.append(F.conv2d(item[None], kernel, padding=kernel.shape[-1] // 2))
    return torch.cat(items)


def rosinality_codes(state: Mapping[str, Tensor], z: Tensor) -> Tensor:
    """Returns w, (N, style_dim), of z."""
    w = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
    for i in range(1, 1 + sum(re.fullmatch(r"style\.\d+\.weight", key) is not None for key in state)):
        weight = state[f"style.{i}.weight"]
        w = _lrelu(F.linear(w, weight * 0.01 / math.sqrt(weight.shape[1]), state[f"style.{i}.bias"] * 0.01))
    return w


def rosinality_image(state: Mapping[str, Tensor], w: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
    """Returns the image of w, (N, style_dim), with the stored noise maps or others, one a layer."""
    count = sum(key.startswith("noises.") for key in state)
    maps = iter(noise or [state[f"noises.noise_{i}"] for i in range(count)])

    def styled(x: Tensor, name: str, *, up: bool = False) -> Tensor:
        y = _modulated(x, state, f"{name}.conv", w, up=up, demodulate=True)
        y = y + state[f"{name}.noise.weight"] * next(maps)
        return _lrelu(y + state[f"{name}.activate.bias"].view(1, -1, 1, 1))

    def colours(x: Tensor, name: str) -> Tensor:
        return _modulated(x, state, f"{name}.conv", w, up=False, demodulate=False) + state[f"{name}.bias"]

    x = styled(state["input.input"].repeat(len(w), 1, 1, 1), "conv1")
    image = colours(x, "to_rgb1")
    for i in range((count - 1) // 2):
        x = styled(styled(x, f"convs.{2 * i}", up=True), f"convs.{2 * i + 1}")
        image = colours(x, f"to_rgbs.{i}") + _enlarged(image)
    return image


def rosinality_discriminator(size: int, channels: Mapping[int, int], *, seed: int = 1) -> dict[str, Tensor]:
    """Returns a random state dict with the names and shapes of rosinality's discriminator."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw)

    state = {"convs.0.0.weight": normal(channels[size], 3, 1, 1), "convs.0.1.bias": 0.1 * normal(channels[size])}
    for i in range(1, int(math.log2(size)) - 1):
        fan_in, fan_out = channels[size // 2 ** (i - 1)], channels[size // 2**i]
        state |= {f"convs.{i}.conv1.0.weight": normal(fan_in, fan_in, 3, 3),
                  f"convs.{i}.conv1.1.bias": 0.1 * normal(fan_in),
                  f"convs.{i}.conv2.0.kernel": _kernel(),
                  f"convs.{i}.conv2.1.weight": normal(fan_out, fan_in, 3, 3),
                  f"convs.{i}.conv2.2.bias": 0.1 * normal(fan_out),
                  f"convs.{i}.skip.0.kernel": _kernel(),
                  f"convs.{i}.skip.1.weight": normal(fan_out, fan_in, 1, 1)}  # fmt: skip
    last = channels[4]
    return state | {"final_conv.0.weight": normal(last, last + 1, 3, 3), "final_conv.1.bias": 0.1 * normal(last),
                    "final_linear.0.weight": normal(last, last * 16), "final_linear.0.bias": 0.1 * normal(last),
                    "final_linear.1.weight": normal(1, last), "final_linear.1.bias": normal(1)}  # fmt: skip


def rosinality_logits(state: Mapping[str, Tensor], image: Tensor) -> Tensor:
    """Returns the logits, (N, 1), of images, in groups of four."""

    def conv(x: Tensor, name: str, **options: int) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight / math.sqrt(weight[0].numel()), **options)

    def active(x: Tensor, name: str) -> Tensor:
        return _lrelu(x + state[f"{name}.bias"].view(1, -1, *[1] * (x.ndim - 2)))

    x = active(conv(image, "convs.0.0"), "convs.0.1")
    for i in range(1, 1 + sum(key.endswith("skip.1.weight") for key in state)):
        name = f"convs.{i}"
        y = active(conv(x, f"{name}.conv1.0", padding=1), f"{name}.conv1.1")
        y = active(conv(_filtered(y, _kernel(), (2, 2)), f"{name}.conv2.1", stride=2), f"{name}.conv2.2")
        x = (y + conv(_filtered(x, _kernel(), (1, 1)), f"{name}.skip.1", stride=2)) / math.sqrt(2.0)
    n, c, h, w = x.shape
    groups = x.view(min(n, 4), -1, c, h, w)
    deviation = (groups.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    x = torch.cat([x, deviation.repeat(min(n, 4)).view(n, 1, 1, 1).expand(n, 1, h, w)], dim=1)
    x = active(conv(x, "final_conv.0", padding=1), "final_conv.1").flatten(1)
    first, second = state["final_linear.0.weight"], state["final_linear.1.weight"]
    x = active(F.linear(x, first / math.sqrt(first.shape[1])), "final_linear.0")
    return F.linear(x, second / math.sqrt(second.shape[1]), state["final_linear.1.bias"])


def write_rosinality(path: Path, g: Mapping[str, Tensor], d: Mapping[str, Tensor] | None = None, *,
                     zip_file: bool = True, latent_avg: Tensor | None = None,
                     training: bool = False) -> Path:  # fmt: skip
    """Writes a checkpoint: the converted kind with ``latent_avg``, or what training writes (``training``)."""
    out: dict[str, object] = {"g_ema": OrderedDict(g)}
    if latent_avg is not None:
        out["latent_avg"] = latent_avg
    if d is not None:
        out["d"] = OrderedDict(d)
    if training:
        out["g"] = OrderedDict((key, x + 1.0) for key, x in g.items())
        out["g_optim"] = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.002}]}
        out["args"] = argparse.Namespace(size=16, path="faces", latent=16, n_mlp=2, lr=0.002, wandb=False)
        out["ada_aug_p"] = 0.0
    torch.save(out, path, _use_new_zipfile_serialization=zip_file)
    return path


# Our small networks -------------------------------------------------------------------------------------


def small_networks(resolution: int = 8, *, seed: int = 0, architecture: str = "skip", c_dim: int = 0, depth: int = 2,
                   conv_clamp: int | None = None, class_depth: int = 8) -> tuple[Generator, Discriminator]:  # fmt: skip
    """Returns networks whose every weight matters, with ``w_avg`` away from zero."""
    shared = dict(img_resolution=resolution, channel_base=64, channel_max=12, conv_clamp=conv_clamp)

    def build() -> tuple[Generator, Discriminator]:
        g = Generator(6, c_dim, 5, architecture=architecture, mapping_layers=depth, **shared)
        other = {"skip": "resnet", "resnet": "skip", "orig": "orig"}[architecture]
        d = Discriminator(c_dim, architecture=other, mbstd_group_size=2, mapping_layers=class_depth, **shared)
        for network in (g, d):
            for name, x in network.state_dict().items():
                if name.endswith(("bias", "noise_strength", "w_avg")):
                    x.add_(0.3 * torch.randn(x.shape))
        return g, d

    g, d = seeded(build, seed)
    return g.eval().requires_grad_(False), d.eval().requires_grad_(False)
