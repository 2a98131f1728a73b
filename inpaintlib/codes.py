"""Codes of a generator's mapping network: the sample that stands for all of them, and its mean."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .stylegan2 import Generator

__all__ = ["draw_classes", "mapped_codes", "mean_code"]


def draw_classes(generator: Generator, streams: Sequence[torch.Generator]) -> Tensor | None:
    """Returns a class for each item, one-hot (N, c_dim), uniform, item i's from ``streams[i]`` (on the CPU).

    None for a network without classes; then nothing is drawn.
    """
    if not generator.c_dim:
        return None
    labels = torch.cat([torch.randint(generator.c_dim, (1,), generator=stream) for stream in streams])
    return F.one_hot(labels, generator.c_dim).to(next(generator.parameters()))


@torch.no_grad()
def mapped_codes(generator: Generator, *, samples: int = 10_000, seed: int = 0) -> Tensor:
    """Returns the codes w of ``samples`` random z, (samples, w_dim).

    For a class-conditional network the classes are drawn uniformly.
    """
    parameter = next(generator.parameters())
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(samples, generator.z_dim, generator=rng).to(parameter)
    c = None
    if generator.c_dim:
        labels = torch.randint(generator.c_dim, (samples,), generator=rng)
        c = F.one_hot(labels, generator.c_dim).to(parameter)
    return generator.mapping(z, c)


def mean_code(generator: Generator, *, samples: int = 10_000, seed: int = 0) -> Tensor:
    """Returns the mean of :func:`mapped_codes`, (w_dim,): the start ``w_avg`` of the study."""
    return mapped_codes(generator, samples=samples, seed=seed).mean(dim=0)
