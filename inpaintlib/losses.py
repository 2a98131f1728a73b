"""Objectives of the latent search: masked terms and their weighted sum.

Notation: x the target, x_hat = G(w), M the mask (1 = hole), K = 1 - M. Every term returns one value per
image. No term sees what the target shows in the hole: its pixels are replaced before anything is
computed from them, so that not even a NaN there could reach a value or a gradient.

Masked LPIPS has four modes (:data:`LPIPS_MODES`), all built from two choices. Which images go in:

* ``zero``: K x and K x_hat, as the study's seed does; the hole's edge becomes an edge in the features,
* ``fill``: the target's hole is filled with a detached copy of x_hat, so both images look natural,
* ``features``: the hole is set to a constant (grey, 0) in both images.

and how each layer's map of distances is averaged: over all positions (``zero``, ``fill``), or weighted by
the area-downsampled K and normalised by its sum (``features``, ``fill+features``, the default).

Terms that steer, ``classifier`` and ``clip``, are those of :mod:`inpaintlib.steering`; ``adversarial`` and ``prior``,
which know no target, those of :mod:`inpaintlib.priors`.

To add a term, write a function of (target, mask) that returns a function of (x_hat, ws), and put a
constructor for it in :data:`TERMS`; the constructor's arguments are the term's options, ``NAME_OPTION`` in
a flat mapping. A term that steers has an attribute ``steers = True``, one that reads a network its name as ``network``
(see :class:`~inpaintlib.terms.Weighted`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from .attributes import load_classifier
from .checks import InpaintError, check_choice, check_number, check_type
from .clip import load_clip
from .features import Percept, layer_masks, load_percept, weighted_sum
from .priors import adversarial_term, prior_term
from .steering import classifier_term, clip_term
from .terms import BoundTerm, OnViews, Term, Weighted
from .weights import load_discriminator, load_generator

__all__ = [
    "BoundObjective",
    "LPIPS_MODES",
    "Objective",
    "TERMS",
    "Weighted",
    "lpips_term",
    "masked_lpips",
    "masked_mse",
    "mse_term",
    "objective_from",
]

LPIPS_MODES = ("zero", "fill", "features", "fill+features")


def masked_mse(x_hat: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Returns the mean squared error over known pixels and channels, (N,).

    .. math:: \\sum K (\\hat x - x)^2 / (3 \\sum K)

    Source: the study's naive objective, normalised by the known pixels, so that its weight means the
    same whatever the hole's size.

    Args:
        x_hat, target: (N, 3, H, W) in [-1, 1].
        mask: (N or 1, 1, H, W), 1 = hole.

    Example:
        >>> x_hat, x = torch.zeros(1, 3, 1, 2), torch.ones(1, 3, 1, 2)
        >>> masked_mse(x_hat, x, torch.tensor([[[[0.0, 1.0]]]]))
        tensor([1.])
    """
    return mse_term()(target, mask)(x_hat, torch.empty(0))


def mse_term() -> Term:
    """Returns the term of :func:`masked_mse`."""

    def bind(target: Tensor, mask: Tensor) -> BoundTerm:
        hole = mask > 0.5
        known = torch.where(hole, 0.0, target)
        keep = 1.0 - mask.to(target)
        scale = 1.0 / (target.shape[1] * keep.sum(dim=(1, 2, 3)))
        return lambda x_hat, ws: (x_hat * keep - known).square().sum(dim=(1, 2, 3)) * scale

    return bind


def masked_lpips(percept: Percept, x_hat: Tensor, target: Tensor, mask: Tensor, mode: str = "fill+features") -> Tensor:
    """Returns LPIPS over the known pixels, (N,); see the module's text for ``mode``.

    With nothing hidden every mode is plain LPIPS (Zhang et al. 2018, eq. 1).

    Args:
        percept: the feature network.
        x_hat, target: (N, 3, H, W) in [-1, 1].
        mask: (N or 1, 1, H, W), 1 = hole.
        mode: one of :data:`LPIPS_MODES`.

    Raises:
        InpaintError: for another mode.
    """
    return lpips_term(percept, mode)(target, mask)(x_hat, torch.empty(0))


