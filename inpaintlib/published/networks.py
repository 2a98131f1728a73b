"""From a file of any known form to the networks in it: config and weights under this project's names.

========================================  =====================================================================
form                                      what is taken
========================================  =====================================================================
NVIDIA's StyleGAN2-ADA pickle (``.pkl``)  ``G_ema`` and ``D`` of the snapshot
the community's ``.pt``                   ``g_ema``, ``latent_avg`` and ``d``
``.pt``, ``.pth`` of ``torch.save``       a state dict with StyleGAN2-ADA's names, bare or as ``G_ema``, ``D``
``.safetensors``                          the same
========================================  =====================================================================

Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from ..errors import InpaintError
from .configs import ORDERS, agreed, discriminator_config, generator_config, is_later
from .pickles import short
from .rosinality import discriminator_state, generator_state, is_rosinality
from .snapshots import Node, constructor, read_snapshot, state_of
from .torchfiles import Stored, is_torch, opened, read_torch

__all__ = ["Network", "WIDENED", "metadata", "read_networks", "read_state"]

MAX_BYTES = 8 * 2**30
WIDENED = 4  # the most by which tensors may be larger than their file; bfloat16 becomes twice as large
SAFETENSORS_START = b"{"
#: Our key -> the keys that files have for it, the averaged generator first.
KEYS = {"G": ("G_ema", "g_ema"), "D": ("D", "d")}
CONFIGS: dict[str, Callable[[Any], dict[str, Any]]] = {"G": generator_config, "D": discriminator_config}
CLASSES = {"G": "Generator", "D": "Discriminator"}


class Network(NamedTuple):
    """A network of a file.

    Attributes:
        kind: ``Generator`` or ``Discriminator``.
        config: arguments of our class of that name.
        state: name -> numbers, float16, float32 or float64 as the file has them, with our names; buffers that the file
            lacks (noise maps, filters, ``w_avg``) are missing.
        notes: what else is known, for the converted file's metadata: form, key.
    """

    kind: str
    config: dict[str, Any]
    state: dict[str, np.ndarray]
    notes: dict[str, str]


def read_networks(path: Path) -> dict[str, Network]:
    """Returns the averaged generator (``"G"``) and, if there is one, the discriminator (``"D"``) of a file.

    Raises:
        InpaintError: naming the file, if it is of no known form, damaged, holds anything that no weights file needs,
            weights that do not fit each other, NaN or infinity.
    """
    with _reading(path) as stream:
        found = _read(path, stream)
        if "G" not in found:
            raise InpaintError("holds no averaged generator: neither 'G_ema', 'g_ema' nor a generator's state dict")
        _check_amount(path, [network.state for network in found.values()])
        for network in found.values():
            _check_numbers(network.kind, network.state)
        return found


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Returns a state dict by itself, of whatever network: name -> floating-point numbers; others are left out.

    Raises InpaintError as :func:`read_networks`.
    """
    with _reading(path) as stream:
        if is_torch(stream):
            found = read_torch(stream)
            if not isinstance(found, dict):
                raise InpaintError(f"holds {short(found)}; a dictionary of weights belongs there")
            state = _arrays(found)
        else:
            state = _read_safetensors(path)[0]
        state = {name: x for name, x in state.items() if x.dtype.kind == "f"}
        if not state:
            raise InpaintError("holds no weights")
        _check_amount(path, [state])
        _check_numbers("network", state)
        return state


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """Opens a file, and names it in whatever refusal comes of reading it."""
    try:
        with opened(path) as stream:
            if path.stat().st_size > MAX_BYTES:
                raise InpaintError(f"must have at most {MAX_BYTES >> 30} GiB")
            yield stream
    except MemoryError:
        raise InpaintError(f"{path} asks for more memory than a file of its size needs") from None
    except RecursionError:
        raise InpaintError(f"{path} is nested too deeply") from None
    except InpaintError as error:
        raise InpaintError(f"{path}: {error}") from None


def _read(path: Path, stream: BinaryIO) -> dict[str, Network]:
    if is_torch(stream):
        return _from_torch(read_torch(stream))
    start = stream.read(9)
    stream.seek(0)
    if start[8:] == SAFETENSORS_START:
        return _from_safetensors(path)
    if start[:1] == b"\x80":
        return _from_snapshot(read_snapshot(stream))
    raise InpaintError(
        "must be a StyleGAN2 pickle (.pkl), a file of torch.save (.pt) or safetensors; it is none of them"
    )


