"""Terms that know no target: how plausible a picture is to a discriminator, and a code among the mapped ones.

Source: the study's objectives; softplus(-D) is the generator's loss of Goodfellow et al. 2014 as StyleGAN2 uses it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import InpaintError, check_choice
from .codes import mapped_codes
from .stylegan2 import Discriminator, Generator
from .terms import BoundTerm, Term
from .weights import like

__all__ = ["PRIOR_FORMS", "adversarial_term", "prior_term"]

PRIOR_FORMS = ("l2", "mahalanobis")


def adversarial_term(discriminator: Discriminator, *, network: str = "") -> Term:
    """Returns the term softplus(-D(G(w))), above 0: low where G(w), not clamped, looks real to the discriminator.

    Every image is judged by itself, so that items do not mix.

    Args:
        discriminator: frozen, without classes, of the images' resolution.
        network: its name or file.

    Raises:
        InpaintError: for a class-conditional discriminator; on binding, for images of another resolution.
    """
    if discriminator.c_dim:
        raise InpaintError(f"adversarial needs a discriminator without classes; got one of {discriminator.c_dim}")

    def bind(target: Tensor, mask: Tensor) -> BoundTerm:
        if target.shape[2] != discriminator.img_resolution:
            raise InpaintError(f"adversarial needs a discriminator of {target.shape[2]} pixels, as the target has; "
                               f"got one of {discriminator.img_resolution}")  # fmt: skip
        net = like(discriminator, target)
        return lambda x_hat, ws: F.softplus(-net(x_hat, alone=True)[:, 0])

    bind.network = network
    return bind


def prior_term(generator: Generator, form: str = "l2", *, network: str = "") -> Term:
    """Returns the squared distance of the codes to the mean of 10,000 mapped ones, in units of a typical mapped code.

    .. math:: \\mathrm{mean}_l \\, d(w_l) / E \\, d(w), \\quad d(w) = |w - \\bar w|^2
              \\;\\text{or}\\; (w - \\bar w)^T C^{-1} (w - \\bar w)

    The mean is over layers l, E over the mapped codes: 0 at their mean, 1 as far from it as they are. C is their
    covariance, shrunk towards the multiple of the identity with the same trace as far as Ledoit & Wolf 2004 find best,
    so that it is well conditioned; were it not shrunk, E d would be the code's width.

    Args:
        generator: that whose mapping network gives the codes.
        form: ``l2`` or ``mahalanobis``.
        network: its name or file.

    Raises:
        InpaintError: for another form, or later for codes of another width.
    """
    check_choice("prior_form", form, PRIOR_FORMS)
    sample = mapped_codes(generator).double().cpu()
    mean = sample.mean(dim=0)
    apart = sample - mean
    metric = torch.eye(len(mean)).double()
    if form == "mahalanobis":
        from sklearn.covariance import ledoit_wolf  # slow to import, and rarely asked for

        metric = torch.linalg.inv(torch.from_numpy(ledoit_wolf(apart.numpy(), assume_centered=True)[0]))
    metric = metric / _squared(apart, metric).mean()

    def bind(target: Tensor, mask: Tensor) -> BoundTerm:
        centre, measure = mean.to(target), metric.to(target)

        def value(x_hat: Tensor, ws: Tensor) -> Tensor:
            if ws.shape[2] != len(centre):
                raise InpaintError(
                    f"the prior's codes must be {ws.shape[2]} wide, as those searched; got {len(centre)}"
                )
            return _squared(ws - centre, measure).mean(dim=1)

        return value

    bind.network = network
    return bind


def _squared(v: Tensor, metric: Tensor) -> Tensor:
    """v^T A v over the last dimension."""
    with torch.autocast(v.device.type, enabled=False):  # codes are float32 in every search
        return ((v @ metric) * v).sum(dim=-1)
