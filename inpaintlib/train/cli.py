"""The command line of the trainings of one named network: ``NAME --data FOLDER --out FOLDER``, an option a setting."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

import torch
from torch import nn

from ..checks import InpaintError
from ..machine import short_hardware
from ..weights import save_weights

__all__ = ["parser", "run", "say"]

say = functools.partial(print, flush=True)


def parser(module: str, about: str, names: Collection[str], data: str, settings: type) -> argparse.ArgumentParser:
    """Returns the parser of a training's command.

    Args:
        module, about: the training's module and its docstring.
        names: the networks that it trains.
        data: what the folder of data holds.
        settings: a dataclass; each field is an option with the field's default.
    """
    made = argparse.ArgumentParser(prog=f"python -m inpaintlib.train.{module}", description=about.split("\n")[0])
    made.add_argument("name", choices=sorted(names))
    made.add_argument("--data", type=Path, required=True, help=f"folder with {data} (inpaintlib.data)")
    made.add_argument("--out", type=Path, required=True, help="folder for NAME.safetensors")
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for field in dataclasses.fields(settings):
        made.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    return made


def run(args: argparse.Namespace, settings: type, work: Callable[..., tuple[nn.Module, dict[str, str]]]) -> int:
    """Trains with ``work(args, settings)``, writes the network that it returns, and returns the exit status.

    The file's metadata are those that ``work`` returns besides, and the settings, the hardware and the seconds.
    Bad input is one sentence on stderr, and no file.
    """
    started = time.perf_counter()
    try:
        chosen = settings(**{f.name: getattr(args, f.name) for f in dataclasses.fields(settings)})
        network, facts = work(args, chosen)
        facts = {"settings": json.dumps(dataclasses.asdict(chosen)), "hardware": short_hardware(), **facts}
        facts["seconds"] = f"{time.perf_counter() - started:.0f}"
        save_weights(args.out / f"{args.name}.safetensors", network, **facts)
    except InpaintError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
