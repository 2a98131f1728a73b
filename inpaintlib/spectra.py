"""What the visible part says about the code: the Jacobian of the pixels, its spectrum, and what stays open.

At a code w with prior covariance C (that of mapped codes), pixels change as J dw. With the code measured in standard
deviations of the prior, dw = C^{1/2} u, the visible pixels K see u through J_K C^{1/2}. A direction whose singular
value s is above the noise sigma of the visible pixels is *pinned*: seeing them takes its variance from 1 to
1 / (1 + s^2 / sigma^2) < 1/2. The others are *free*, and what they move in the hole is what fillings can differ by.
Source: Laplace's approximation of a posterior with Gaussian prior and noise (e.g. MacKay 2003, chapter 27).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor
from torch.func import jvp, vmap

from .checks import InpaintError, check_integer, check_number
from .codes import mapped_codes
from .images import at_once
from .spread import hole_pixels
from .stylegan2 import Generator

__all__ = ["Spectra", "jacobian", "posterior_sd", "prior_root", "spectra"]


class Spectra(NamedTuple):
    """Spectra of F faces, and the linear theory's standard deviations of their hole.

    Attributes:
        table: a row a face, hidden fraction and direction; columns face, hidden, index (from 1), value (singular, in
            pixel values a standard deviation of the prior), sigma.
        prior, posterior: (F, R, R), standard deviation of a pixel, root mean square over channels; before and after
            the visible pixels are seen.
    """

    table: pd.DataFrame
    prior: Tensor
    posterior: Tensor


def prior_root(generator: Generator) -> Tensor:
    """Returns the symmetric root of the covariance of mapped codes, (w_dim, w_dim), in the generator's type.

    A column is a step in w; a Gaussian u times the root is as spread as mapped codes are.
    """
    codes = mapped_codes(generator)
    values, vectors = torch.linalg.eigh(torch.cov(codes.double().t()))
    return ((vectors * values.clamp_min(0.0).sqrt()) @ vectors.t()).to(codes)


def jacobian(generator: Generator, w: Tensor, directions: Tensor, *, chunk: int | None = None) -> Tensor:
    """Returns the derivatives of the image's values along steps of the code, (3 R R, k): J times ``directions``.

    Computed exactly, by automatic differentiation in forward mode, with the stored noise.

    Args:
        w: (w_dim,), one code for all layers.
        directions: (w_dim, k), a step a column; the identity gives J itself.
        chunk: directions taken at once; memory grows with it. None = 32 up to 64 px, then fewer.

    Raises:
        InpaintError: for other shapes.
    """
    chunk = at_once(generator.img_resolution, 32) if chunk is None else chunk
    check_integer("chunk", chunk, low=1)
    dim = generator.synthesis.w_dim
    if tuple(w.shape) != (dim,) or directions.ndim != 2 or len(directions) != dim:
        raise InpaintError(f"w and directions must have shapes ({dim},) and ({dim}, k); got {tuple(w.shape)} and "
                           f"{tuple(directions.shape)}")  # fmt: skip
    plan = generator.synthesis.plan("const")

    def image(code: Tensor) -> Tensor:
        return generator.synthesis.render(code.expand(1, generator.num_ws, -1), plan).flatten()

    with torch.no_grad(), warnings.catch_warnings():
        # torch compiles its own rules with a function that it calls deprecated, the first time.
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
        along = vmap(lambda step: jvp(image, (w,), (step,))[1], chunk_size=chunk)
        return along(directions.t()).t()


def posterior_sd(known: Tensor, hidden: Tensor, sigma: float) -> Tensor:
    """Returns the standard deviations of hidden values once the known ones are seen, (Q,), float64.

    .. math:: \\sqrt{\\mathrm{diag}(J_M S J_M^T)}, \\quad S = (I + J_K^T J_K / \\sigma^2)^{-1}

    Args:
        known, hidden: (P, k) and (Q, k): derivatives along independent directions of prior variance 1.
        sigma: noise of a known value, above 0.
    """
    check_number("sigma", sigma, low=0.0, open_low=True)
    known, hidden = known.double(), hidden.double()
    precision = torch.eye(known.shape[1]).to(known) + known.t() @ known / sigma**2
    root = torch.linalg.cholesky(precision)
    return torch.linalg.solve_triangular(root, hidden.t(), upper=False).norm(dim=0)


def spectra(generator: Generator, codes: Tensor, sigma: Tensor, masks: Mapping[float, Tensor],
            mask: Tensor) -> Spectra:  # fmt: skip
    """Returns the spectra of the visible part at F codes, under several masks, and the spread in the hole under one.

    Args:
        codes: (F, w_dim), where to linearise.
        sigma: (F,), noise of the known pixels of each: the error that the search left there.
        masks: hidden fraction -> mask (1, 1, R, R).
        mask: (1, 1, R, R), of the maps.
    """
    root, tables, maps = prior_root(generator), [], []
    for face, (w, noise) in enumerate(zip(codes, sigma.tolist(), strict=True)):
        whitened = jacobian(generator, w.to(root), root)
        for hidden, hole in masks.items():
            # The squares' eigenvalues: a hundred times faster than a decomposition of all pixels' rows.
            seen = _rows(whitened, 1 - hole).double()
            values = torch.linalg.eigvalsh(seen.t() @ seen).clamp_min(0.0).sqrt().flip(0)
            tables.append(pd.DataFrame({"face": face, "hidden": hidden, "index": range(1, len(values) + 1),
                                        "value": values.cpu().numpy(), "sigma": noise}))  # fmt: skip
        known = _rows(whitened, 1 - mask)
        sds = (whitened.double().norm(dim=1), posterior_sd(known, whitened, noise))
        maps.append([sd.view(3, *mask.shape[2:]).square().mean(dim=0).sqrt().cpu() for sd in sds])
    prior, posterior = (torch.stack(side) for side in zip(*maps, strict=True))
    return Spectra(pd.concat(tables, ignore_index=True), prior, posterior)


def _rows(whitened: Tensor, region: Tensor) -> Tensor:
    """The rows of the values in a region."""
    return hole_pixels(whitened.t().unflatten(1, (3, *region.shape[2:])), region.to(whitened)).t()
