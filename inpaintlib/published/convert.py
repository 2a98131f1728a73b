"""Makes safetensors of a published file, once (``python -m inpaintlib convert``); everything else reads only those.

The file is read in a child process with a memory limit and without torch (:mod:`inpaintlib.published.child`). What
comes back is numbers with names; here they are held against the network that they claim to be, before any is built, and
buffers that the file lacks are added: the filter, noise maps from a fixed seed (of strength 0 in a network that was
made without noise), and ``w_avg`` as the mean of 10,000 mapped codes. What was added is noted in the metadata.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..alignment import ALIGNMENTS
from ..checks import check_choice
from ..codes import mean_code
from ..errors import InpaintError
from ..files import check_writable, write_atomically
from ..ops import fir_filter
from ..stylegan2 import Discriminator, Generator
from ..weights import checksum, serialised
from .child import REFUSED
from .pickles import short

__all__ = ["convert", "convert_state", "discriminator_path"]

CLASSES = {"G": Generator, "D": Discriminator}
TIMEOUT = 600  # seconds
NOISE_SEED = 0
#: Buffers that a file may lack; of a network that was made without noise, its strengths too.
FILLED = ("resample_filter", "noise_const", "w_avg")
STRENGTH = "noise_strength"
# The package without its __init__, which imports torch. Isolated (-I) the child would not find packages that a user
# installed for himself, so it is only kept from importing what lies in the working directory (-P).
BOOTSTRAP = """
import sys, types
package = types.ModuleType("inpaintlib")
package.__path__ = [sys.argv[1]]
sys.modules["inpaintlib"] = package
from inpaintlib.published.child import main
sys.exit(main(sys.argv[2:]))
"""


def discriminator_path(out: Path) -> Path:
    """Returns where the discriminator goes whose generator goes to ``out``: beside it, as ``NAME-discriminator``."""
    return out.with_name(f"{out.stem}-discriminator.safetensors")


def convert(source: Path, out: Path, *, alignment: str | None = None, **facts: str) -> list[Path]:
    """Writes the networks of a published file as safetensors: the averaged generator and, if it is there, D.

    Args:
        source: see :mod:`inpaintlib.published.networks` for the forms that are read.
        out: ends in ``.safetensors``; the discriminator goes to :func:`discriminator_path`.
        alignment: how faces lie in the model's images, one of :data:`~inpaintlib.alignment.ALIGNMENTS`; only files of
            this project say it themselves, None = what they say, else ``none``.
        facts: further metadata, for instance ``licence="..."``.

    Returns:
        The files that were written.

    Raises:
        InpaintError: naming the file, if it cannot be read, holds anything that no weights file needs, or its weights
            do not fit each other; nothing is written then.
    """
    source, out = Path(source), Path(out)
    if alignment is not None:
        check_choice("alignment", alignment, ALIGNMENTS)
    if out.suffix != ".safetensors":
        raise InpaintError(f"{out} must end in .safetensors, the format that is written")
    paths = {"G": out, "D": discriminator_path(out)}
    for path in paths.values():
        if path.exists() and source.exists() and path.samefile(source):
            raise InpaintError(f"{path} would be written; it is the source itself, so take another name for OUT")
    check_writable(out)
    with tempfile.TemporaryDirectory() as folder:
        parts = {key: Path(folder) / f"{key}.safetensors" for key in CLASSES}
        _read_apart(source, list(parts.values()))
        facts = _origin(source) | ({"alignment": alignment} if alignment else {}) | facts
        done = {key: _completed(source, CLASSES[key], part) for key, part in parts.items() if part.exists()}
    stale = "D" not in done and paths["D"].exists()
    if stale and (_source(out) is None or _source(out) != _source(paths["D"])):
        raise InpaintError(f"{paths['D']} would be taken for the discriminator of {out}; move it, or take another name")
    for key in reversed(list(done)):  # the generator last: where it is, everything is
        state, metadata = done[key]
        write_atomically(paths[key], serialised(state, metadata | facts))
    if stale:
        paths["D"].unlink()  # of the generator that was there before
    return [paths[key] for key in done]


def convert_state(source: Path, out: Path, prefix: str = "", **facts: str) -> None:
    """Writes a state dict of whatever network as safetensors; read like any other file that nobody vouches for.

    Args:
        source: a file of ``torch.save`` or safetensors.
        prefix: only tensors whose names begin so.

    Raises InpaintError as :func:`convert`.
    """
    check_writable(out)
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "state.safetensors"
        _read_apart(source, [part])
        with safe_open(part, framework="pt") as f:
            state = {name: f.get_tensor(name) for name in f.keys() if name.startswith(prefix)}  # noqa: SIM118
    if not state:
        raise InpaintError(f"{source} must hold tensors whose names begin with {prefix!r}; it has none")
    write_atomically(out, serialised(state, _origin(source) | facts))


def _origin(source: Path) -> dict[str, str]:
    name = os.fsencode(source.name).decode("utf-8", "replace")  # a file's name may be no text
    return {"source": name, "source_sha256": checksum(source)}


def _source(path: Path) -> str | None:
    """The SHA-256 of the file that a converted one was made of; None of another file."""
    try:
        with safe_open(path, framework="pt") as f:
            return (f.metadata() or {}).get("source_sha256")
    except (OSError, SafetensorError):
        return None


def _read_apart(source: Path, targets: list[Path]) -> None:
    """Has the source read by a child process. Raises InpaintError with its sentence, or with what became of it."""
    package = Path(__file__).parents[1]
    command = [sys.executable, "-P", "-c", BOOTSTRAP, str(package), str(source), *map(str, targets)]
    # One thread: each of numpy's would take its share of the limited memory.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env=environment)
    except subprocess.TimeoutExpired:
        raise InpaintError(f"{source} could not be read within {TIMEOUT} s; no weights file takes so long") from None
    if child.returncode == REFUSED:
        raise InpaintError(child.stderr.strip().splitlines()[-1])
    if child.returncode:
        raise InpaintError(f"{source} could not be read: its reader {_end_of(child)}")


def _end_of(child: subprocess.CompletedProcess[str]) -> str:
    if child.returncode == -signal.SIGXCPU:
        return "took more time than a file of its size needs"
    if child.returncode < 0:
        return f"was ended by {signal.Signals(-child.returncode).name}"
    last = (child.stderr.strip().splitlines() or ["without a word"])[-1]
    return f"failed ({last[:200]})"


def _completed(source: Path, network: type[nn.Module], part: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns the state that the network's own reader asks for, and the metadata."""
    with safe_open(part, framework="pt") as f:
        metadata = f.metadata()
        shapes = {name: tuple(f.get_slice(name).get_shape()) for name in f.keys()}  # noqa: SIM118 (not a mapping)
        config = json.loads(metadata["config"])
        expected = _expected(source, network, config)
        _check_fit(source, network.__name__, shapes, expected)
        state = {name: f.get_tensor(name) for name in shapes}
    lacking = [name for name in expected if name not in state]
    filled = {name: _filled(name, expected[name]) for name in lacking}
    if "mapping.w_avg" in filled:
        filled["mapping.w_avg"] = _mean_code(config, state | filled)
    kinds = sorted({name.rpartition(".")[2] for name in filled})
    return state | filled, metadata | ({"added": ", ".join(kinds)} if kinds else {})


