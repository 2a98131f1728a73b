"""The latent search: find the code whose image agrees with the known pixels.

Items of a batch are independent. The batch's loss is the sum of the items' losses, the optimisers keep the items apart
(:mod:`inpaintlib.optimisers`), clipping is per item, and every item draws from its own generator; so a batch of k gives
what k single runs give, up to the rounding of differently shaped matrix products.

A search may have two phases: first the known pixels are fitted, then the terms that steer join in (see
:class:`~inpaintlib.search.Search`). Views that a term asks for are drawn from each item's own generator, and only
descended on: what counts as best is scored without them, and anew in the second phase.

The search keeps, for every item, the code of the lowest objective seen. What is returned is rendered
once more from that code, by the very call that :func:`replay` makes.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from .checks import InpaintError, check_image, check_integer, check_mask, check_type
from .codes import mean_code
from .losses import Objective, objective_from
from .problem import Problem
from .record import Inversion, Progress, Watch, replay
from .search import SPACES, STARTS, Search
from .stylegan2 import Generator

__all__ = ["Inversion", "Progress", "SPACES", "STARTS", "Search", "invert", "mean_code", "product", "replay"]


def product(images: Tensor, masks: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor, list[int], pd.DataFrame]:
    """Returns the batch of every image under every mask with every seed.

    Args:
        images: (I, 3, H, W).
        masks: (J, 1, H, W).
        seeds: S whole numbers.

    Returns:
        images (I J S, 3, H, W), masks (I J S, 1, H, W), seeds, and a table with columns item, image, mask, seed.
    """
    i, j, s = torch.meshgrid(*(torch.arange(n) for n in (len(images), len(masks), len(seeds))), indexing="ij")
    i, j, s = i.flatten(), j.flatten(), s.flatten()
    chosen = [int(seeds[k]) for k in s]
    table = pd.DataFrame({"item": range(len(i)), "image": i.numpy(), "mask": j.numpy(), "seed": chosen})
    return images[i], masks[j], chosen, table


def invert(generator: Generator, image: Tensor, mask: Tensor, *, objective: Objective | None = None,
           search: Search | None = None, seeds: Sequence[int] | int = 0, c: Tensor | None = None,
           progress: Progress | None = None, watch: Watch | None = None) -> Inversion:  # fmt: skip
    """Returns, for every item, the code whose image agrees best with the known pixels.

    .. math:: w^* = \\arg\\min_w \\sum_j \\lambda_j L_j(G(w), x, M)

    Source: the study's objectives; Adam (Kingma & Ba 2015) with an exponentially falling rate, or what else
    :class:`Search` says.

    Args:
        generator: frozen; its weights receive no gradient.
        image: the target, (N, 3, R, R), in [-1, 1], R the generator's resolution; the generator's dtype.
        mask: (N or 1, 1, R, R), 1 = hole.
        objective: None = masked MSE + masked LPIPS of ``percept-guide``, both of weight 1.
        search: None = the defaults of :class:`Search`.
        seeds: one for each item, or the first item's (the others follow by 1).
        c: (N, c_dim) one-hot where a class-conditional generator maps a z (space ``z``, or a start other than
            ``w_avg``); None = each item's class is drawn first, from the item's own generator. None elsewhere.
        progress: called after each step.
        watch: called after each step with what was seen; it may end the search.

    Returns:
        The record; on KeyboardInterrupt the best so far, with ``stopped == "interrupted"``.

    Raises:
        InpaintError: for images or masks of a wrong shape or range, another number of seeds or classes than items, a
            generator whose weights require gradients, or an objective that is never finite.

    Example:
        >>> G = inpaintlib.load_generator("faces64")                          # doctest: +SKIP
        >>> record = invert(G, image, mask, search=Search(steps=100))         # doctest: +SKIP
        >>> record.composite                                                  # doctest: +SKIP
    """
    search = Search() if search is None else search
    for name, value, kind in (("generator", generator, Generator), ("search", search, Search)):
        check_type(name, value, kind)
    if objective is not None:
        check_type("objective", objective, Objective)
    objective = objective or objective_from({"mse_weight": 1.0, "lpips_weight": 1.0})
    check_image("image", image, size=generator.img_resolution)
    check_mask("mask", mask, like=image)
    if any(p.requires_grad for p in generator.parameters()):
        raise InpaintError("generator must be frozen; call generator.eval().requires_grad_(False) first")
    seeds, c = _seeds(seeds, len(image)), _classes(c, generator, search, len(image))
    parameter = next(generator.parameters())
    image = image.to(parameter)
    mask = mask.to(parameter).expand(len(image), -1, -1, -1)
    if any(layer >= generator.num_ws for layer in search.frozen_layers):
        raise InpaintError(
            f"frozen_layers must be below {generator.num_ws}, the generator's layers; got {search.frozen_layers}"
        )
    bound = objective.bind(image, mask)
    if search.optimiser == "lbfgs" and bound.on_views:
        raise InpaintError(
            "the optimiser 'lbfgs' needs an objective without random views; set views to 0 or take 'adam'"
        )
    problem = Problem(generator, bound, search, seeds, c)
    stopped = problem.run(progress, watch)
    return problem.record(image, mask, stopped)


def _seeds(seeds: Sequence[int] | int, n: int) -> list[int]:
    if not isinstance(seeds, Sequence):
        check_integer("seeds", seeds, low=0)
        seeds = range(seeds, seeds + n)
    if len(seeds) != n:
        raise InpaintError(f"seeds must be one whole number or one for each of the {n} items; got {len(seeds)}")
    for seed in seeds:
        check_integer("each of seeds", seed, low=0, high=2**63 - 1)
    return list(seeds)


def _classes(c: Tensor | None, generator: Generator, search: Search, n: int) -> Tensor | None:
    if c is None:
        return None
    mapped, expected = generator.c_dim > 0 and search.maps_z, (n, generator.c_dim)
    if not mapped or tuple(c.shape) != expected:
        rule = f"have shape {expected}, one-hot" if mapped else "be None where no class is mapped"
        raise InpaintError(f"c must {rule}; got {tuple(c.shape)}")
    return c.to(next(generator.parameters()))
