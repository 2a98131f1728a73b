"""Terms that say what the hole should show: an attribute classifier's and CLIP's.

x_hat = G(w); the network reads the composite K x + M x_hat (``composite``, what the user gets) or x_hat itself
(``image``, as the study's slides do). With the logits f_a of the wished attributes, y_a = 1 if wanted, else 0:

    BCE_a = softplus(-f_a) if y_a = 1, softplus(f_a) if y_a = 0
    plain:  BCE_a        margin:  max(BCE_a, eps)        soft:  log(exp(BCE_a) + exp(eps))

averaged over the wishes. Margin and soft stop pushing where the wish is fulfilled. With CLIP's unit vectors E_I of the
image, E_T of the prompt and E_0 of a neutral caption:

    cosine:       -E_I . E_T
    directional:  -E_I . d,   d = (E_T - E_0) / |E_T - E_0|

The second is the change of the image's vector along the change of the sentence, -(E_I - E_I(x_0)) . d, for any first
image x_0: its part is the same for every code and is left out. Source: the study's slides; Gal et al. 2022 for the
directional loss ("StyleGAN-NADA"), which divides by the length of the image's change and we do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .attributes import AttributeNetwork, Wish, parse_wishes
from .captions import neutral
from .checks import check_choice, check_integer, check_number
from .clip import Clip
from .terms import BoundTerm, OnViews, Term
from .views import random_views
from .weights import like

__all__ = ["CLIP_FORMS", "FORMS", "READS", "classifier_term", "clip_term", "wish_loss"]

FORMS = ("plain", "margin", "soft")
CLIP_FORMS = ("cosine", "directional")
READS = ("composite", "image")


def wish_loss(logits: Tensor, wanted: Tensor, form: str = "plain", epsilon: float = 0.1) -> Tensor:
    """Returns each image's loss, (N,): see the module's text.

    Args:
        logits: (N, A) of the wished attributes.
        wanted: bool (A,).
        form: ``plain``, ``margin`` or ``soft``.
        epsilon: of margin and soft, in nats, at least 0.

    Raises:
        InpaintError: for another form, or an epsilon below 0.

    Example:
        >>> wish_loss(torch.tensor([[0.0], [9.0]]), torch.tensor([True]), "margin", 0.1)
        tensor([0.6931, 0.1000])
    """
    check_choice("classifier_form", form, FORMS)
    check_number("classifier_epsilon", epsilon, low=0.0)
    bce = F.softplus(torch.where(wanted, -logits, logits))
    if form == "margin":
        bce = bce.clamp_min(epsilon)
    elif form == "soft":
        bce = torch.logaddexp(bce, torch.as_tensor(epsilon).to(bce))
    return bce.mean(dim=1)


def classifier_term(network: AttributeNetwork, wishes: str | Sequence[Wish], *, form: str = "plain",
                    epsilon: float = 0.1, reads: str = "composite", views: int = 0) -> Term:  # fmt: skip
    """Returns the term of a classifier; see the module's text.

    Args:
        network: frozen.
        wishes: ``"+Smiling,-Eyeglasses"`` or the like parsed.
        form, epsilon: as in :func:`wish_loss`.
        reads: ``composite`` or ``image``.
        views: 0, or how many random views of an image the gradient is averaged over.

    Raises:
        InpaintError: for an attribute that the network does not know, contradictory wishes or options out of range.
    """
    wishes = parse_wishes(wishes if isinstance(wishes, str) else ",".join(map(str, wishes)))
    places = [network.index(w.attribute) for w in wishes]
    wanted = torch.tensor([w.wanted for w in wishes])
    wish_loss(torch.zeros(1, len(wishes)), wanted, form, epsilon)  # form and epsilon are checked before the search

    def bind(target: Tensor) -> Callable[[Tensor], Tensor]:
        net, want = like(network, target), wanted.to(target.device)
        return lambda x: wish_loss(net(x)[:, places], want, form, epsilon)

    return _steering(bind, reads, views, "classifier", network.source)


def clip_term(clip: Clip, prompt: str, *, form: str = "cosine", reads: str = "composite", views: int = 0) -> Term:
    """Returns the term of a prompt; see the module's text. The neutral caption is "a person" and its like.

    Args:
        clip: frozen.
        prompt: a sentence.
        form: ``cosine`` or ``directional``.
        reads: ``composite`` or ``image``.
        views: 0, or how many random views of an image the gradient is averaged over.

    Raises:
        InpaintError: for a prompt that is empty, too long, or has words that the model does not know.
    """
    check_choice("clip_form", form, CLIP_FORMS)
    towards = clip.embed_texts([prompt])[0] if form == "cosine" else clip.direction([prompt], neutral())

    def bind(target: Tensor) -> Callable[[Tensor], Tensor]:
        net, goal = like(clip, target), towards.to(target)

        def value(x: Tensor) -> Tensor:
            seen = net.embed_images(x).to(goal)
            with torch.autocast(x.device.type, enabled=False):  # cosines differ by less than bfloat16 tells apart
                return -seen @ goal

        return value

    return _steering(bind, reads, views, "clip", clip.source)


def _steering(bind: Callable[[Tensor], Callable[[Tensor], Tensor]], reads: str, views: int, name: str,
              source: str) -> Term:  # fmt: skip
    """A term that hands composite or G(w), or views of it, to a loss of images."""
    check_choice(f"{name}_reads", reads, READS)
    check_integer(f"{name}_views", views, low=0)

    def bound(target: Tensor, mask: Tensor) -> BoundTerm:
        loss, hole = bind(target), mask > 0.5
        known = torch.where(hole, 0.0, target)
        shown = (lambda x: torch.where(hole, x, known)) if reads == "composite" else (lambda x: x)

        def value(x_hat: Tensor, ws: Tensor) -> Tensor:
            return loss(shown(x_hat))

        def on_views(x_hat: Tensor, ws: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
            return loss(random_views(shown(x_hat), views, generators)).unflatten(0, (-1, views)).mean(dim=1)

        return OnViews(value, on_views) if views else value

    bound.steers, bound.network = True, source
    return bound
