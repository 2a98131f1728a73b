"""Cases: forged tensors, persistent objects, arguments and weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .assembler import PARAMETER, REBUILD, RECONSTRUCT, Build, Call, Node, Raw, Weight, encode, storage_file
from .forge import config, meta, snap, weight

# Tensors ---------------------------------------------------------------------------------------------------

BEYOND, WHOLE = "beyond its storage", "no whole numbers"
weight("tensor-out-of-bounds", BEYOND, lambda w: replace(w, offset=1))
weight("tensor-far-out-of-bounds", BEYOND, lambda w: replace(w, offset=2**62))
weight("tensor-last-row-out-of-bounds", BEYOND, lambda w: replace(w, stride=(6, 1)))
weight("tensor-negative-offset", WHOLE, lambda w: replace(w, offset=-1))
weight("tensor-negative-stride", WHOLE, lambda w: replace(w, offset=24, stride=(-5, -1)))
weight("tensor-negative-size", WHOLE, lambda w: replace(w, size=(-5, -5)))
weight("tensor-stride-zero-bomb", BEYOND, lambda w: replace(w, size=(2**20, 2**20), stride=(0, 0)))
weight("tensor-shape-overflow", BEYOND, lambda w: replace(w, size=(2**32, 2**31), stride=(2**31, 1)))
weight("tensor-shape-overflow-to-zero", BEYOND, lambda w: replace(w, size=(2**32, 2**32), stride=(0, 0)))
weight("tensor-empty-with-huge-side", ".", lambda w: replace(w, size=(0, 2**62), stride=(2**62, 1)))
weight("tensor-empty-with-hugest-side", ".", lambda w: replace(w, size=(0, 2**100), stride=(2**100, 1)))
weight("tensor-huge-stride-of-one", ".", lambda w: replace(w, size=(1, 25), stride=(2**100, 1)))
weight("tensor-right-shape-huge-number", "whole number", lambda w: replace(w, size=(5, 2**2000)))
weight("tensor-many-dimensions", "(" + WHOLE + "|dimension)", lambda w: replace(w, size=(1,) * 70, stride=(1,) * 70))
weight("tensor-size-list", "do not fit|sizes", lambda w: replace(w, size=[5, 5]))
weight("tensor-size-of-floats", WHOLE, lambda w: replace(w, size=(5.0, 5.0)))
weight("tensor-size-of-bools", WHOLE, lambda w: replace(w, size=(True, True), stride=(1, 1)))
weight("tensor-size-of-texts", WHOLE, lambda w: replace(w, size=("5", "5")))
weight("tensor-stride-missing", "do not fit", lambda w: replace(w, stride=(5,)))
weight("tensor-storage-is-none", "storage is None", lambda w: Call(REBUILD, (None, 0, (5, 5), (5, 1), False, {})))
weight("tensor-storage-is-a-tensor", "storage", lambda w: Call(REBUILD, (w.call(), 0, (5, 5), (5, 1), False, {})))
weight("tensor-of-no-arguments", "argument", lambda _: Call(REBUILD, ()))
weight("tensor-of-many-arguments", "argument", lambda _: Call(REBUILD, tuple(range(20))))
weight("tensor-args-no-tuple", "call", lambda _: Call(REBUILD, [1, 2]))
weight("parameter-of-text", "parameter", lambda _: Call(PARAMETER, ("text", False, {})))
weight("parameter-of-no-arguments", "argument", lambda _: Call(PARAMETER, ()))
weight("parameter-with-state", "state", lambda w: Build(w, {"__class__": "x"}))
weight("weight-is-text", "tensor", lambda _: "text")
weight("weight-is-a-name", "tensor", lambda _: REBUILD)
weight("weight-is-a-module", "tensor", lambda _: Node(dict(type="class", version=6, class_name="x", state={})))
weight("weight-is-none", "mapping", lambda _: None)
weight("weight-has-another-shape", "mapping", lambda w: replace(w, size=(25,), stride=(1,)))
weight("weight-is-a-scalar", "mapping", lambda w: replace(w, size=(), stride=()))
weight("weight-of-whole-numbers", "int32", lambda w: replace(w, kind="IntStorage"))
weight(
    "weight-of-truth-values",
    "bool",
    lambda w: replace(
        w,
        array=np.ones((5, 20), np.uint8).view(np.float32),
        kind="BoolStorage",
        content=storage_file(np.ones(25, np.uint8), "BoolStorage"),
        size=(5, 5),
        stride=(5, 1),
    ),
)
weight("weight-of-complex-numbers", "ComplexFloatStorage", lambda w: replace(w, kind="ComplexFloatStorage"))
weight("weight-is-nan", "NaN", lambda w: replace(w, array=np.full((5, 5), np.nan, np.float32)))
weight("weight-is-infinite", "infinity", lambda w: replace(w, array=np.full((5, 5), np.inf, np.float32)))
weight(
    "weight-overflows-float32",
    "(NaN|infinity|float32|finite)",
    lambda w: replace(w, content=storage_file(np.full(25, 1e300), "DoubleStorage")),
)

# Persistent objects -----------------------------------------------------------------------------------------

meta("object-of-another-type", "type", type="function")
meta("object-of-no-type", "type", type=None)
meta("object-of-version-7", "version 7", version=7)
meta("object-of-version-0", "version 0", version=0)
meta("object-of-version-true", "version", version=True)
meta("object-of-version-text", "version", version="6")
meta("object-of-a-nested-version", "version", version=[[6]])
meta("object-of-another-class", "os.system", class_name="os.system")
meta("object-of-stylegan3", "Generator", class_name="SynthesisNetwork")
meta("object-of-a-dotted-class", "G_ema", class_name="Generator.__init__.__globals__")
meta("object-class-is-a-list", "class", class_name=["Generator"])
meta("object-class-of-many-emoji", "G_ema", class_name="\U0001f600" * 1000)
meta("object-without-state", "attributes", state=None)
meta("object-state-is-a-list", "attributes", state=[1])
meta("object-state-is-text", "attributes", state="x" * 10_000)
snap("object-of-no-arguments", "argument", lambda root, _: root.update(G_ema=Call(RECONSTRUCT, ())))
snap("object-of-a-list", "facts", lambda root, _: root.update(G_ema=Call(RECONSTRUCT, ([1],))))
snap("object-with-late-state", "state", lambda root, _: root.update(G_ema=Build(root["G_ema"], {"__class__": "x"})))
snap("object-is-its-class", "G_ema", lambda root, _: root.update(G_ema=RECONSTRUCT))
for _part in ("_parameters", "_buffers", "_modules"):
    snap(
        f"object-lacks-{_part}",
        f"{_part} is no dictionary",
        lambda root, _, part=_part: root["G_ema"].state.update({part: None}),
    )
    snap(
        f"object-{_part}-is-a-list",
        f"{_part} is no dictionary",
        lambda root, _, part=_part: root["G_ema"].module("mapping").state.update({part: []}),
    )
    snap(
        f"object-{_part}-has-numbers-as-names",
        f"with 7 in its {_part}",
        lambda root, _, part=_part: root["G_ema"].state[part].update({7: None}),
    )
snap("object-module-is-text", "module", lambda root, _: root["G_ema"].state["_modules"].update(mapping="text"))
snap("object-module-is-none", "mapping", lambda root, _: root["G_ema"].state["_modules"].update(mapping=None))
snap("object-is-a-discriminator", "Discriminator", lambda root, _: root.update(G_ema=root["D"]))
snap("object-d-is-a-generator", "Generator", lambda root, _: root.update(D=root["G_ema"]))
snap("object-d-is-text", "'D'", lambda root, _: root.update(D="text"))


def stride_of_one(root: dict[str, Any], stride: int) -> None:
    # Nothing is behind the only element of an axis, so the stride reaches nowhere; it must still not overflow.
    weights = root["G_ema"].module("synthesis.b8.torgb").state["_parameters"]
    weight = weights["weight"]
    weights["weight"] = replace(weight, stride=(weight.array.shape[1], 1, stride, stride))


def swap(name: str, words: str, key: str, value: Any) -> None:
    snap(name, words, lambda root, _: root["G_ema"].state.update({key: value}))


swap("arguments-missing", "_init_kwargs", "_init_kwargs", None)
swap("arguments-are-a-list", "_init_kwargs", "_init_kwargs", [])
swap("arguments-by-number", "_init_kwargs", "_init_kwargs", {1: 2})
swap("arguments-positional-list", "_init_args", "_init_args", [6])
swap("arguments-too-many", "more arguments", "_init_args", tuple(range(50)))
swap("arguments-twice", "more arguments", "_init_args", (6,))
RESOLUTIONS = {"huge": 2**30, "hugest": 2**100, "no-power-of-two": 12, "negative": -8, "true": True, "a-float": 8.0,
               "text": "8", "nan": float("nan"), "a-list": [8], "none": None, "another": 16,
               "long-text": "8" * 100_000}  # fmt: skip
for _word, _value in RESOLUTIONS.items():
    config(f"resolution-is-{_word}", "img_resolution", img_resolution=_value)
config("width-of-z-is-another", "z_dim", z_dim=7)
config("width-of-w-is-negative", "w_dim", w_dim=-5)
config("classes-are-another", "c_dim", c_dim=3)
config("channels-are-another", "img_channels", img_channels=4)
config("channel-base-is-huge", "channel_base", synthesis_kwargs={"channel_base": 2**62})
config("channel-base-is-text", "channel_base", synthesis_kwargs={"channel_base": "64"})
config("channel-max-is-zero", "channel_max", synthesis_kwargs={"channel_max": 0})
config("depth-is-another", "(num_layers|mapping_layers)", mapping_kwargs={"num_layers": 8})
config("depth-is-huge", "(num_layers|mapping_layers)", mapping_kwargs={"num_layers": 2**40})
config("clamp-is-nan", "conv_clamp", synthesis_kwargs={"conv_clamp": float("nan")})
config("clamp-is-negative", "conv_clamp", synthesis_kwargs={"conv_clamp": -1})
config("clamp-is-text", "conv_clamp", synthesis_kwargs={"conv_clamp": "256"})
config("architecture-is-another", "architecture", synthesis_kwargs={"architecture": "resnet"})
config("architecture-is-unknown", "architecture", synthesis_kwargs={"architecture": "style3"})
config("architecture-is-a-list", "architecture", synthesis_kwargs={"architecture": ["skip"]})
config("synthesis-arguments-are-a-list", "synthesis_kwargs", synthesis_kwargs=[1])
config("mapping-arguments-are-text", "mapping_kwargs", mapping_kwargs="num_layers")
config("activation-is-another", "activation", mapping_kwargs={"activation": "relu"})
config("synthesis-activation-is-another", "activation", synthesis_kwargs={"activation": "relu"})
config("learning-rate-is-another", "lr_multiplier", mapping_kwargs={"lr_multiplier": 0.1})
config("filter-is-another", "resampling filter", synthesis_kwargs={"resample_filter": [1, 2, 1]})
config(
    "filter-is-very-long",
    "resample_filter|resampling filter",
    synthesis_kwargs={"resample_filter": Raw(b"](" + encode("x") * 60_000 + b"e")},
)
config("arguments-are-many", "argument", synthesis_kwargs={f"a{i}": 1 for i in range(60_000)})
config("argument-is-deep", "resample_filter", synthesis_kwargs={"resample_filter": Raw(b")" + b"\x85" * 100_000)})
config("argument-is-unknown", "magnitude_ema_beta", synthesis_kwargs={"magnitude_ema_beta": 0.5})
config("argument-name-is-odd", "argument|__class__", **{"__class__": "x"})
config("group-is-zero", "mbstd_group_size", "D", epilogue_kwargs={"mbstd_group_size": 0})
config("group-is-text", "mbstd_group_size", "D", epilogue_kwargs={"mbstd_group_size": "2"})
config("group-channels-are-two", "mbstd_num_channels", "D", epilogue_kwargs={"mbstd_num_channels": 2})
config("discriminator-activation-is-another", "activation", "D", block_kwargs={"activation": "relu"})
config("discriminator-resolution-is-another", "(img_resolution|D)", "D", img_resolution=16)


def _remove(root: dict[str, Any], path: str, part: str, name: str) -> None:
    del root["G_ema"].module(path).state[part][name]


snap(
    "weights-one-missing",
    "synthesis.b8.conv1.weight",
    lambda root, _: _remove(root, "synthesis.b8.conv1", "_parameters", "weight"),
)
snap(
    "weights-one-bias-missing", "mapping.fc1.bias", lambda root, _: _remove(root, "mapping.fc1", "_parameters", "bias")
)
snap("weights-a-layer-missing", "mapping", lambda root, _: _remove(root, "mapping", "_modules", "fc0"))
snap("weights-a-block-missing", r"blocks of \[8\] px", lambda root, _: _remove(root, "synthesis", "_modules", "b4"))
snap(
    "weights-one-too-many",
    "extra",
    lambda root, _: root["G_ema"].state["_parameters"].update(extra=Weight(np.ones(3, np.float32))),
)
snap(
    "weights-a-layer-too-many",
    "fc7",
    lambda root, _: root["G_ema"].module("mapping").state["_modules"].update(fc7=root["G_ema"].module("mapping.fc1")),
)
snap(
    "weights-of-two-names",
    "fc0.weight|twice|two",
    lambda root, _: (
        root["G_ema"].module("mapping").state["_parameters"].update({"fc0.weight": Weight(np.ones((5, 6), np.float32))})
    ),
)
snap(
    "weights-noise-is-of-another-size",
    "noise_const",
    lambda root, _: (
        root["G_ema"]
        .module("synthesis.b8.conv1")
        .state["_buffers"]
        .update(noise_const=Weight(np.ones((4, 4), np.float32)))
    ),
)
snap(
    "weights-average-is-of-another-width",
    "w_avg",
    lambda root, _: root["G_ema"].module("mapping").state["_buffers"].update(w_avg=Weight(np.ones(4, np.float32))),
)
snap(
    "weights-d-one-missing",
    "b4.out.weight",
    lambda root, _: root["D"].module("b4.out").state["_parameters"].pop("weight") and None,
)
snap(
    "weights-d-is-nan",
    "NaN",
    lambda root, _: root["D"].module("b4.out").state["_parameters"].update(bias=Weight(np.full(1, np.nan, np.float32))),
)
