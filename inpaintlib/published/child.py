"""The process that reads a file which nobody vouches for: little memory, no torch, and only numbers come back.

It is started by :mod:`inpaintlib.published.convert` with a source and one target a network, or one target for a state
by itself, and writes safetensors. A refusal is one sentence on stderr and the exit status 3.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import save_file

from ..errors import InpaintError
from .networks import WIDENED, metadata, read_networks, read_state

__all__ = ["REFUSED", "main"]

REFUSED = 3
MEMORY = 1_500_000_000  # bytes, of a file of at most 400 MB, as NVIDIA's largest; larger ones get four times their size
SECONDS, PACE = 8, 20_000_000  # of processor time, and a second more for so many bytes


def _limit(source: Path) -> None:
    """Limits memory, time and the size of what is written; a system without such limits goes on without."""
    try:
        import resource
    except ImportError:  # Windows
        return
    size = source.stat().st_size if source.is_file() else 0
    limits = {
        "RLIMIT_AS": max(MEMORY, 4 * size),
        "RLIMIT_CPU": SECONDS + size // PACE,
        "RLIMIT_FSIZE": WIDENED * size + 2**20,
    }
    for name, value in limits.items():
        with contextlib.suppress(OSError, ValueError, AttributeError):
            hard = resource.getrlimit(getattr(resource, name))[1]
            # A second more until the hard limit, or the signal would not tell what was too much.
            top = value + (name == "RLIMIT_CPU")
            top = top if hard == resource.RLIM_INFINITY else min(top, hard)
            resource.setrlimit(getattr(resource, name), (min(value, top), top))


def main(argv: Sequence[str]) -> int:
    """Reads the file ``argv[0]``; writes its generator to ``argv[1]``, its discriminator, if any, to ``argv[2]``.

    With one target, the file is a state dict of whatever network.
    """
    source, *targets = map(Path, argv)
    _limit(source)
    try:
        if len(targets) == 1:
            save_file(read_state(source), targets[0])
            return 0
        found = read_networks(source)
        for key, target in zip("GD", targets, strict=True):
            if key in found:
                save_file(found[key].state, target, metadata=metadata(found[key]))
    except InpaintError as error:
        print(" ".join(str(error).split()), file=sys.stderr)  # one line, whatever the file's name
        return REFUSED
    except MemoryError:
        print(f"{source} asks for more memory than a file of its size needs", file=sys.stderr)
        return REFUSED
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:120]
        print(f"{targets[0].parent} cannot be written to: {reason}", file=sys.stderr)
        return REFUSED
    return 0
