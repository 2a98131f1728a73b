"""Weights on disk: safetensors files, the shipped models and their checksums.

A file carries its network's constructor arguments as JSON in its metadata (key ``config``), so a name
or a path is all that a user gives. Shipped models are stored as float16 and used as float32; their
SHA-256 stands in ``models/checksums.json``. Nothing is ever unpickled or downloaded here.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os.path
from collections.abc import Mapping
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from .alignment import ALIGNMENTS
from .checks import InpaintError, check_finite
from .files import write_atomically
from .zoo import ZOO, located

__all__ = ["MODELS", "checksum", "checksums", "like", "load_discriminator", "load_generator", "load_weights",
           "resolve", "save_weights", "serialised", "shipped_names"]  # fmt: skip

MODELS = Path(__file__).parent / "models"
FOREIGN = (".pkl", ".pt", ".pth")  # what published.convert reads
_COPIES: WeakKeyDictionary[nn.Module, dict[tuple[torch.device, torch.dtype], nn.Module]] = WeakKeyDictionary()


def shipped_names() -> dict[str, str]:
    """Returns the shipped models, name -> SHA-256 of its file.

    Raises InpaintError if their list is missing or damaged.
    """
    path = MODELS / "checksums.json"
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InpaintError(f"{path} must be the list of shipped models; it cannot be read: {error}") from None
    if not isinstance(names, dict) or not all(isinstance(digest, str) for digest in names.values()):
        raise InpaintError(f"{path} must map each shipped model to its SHA-256; found {str(names)[:60]}")
    return names


def checksum(path: Path | str) -> str:
    """Returns the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def checksums(*names_or_paths: str) -> dict[str, str]:
    """Returns name or path -> ``sha256:`` and the SHA-256 of its file, for a report's provenance.

    Of ``ARCHITECTURE:FILE`` it is the file's. A name that is neither shipped nor a file (a network of another package)
    is said to be so.
    """
    out = {}
    for name in names_or_paths:
        file = name if os.path.isfile(name) else name.rpartition(":")[2]
        found = _found(file)
        out[name] = "weights of another package" if found is None else f"sha256:{checksum(found[0])}"
    return out


def save_weights(path: Path | str, module: nn.Module, *, dtype: torch.dtype = torch.float16, **metadata: str) -> None:
    """Writes a module's state and its ``config`` as safetensors.

    Args:
        module: has a ``config`` mapping, its constructor's arguments.
        dtype: of the stored floating-point tensors.
        metadata: further strings, for instance ``images_seen="200000"``.

    Raises:
        InpaintError: if a value is not finite in ``dtype``, or the file cannot be written.
    """
    state = {k: v.detach().cpu().to(dtype).contiguous() for k, v in module.state_dict().items()}
    for key, value in state.items():
        check_finite(f"{key} as {dtype}", value)
    header = {"config": json.dumps(module.config, sort_keys=True), **metadata}
    write_atomically(path, serialised(state, header))