def _expected(source: Path, network: type[nn.Module], config: dict) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a network's state; no memory is taken for it, so a claim costs nothing."""
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return {name: tuple(x.shape) for name, x in network(**config).state_dict().items()}
    except (RuntimeError, ValueError) as error:  # sizes that overflow, or that no such network has
        reason = " ".join(str(error).split())[:160]
        raise InpaintError(f"{source}: the {network.__name__}'s weights do not fit each other ({reason})") from None


def _check_fit(source: Path, kind: str, shapes: dict, expected: dict) -> None:
    if strange := sorted(shapes.keys() - expected.keys()):
        raise InpaintError(f"{source}: the {kind} has a tensor {short(strange[0])} too many")
    noisy = any(name.endswith(f".{STRENGTH}") for name in shapes)
    may_lack = FILLED if noisy else (*FILLED, STRENGTH)
    lacking = [name for name in expected if name not in shapes and name.rpartition(".")[2] not in may_lack]
    if lacking:
        raise InpaintError(f"{source}: the {kind} lacks the tensor {lacking[0]!r}")
    for name, shape in shapes.items():
        if shape != expected[name]:
            raise InpaintError(f"{source}: the {kind}'s {name!r} must have shape {expected[name]}; got {shape}")


def _filled(name: str, shape: tuple[int, ...]) -> Tensor:
    """A buffer that the file lacks; ``w_avg`` is computed afterwards."""
    if name.endswith("resample_filter"):
        return fir_filter()
    if name.endswith(("w_avg", STRENGTH)):
        return torch.zeros(shape)
    # A stream of its own for each resolution and layer: the maps must differ.
    seed = NOISE_SEED + zlib.crc32(name.encode())
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _mean_code(config: dict, state: dict[str, Tensor]) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        generator = Generator(**config)
    generator.load_state_dict({name: x.float() for name, x in state.items()})
    return mean_code(generator.eval().requires_grad_(False))