def lpips_term(percept: Percept, mode: str = "fill+features") -> Term:
    """Returns the term of :func:`masked_lpips`."""
    check_choice("lpips_mode", mode, LPIPS_MODES)
    fill, weigh = mode.startswith("fill"), mode.endswith("features")

    def bind(target: Tensor, mask: Tensor) -> BoundTerm:
        network, hole, keep = percept.like(target), mask > 0.5, 1.0 - mask.to(target)
        blank = torch.where(hole, 0.0, target).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            constant = network.taps(blank)
        weights = layer_masks(keep, [f.shape[2:] for f in constant]) if weigh else None

        def value(x_hat: Tensor, ws: Tensor) -> Tensor:
            theirs = constant
            if fill:
                with torch.no_grad():
                    theirs = network.taps(torch.where(hole, x_hat, blank))
            ours = network.taps(x_hat if fill else x_hat * keep)
            return weighted_sum(network.distances(ours, theirs), weights)

        return value

    bind.network = percept.name
    return bind


def _checked_part(name: str, part: object, n: int) -> Tensor:
    check_type(f"the value of term {name!r}", part, Tensor)
    if part.shape != (n,):
        raise InpaintError(f"term {name!r} must return one value per image, ({n},); got shape {tuple(part.shape)}")
    return part


class Objective:
    """A weighted sum of named terms.

    Attributes:
        terms: name -> :class:`Weighted`.
        settings: the flat mapping that :func:`objective_from` built it from, terms of weight 0 left out and options
            filled with their defaults: equal settings are equal objectives. None if it was made by hand.

    Example:
        >>> objective = Objective({"mse": Weighted(2.0, mse_term())})
        >>> x_hat, x = torch.zeros(1, 3, 1, 2), torch.ones(1, 3, 1, 2)
        >>> bound = objective.bind(x, torch.tensor([[[[0.0, 1.0]]]]))
        >>> bound(x_hat, torch.empty(0))
        (tensor([2.]), {'mse': tensor([1.])})
    """

    def __init__(self, terms: Mapping[str, Weighted], settings: Mapping[str, object] | None = None):
        """Raises InpaintError if there is no term, or a weight is negative or not finite."""
        if not terms:
            raise InpaintError("an objective needs at least one term; got none")
        for name, weighted in terms.items():
            check_type(f"term {name!r}", weighted, Weighted)
            check_number(f"{name}_weight", weighted.weight, low=0.0)
        self.terms = dict(terms)
        self.settings = None if settings is None else dict(settings)

    @property
    def networks(self) -> tuple[str, ...]:
        """Names or files of the networks that its terms read: none of them may judge the result."""
        return tuple(dict.fromkeys(w.reads for w in self.terms.values() if w.reads))

    def bind(self, target: Tensor, mask: Tensor) -> BoundObjective:
        """Returns the objective of these targets and masks."""
        return BoundObjective({name: (w, w.term(target, mask)) for name, w in self.terms.items()})


