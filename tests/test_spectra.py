"""The Jacobian against finite differences, and the linear theory against its closed form."""

import pytest
import torch

from inpaintlib.checks import InpaintError
from inpaintlib.codes import mapped_codes
from inpaintlib.spectra import jacobian, posterior_sd, prior_root, spectra
from inpaintlib.spread import hole_pixels

from .tiny import square_hole, tiny_generator

DIM = 16


@pytest.fixture(scope="module")
def generator():
    return tiny_generator().double()


@pytest.fixture(scope="module")
def w(generator):
    return mapped_codes(generator, samples=3, seed=4)[2]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("clamp", [None, 1.0])
def test_the_jacobian_is_that_of_finite_differences(clamp):
    g = tiny_generator(8, conv_clamp=clamp).double()
    w, steps, h = mapped_codes(g, samples=1)[0], torch.eye(DIM).double(), 1e-6
    image = lambda code: g.synthesis(code.expand(1, g.num_ws, -1)).flatten()  # noqa: E731
    expected = torch.stack([(image(w + h * e) - image(w - h * e)) / (2 * h) for e in steps], dim=1)
    found = jacobian(g, w, steps)
    assert found.shape == (3 * 8 * 8, DIM) and not found.requires_grad
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=1e-6)


def test_the_jacobian_is_linear_in_the_directions_and_chunks_do_not_matter(generator, w):
    whole, directions = jacobian(generator, w, torch.eye(DIM).double()), normal(DIM, 5)
    torch.testing.assert_close(jacobian(generator, w, directions, chunk=2), whole @ directions)


def test_the_jacobian_refuses_other_shapes(generator, w):
    for code, directions in ((w[None], torch.eye(DIM)), (w, torch.eye(DIM)[1:]), (w, torch.ones(DIM))):
        with pytest.raises(InpaintError, match="must have shapes"):
            jacobian(generator, code, directions)


def test_the_root_squares_to_the_covariance_of_mapped_codes(generator):
    root = prior_root(generator)
    codes = mapped_codes(generator)
    torch.testing.assert_close(root @ root.t(), torch.cov(codes.t()))
    torch.testing.assert_close(root, root.t())


def test_the_posterior_is_the_closed_form():
    known, hidden, sigma = normal(30, 6), normal(4, 6, seed=1), 0.7
    covariance = torch.linalg.inv(torch.eye(6).double() + known.t() @ known / sigma**2)
    expected = (hidden @ covariance @ hidden.t()).diagonal().sqrt()
    torch.testing.assert_close(posterior_sd(known, hidden, sigma), expected)


def test_what_is_seen_clearly_is_certain_and_what_is_not_seen_stays_as_it_was():
    known, hidden = normal(30, 6), normal(4, 6, seed=1)
    assert posterior_sd(known, hidden, 1e-6).max() < 1e-5
    torch.testing.assert_close(posterior_sd(known, hidden, 1e9), hidden.norm(dim=1))
    known[:, 0] = 0.0  # the first direction is free
    torch.testing.assert_close(posterior_sd(known, hidden, 1e-6), hidden[:, 0].abs(), atol=1e-5, rtol=0.0)
    with pytest.raises(InpaintError, match="sigma must be above 0"):
        posterior_sd(known, hidden, 0.0)


def test_the_theory_agrees_with_drawn_codes():
    """Codes drawn from the prior, kept if they would look like what is seen: a posterior without a formula."""
    known, hidden, sigma = 0.5 * normal(2, 3), normal(1, 3, seed=1), 0.6
    u = normal(400_000, 3, seed=2)
    weight = torch.exp(-((u @ known.t()) ** 2).sum(dim=1) / (2 * sigma**2))
    moved = (u @ hidden.t())[:, 0]
    spread = ((weight * moved**2).sum() / weight.sum()).sqrt()
    assert float(posterior_sd(known, hidden, sigma)) == pytest.approx(float(spread), rel=0.02)


def test_spectra_are_the_singular_values_of_the_visible_rows(generator, w):
    masks = {side: square_hole(1, 16, side=side, dtype=torch.float64) for side in (4, 8, 12)}
    codes, sigma = torch.stack([w, 0.5 * w]), torch.tensor([0.1, 0.2])
    found = spectra(generator, codes, sigma, masks, masks[8])
    whitened = jacobian(generator, w, prior_root(generator))
    for side, mask in masks.items():
        rows = found.table[(found.table["face"] == 0) & (found.table["hidden"] == side)]
        seen = hole_pixels(whitened.t().unflatten(1, (3, 16, 16)), 1 - mask).t()
        assert rows["index"].tolist() == list(range(1, DIM + 1)) and (rows["sigma"] - 0.1).abs().max() < 1e-6
        expected = torch.linalg.svdvals(seen)
        torch.testing.assert_close(torch.tensor(rows["value"].to_numpy()), expected, atol=1e-6, rtol=1e-6)


def test_seeing_less_leaves_more_open(generator, w):
    masks = {side: square_hole(1, 16, side=side, dtype=torch.float64) for side in (4, 12)}
    sigma = torch.tensor([0.1])
    little, much = (spectra(generator, w[None], sigma, masks, masks[side]) for side in (4, 12))
    wide = little.table.pivot(index="index", columns="hidden", values="value")
    assert (wide[12] <= wide[4] + 1e-9).all() and (wide[12] < wide[4]).any()
    assert little.posterior.shape == (1, 16, 16)
    assert (little.posterior <= little.prior + 1e-12).all() and (little.posterior <= much.posterior + 1e-12).all()
    torch.testing.assert_close(little.prior, much.prior)