def _from_snapshot(root: dict[str, Any]) -> dict[str, Network]:
    out, later = {}, False
    for key, names in KEYS.items():
        node = root.get(names[0])
        if node is None:
            continue
        if not isinstance(node, Node) or node.kind != CLASSES[key]:
            found = short(node.kind) if isinstance(node, Node) else short(node)
            raise InpaintError(f"has {found} as {names[0]!r}; StyleGAN2's {CLASSES[key]} belongs there")
        state = state_of(node)
        arguments = constructor(node, ORDERS[CLASSES[key]])
        later = later or is_later(arguments)
        config = CONFIGS[key]({k: x.size for k, x in state.items()})
        config, notes = agreed(CLASSES[key], config, arguments, later=later)
        out[key] = Network(CLASSES[key], config, {k: x.array() for k, x in state.items()},
                           {"form": "StyleGAN2-ADA pickle", "network": names[0], **notes})  # fmt: skip
    return out


def _from_torch(root: Any) -> dict[str, Network]:
    if not isinstance(root, dict):
        raise InpaintError(f"holds {short(root)}; a dictionary of weights belongs there")
    states = {key: value for key, value in root.items() if isinstance(value, dict)}
    bare = {key: value for key, value in root.items() if isinstance(value, Stored)}
    generator = states.get("g_ema")
    if isinstance(generator, dict) and is_rosinality(generator):
        return _from_rosinality(states, bare.get("latent_avg"))
    if is_rosinality(bare):
        return _from_rosinality({"g_ema": bare}, None)
    found = {key: next((_arrays(states[n]) for n in names if n in states), None) for key, names in KEYS.items()}
    if found["G"] is None and bare:
        found["G"] = _arrays(bare)
    return _from_states({key: state for key, state in found.items() if state is not None}, "torch state dict")


def _from_rosinality(states: Mapping[str, Any], latent_avg: Stored | None) -> dict[str, Network]:
    mean = None if latent_avg is None else latent_avg.array()
    found = {"G": generator_state(_arrays(states["g_ema"]), mean)}
    if "d" in states:
        found["D"] = discriminator_state(_arrays(states["d"]))
    return _from_states(found, "community checkpoint (g_ema)")


def _from_states(states: Mapping[str, dict[str, np.ndarray]], form: str) -> dict[str, Network]:
    out = {}
    for key, state in states.items():
        config = CONFIGS[key]({name: x.shape for name, x in state.items()})
        notes = {"form": form, "network": key, "conv_clamp": "not recorded in this form, taken as none"}
        out[key] = Network(CLASSES[key], config, state, notes)
    return out


def _arrays(state: Mapping[Any, Any]) -> dict[str, np.ndarray]:
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Stored):
            raise InpaintError(f"has {short(tensor)} as {short(name)} in a state dict; tensors belong there")
    return {name: tensor.array() for name, tensor in state.items()}


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        with safe_open(path, framework="np") as f:
            return {name: f.get_tensor(name) for name in f.keys()}, f.metadata() or {}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise InpaintError(f"is a damaged safetensors file ({' '.join(str(error).split())[:120]})") from None


def _from_safetensors(path: Path) -> dict[str, Network]:
    state, facts = _read_safetensors(path)
    try:
        said = json.loads(facts.get("config", "{}"))
    except ValueError:
        said = {}
    found = _from_states({"G": state}, "safetensors")
    if facts.get("alignment"):  # of a file of this project, as is the clamp
        found["G"].notes["alignment"] = facts["alignment"]
    clamp = said.get("conv_clamp") if isinstance(said, dict) else None
    if isinstance(clamp, (int, float)) and not isinstance(clamp, bool) and 0 < clamp < np.inf:
        found["G"].config["conv_clamp"] = clamp
        del found["G"].notes["conv_clamp"]
    return found


def _check_amount(path: Path, states: Sequence[Mapping[str, np.ndarray]]) -> None:
    if sum(x.nbytes for state in states for x in state.values()) > WIDENED * path.stat().st_size:
        raise InpaintError("has tensors that share their numbers, more than a file of its size needs")


def _check_numbers(kind: str, state: Mapping[str, np.ndarray]) -> None:
    for name, x in state.items():
        if x.dtype.kind != "f":
            raise InpaintError(
                f"has {x.dtype} numbers as the {kind}'s {short(name)}; floating-point numbers belong there"
            )
        if not (np.abs(x) <= np.finfo(np.float32).max).all():  # NaN is not either
            raise InpaintError(f"has NaN, infinity or a number beyond float32 in the {kind}'s {short(name)}")


def metadata(network: Network) -> dict[str, str]:
    """Returns a network's config and notes as a safetensors file carries them."""
    return {"config": json.dumps(network.config, sort_keys=True), **network.notes}