class BoundObjective:
    """An objective that has its target and mask: a function of the image and its codes."""

    def __init__(self, terms: Mapping[str, tuple[Weighted, BoundTerm]]):
        self.terms = dict(terms)

    @property
    def on_views(self) -> bool:
        """Whether a term is descended on random views, so that no two evaluations are alike."""
        return any(isinstance(term, OnViews) for _, term in self.terms.values())

    def __call__(self, x_hat: Tensor, ws: Tensor, *, steering: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the sum (N,) and each term's own, unweighted value (N,).

        Without ``steering`` the terms that steer rest: they have no part in the sum, and NaN for a value.
        """
        _, total, parts = self.descent(x_hat, ws, None, steering=steering)
        return total, parts

    def descent(self, x_hat: Tensor, ws: Tensor, generators: Sequence[torch.Generator] | None, *,
                steering: bool = True) -> tuple[Tensor, Tensor, dict[str, Tensor]]:  # fmt: skip
        """Returns what to descend (N,), then sum and values as a call does.

        The first differs from the sum where a term has views to be averaged over; their draws come from
        ``generators``, one an item. None = no views.
        """
        parts, extra = {}, 0.0
        for name, (weighted, term) in self.terms.items():
            if weighted.rests and not steering:
                parts[name] = x_hat.new_full((len(x_hat),), float("nan"))
                continue
            on_views = generators is not None and isinstance(term, OnViews)
            with torch.set_grad_enabled(torch.is_grad_enabled() and not on_views):
                parts[name] = _checked_part(name, term(x_hat, ws), len(x_hat)).to(x_hat.dtype)
            if on_views:
                extra = extra + weighted.weight * (term.descended(x_hat, ws, generators) - parts[name])
        active = [name for name, (w, _) in self.terms.items() if steering or not w.rests]
        total = sum(self.terms[name][0].weight * parts[name] for name in active)
        if not active:
            total = x_hat.new_zeros(len(x_hat))
        return total + extra, total, parts


#: name -> constructor from the term's own options, all given as keywords.
TERMS: dict[str, Callable[..., Term]] = {
    "mse": lambda: mse_term(),
    "lpips": lambda network="percept-guide", mode="fill+features": lpips_term(load_percept(network), mode),
    "classifier": lambda wishes, network="attributes-guide", form="plain", epsilon=0.1, reads="composite", views=0: (
        classifier_term(load_classifier(network), wishes, form=form, epsilon=epsilon, reads=reads, views=views)
    ),
    "clip": lambda prompt, network="clip-guide", form="cosine", reads="composite", views=0: clip_term(
        load_clip(network), prompt, form=form, reads=reads, views=views
    ),
    "adversarial": lambda network="faces64-discriminator": adversarial_term(
        load_discriminator(network), network=network
    ),
    "prior": lambda form="l2", network="faces64": prior_term(load_generator(network), form, network=network),
}


def _options(term: str) -> dict[str, object]:
    """The names of a term's own options, the arguments of its constructor, with their defaults."""
    return {name: p.default for name, p in inspect.signature(TERMS[term]).parameters.items()}


def objective_from(settings: Mapping[str, object]) -> Objective:
    """Returns the objective that a flat mapping describes, as params files hold it.

    Keys are ``TERM_weight`` and ``TERM_OPTION``; a term of weight 0 is left out.

    Raises:
        InpaintError: for an unknown key, an option without its weight, a missing one, or a bad value.

    Example:
        >>> sorted(objective_from({"mse_weight": 1.0}).terms)
        ['mse']
    """
    known = {f"{t}_{o}": t for t in TERMS for o in ("weight", *_options(t))}
    for key in settings:
        check_choice("a key of the objective", key, tuple(known))
        if f"{known[key]}_weight" not in settings:
            raise InpaintError(f"{key} needs {known[key]}_weight beside it; there is none")
    terms, used = {}, {}
    for name, build in TERMS.items():
        weight = settings.get(f"{name}_weight", 0.0)
        check_number(f"{name}_weight", weight, low=0.0)
        if weight > 0:
            options = {o: settings.get(f"{name}_{o}", default) for o, default in _options(name).items()}
            if missing := [o for o, value in options.items() if value is inspect.Parameter.empty]:
                raise InpaintError(f"{name}_weight needs {name}_{missing[0]} beside it; there is none")
            network = str(options.get("network", ""))
            terms[name] = Weighted(float(weight), build(**options), network=network)
            used |= {f"{name}_weight": float(weight)} | {f"{name}_{o}": value for o, value in options.items()}
    return Objective(terms, used)