def serialised(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Returns a safetensors file: equal input gives equal bytes, which the package's order of metadata would not."""
    content = save(dict(state), metadata=dict(metadata))
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # numbers begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def resolve(name_or_path: Path | str) -> tuple[Path, str | None]:
    """Returns the file of a shipped name (with its SHA-256), of a path, or of a name of the zoo (with None).

    Raises InpaintError if it is none of them, or the zoo's file is not on this machine.
    """
    found = _found(name_or_path)
    if found is None:
        raise InpaintError(
            f"{str(name_or_path)!r} is neither a shipped model ({', '.join(sorted(shipped_names())) or 'none'}), nor of"
            f" the zoo ({', '.join(ZOO)}), nor a file"
        )
    return found


def _found(name_or_path: Path | str) -> tuple[Path, str | None] | None:
    """What :func:`resolve` returns; None where it says that there is no such name."""
    names = shipped_names()
    if str(name_or_path) in names:
        path = MODELS / f"{name_or_path}.safetensors"
        if not path.is_file():
            raise InpaintError(f"{path} is missing; it belongs to the package: restore it")
        return path, names[str(name_or_path)]
    if os.path.isfile(name_or_path):  # False also for a name that no file system takes
        return Path(name_or_path), None
    path = located(str(name_or_path))
    return None if path is None else (path, None)


def load_weights(name_or_path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns the float32 tensors and the metadata of a safetensors file.

    Raises InpaintError if the file is missing, is no safetensors file, does not match the checksum of
    its name, or holds NaN or infinity.
    """
    path, expected = resolve(name_or_path)
    if expected is not None and checksum(path) != expected:
        raise InpaintError(
            f"{path.name} must have SHA-256 {expected}; got {checksum(path)}. The file is damaged: restore it."
        )
    try:
        with safe_open(path, framework="pt") as f:
            metadata = f.metadata() or {}
            tensors = {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        hint = f"; make one by `python -m inpaintlib convert {path} NAME.safetensors`" if path.suffix in FOREIGN else ""
        raise InpaintError(f"{path} must be a safetensors file; it cannot be read: {error}{hint}") from error
    tensors = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    for key, value in tensors.items():
        if not torch.isfinite(value).all():
            raise InpaintError(f"{path}: tensor {key} must be finite; it holds NaN or infinity")
    return tensors, metadata


def build(network: type[nn.Module], name_or_path: Path | str) -> nn.Module:
    """Returns ``network(**config)`` with a file's weights, frozen, in evaluation mode, channels-last.

    Raises InpaintError if the config or the shapes do not fit the network.
    """
    return _built(network, name_or_path)[0]


def _built(network: type[nn.Module], name_or_path: Path | str) -> tuple[nn.Module, dict[str, str]]:
    """What :func:`build` returns, and the file's metadata."""
    tensors, metadata = load_weights(name_or_path)
    try:
        config = json.loads(metadata["config"])
        with torch.random.fork_rng(devices=[]):  # constructors draw weights from the global generator
            module = network(**config)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InpaintError(
            f"{name_or_path}: metadata 'config' must hold the arguments of {network.__name__}; got "
            f"{metadata.get('config')!r} ({error})"
        ) from error
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        problem = " ".join(str(error).split())[:300]
        raise InpaintError(f"{name_or_path}: weights must fit {network.__name__}(**config); {problem}") from error
    return module.eval().requires_grad_(False).to(memory_format=torch.channels_last), metadata


def like(module: nn.Module, x: Tensor) -> nn.Module:
    """Returns a frozen module on ``x``'s device and of its float type: itself if it is there already, else a copy.

    The same module gives the same copy each time, so that a large network stands on a device once.
    """
    here = next(module.parameters())
    if here.device == x.device and here.dtype == x.dtype:
        return module
    copies = _COPIES.setdefault(module, {})
    if (x.device, x.dtype) not in copies:
        copies[x.device, x.dtype] = copy.deepcopy(module).to(x)
    return copies[x.device, x.dtype]


def load_generator(name_or_path: Path | str, *, device: torch.device | str = "cpu"):
    """Returns a frozen :class:`~inpaintlib.stylegan2.Generator`; its ``alignment`` is what the file says.

    Args:
        name_or_path: a shipped name (``"faces64"``) or a safetensors file made by :func:`save_weights`.
        device: where to put it.

    Raises:
        InpaintError: see :func:`load_weights`; also if the weights do not fit the config.
    """
    from .stylegan2 import Generator

    generator, metadata = _built(Generator, name_or_path)
    generator.alignment = metadata.get("alignment", "none")
    if generator.alignment not in ALIGNMENTS:
        raise InpaintError(
            f"{name_or_path}: metadata 'alignment' must be one of {', '.join(ALIGNMENTS)}; got {generator.alignment!r}"
        )
    return generator.to(device)


def load_discriminator(name_or_path: Path | str, *, device: torch.device | str = "cpu"):
    """Returns a frozen :class:`~inpaintlib.stylegan2.Discriminator` (``"faces64-discriminator"``)."""
    from .stylegan2 import Discriminator

    return build(Discriminator, name_or_path).to(device)
