"""Terms that know no target: a discriminator's, and the distance of a code to the mapped ones."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from inpaintlib import losses
from inpaintlib.checks import InpaintError
from inpaintlib.codes import mapped_codes, mean_code
from inpaintlib.discriminator import Discriminator
from inpaintlib.experiments import generated_faces
from inpaintlib.losses import objective_from
from inpaintlib.priors import PRIOR_FORMS, adversarial_term, prior_term
from inpaintlib.probes import logits
from inpaintlib.weights import load_discriminator, load_generator

from .tiny import frozen, pictures, seeded, square_hole, tiny_generator

F64 = torch.float64
NO_CODES = torch.empty(0)
EVERY_FORM = pytest.mark.parametrize("form", PRIOR_FORMS)


def tiny_discriminator(**options) -> Discriminator:
    build = lambda: Discriminator(img_resolution=16, channel_base=256, channel_max=32, **options)  # noqa: E731
    return frozen(seeded(build))


def adversarial(x_hat: Tensor, discriminator: Discriminator | None = None) -> Tensor:
    n = len(x_hat)
    bound = adversarial_term(discriminator or tiny_discriminator())(pictures(n, 16).to(x_hat), square_hole(n, 16))
    return bound(x_hat, NO_CODES)


def prior(ws: Tensor, form: str = "l2", **options) -> Tensor:
    bound = prior_term(tiny_generator(**options), form)(pictures(1, 16).to(ws), square_hole(1, 16))
    return bound(torch.empty(0), ws)


def codes(n: int, *, seed: int = 3) -> Tensor:
    """Returns a different mapped code for every layer, (n, 6, 16)."""
    return mapped_codes(tiny_generator(), samples=6 * n, seed=seed).view(n, 6, 16)


# Discriminator ----------------------------------------------------------------------------------------


def test_adversarial_is_softplus_of_the_negative_logit_of_each_image_alone():
    d, x = tiny_discriminator(), pictures(5, 16)  # 5 is no multiple of the network's group of 4
    torch.testing.assert_close(adversarial(x, d), F.softplus(-logits(d, x)))
    torch.testing.assert_close(adversarial(x[:1], d), adversarial(x, d)[:1])
    assert (adversarial(x, d) > 0).all()


def test_discriminator_itself_stays_as_it_is():
    d = tiny_discriminator()
    term = adversarial_term(d)
    assert d.b4.group_size == 4
    before = d(pictures(4, 16))
    term(pictures(4, 16), square_hole(4, 16))(pictures(4, 16), NO_CODES)
    assert torch.equal(d(pictures(4, 16)), before)


def test_adversarial_reads_the_image_as_it_is_not_clamped_and_whole():
    x = pictures(1, 16)
    assert not torch.equal(adversarial(2.0 * x), adversarial((2.0 * x).clamp(-1, 1)))
    for known in (0, 1):  # both in the hole and outside
        place = (square_hole(1, 16) == known).nonzero()[0]
        other = x.clone()
        other[0, :, place[2], place[3]] += 1.0
        assert not torch.equal(adversarial(other), adversarial(x))


def test_gradient_of_adversarial_is_that_of_finite_differences():
    x = pictures(2, 16, dtype=F64).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: adversarial(y, tiny_discriminator().double()), x, fast_mode=True)


def test_adversarial_takes_the_targets_type():
    x = pictures(1, 16)
    assert adversarial(x.double()).dtype == F64
    torch.testing.assert_close(adversarial(x.double()).float(), adversarial(x), rtol=1e-4, atol=1e-5)


def test_discriminators_that_do_not_fit_are_refused():
    with pytest.raises(InpaintError, match="needs a discriminator without classes; got one of 3"):
        adversarial_term(tiny_discriminator(c_dim=3))
    with pytest.raises(InpaintError, match="needs a discriminator of 32 pixels, as the target has; got one of 16"):
        adversarial_term(tiny_discriminator())(pictures(1, 32), square_hole(1, 32))


# Codes ------------------------------------------------------------------------------------------------


@EVERY_FORM
def test_prior_is_zero_at_the_mean_code_and_one_on_average_over_mapped_codes(form):
    g = tiny_generator()
    assert prior(mean_code(g).expand(1, 6, -1), form).item() == pytest.approx(0.0, abs=1e-8)
    everyone = mapped_codes(g)[:, None].expand(-1, 6, -1)
    assert prior(everyone, form).mean().item() == pytest.approx(1.0, rel=1e-4)


@EVERY_FORM
def test_prior_is_the_mean_over_layers_and_grows_with_the_square_of_the_distance(form):
    ws, mean = codes(2), mean_code(tiny_generator())
    alone = torch.stack([prior(ws[:, [i]], form) for i in range(6)])
    torch.testing.assert_close(prior(ws, form), alone.mean(dim=0))
    torch.testing.assert_close(prior(mean + 3.0 * (ws - mean), form), 9.0 * prior(ws, form), rtol=1e-4, atol=1e-6)


def test_mahalanobis_is_whitened_by_the_shrunk_covariance():
    g, ws = tiny_generator(), codes(3)
    sample = mapped_codes(g).double()
    apart = sample - sample.mean(dim=0)
    covariance = torch.from_numpy(ledoit_wolf(apart.numpy(), assume_centered=True)[0])
    distance = lambda v: (v * torch.linalg.solve(covariance, v[..., None]).squeeze(-1)).sum(dim=-1)  # noqa: E731
    expected = distance(ws.double() - sample.mean(dim=0)).mean(dim=1) / distance(apart).mean()
    torch.testing.assert_close(prior(ws.double(), "mahalanobis"), expected)
    # The shrinkage is small here, so that a typical code's distance is close to the code's width.
    assert distance(apart).mean().item() == pytest.approx(16.0, rel=0.1)


def test_mahalanobis_dislikes_what_mapped_codes_hardly_do():
    g = tiny_generator()
    apart = mapped_codes(g).double() - mean_code(g).double()
    vectors = torch.linalg.eigh(apart.T @ apart)[1]
    ends = mean_code(g).double() + torch.stack([vectors[:, 0], vectors[:, -1]])[:, None].expand(-1, 6, -1)
    rare, common = prior(ends, "mahalanobis")
    assert rare > 5.0 * common
    torch.testing.assert_close(*prior(ends, "l2"))


@EVERY_FORM
def test_gradient_of_prior_is_that_of_finite_differences(form):
    bound = prior_term(tiny_generator(), form)(pictures(1, 16, dtype=F64), square_hole(1, 16))
    assert torch.autograd.gradcheck(lambda ws: bound(torch.empty(0), ws), codes(2).double().requires_grad_())


@EVERY_FORM
def test_prior_of_a_narrow_covariance_is_finite(form):
    """A mapping that draws nearly the same code always: the shrunk covariance can still be inverted."""
    g = tiny_generator()
    for p in g.mapping.parameters():
        p.data.mul_(1e-3)
    term = prior_term(g, form)(pictures(1, 16), square_hole(1, 16))
    assert term(torch.empty(0), mapped_codes(g, samples=50)[:, None]).isfinite().all()


def test_wrong_priors_are_refused():
    with pytest.raises(InpaintError, match="prior_form must be one of l2, mahalanobis; got 'l1'"):
        prior_term(tiny_generator(), "l1")
    with pytest.raises(InpaintError, match="the prior's codes must be 16 wide, as those searched; got 8"):
        prior(codes(1), w_dim=8)


# By name ----------------------------------------------------------------------------------------------


def test_both_are_known_by_name_and_say_what_they_read(monkeypatch):
    monkeypatch.setattr(losses, "load_discriminator", lambda name: tiny_discriminator())
    monkeypatch.setattr(losses, "load_generator", lambda name: tiny_generator())
    settings = {"mse_weight": 1.0, "adversarial_weight": 0.1, "prior_weight": 0.2, "prior_form": "mahalanobis"}
    objective = objective_from(settings)
    assert objective.networks == ("faces64-discriminator", "faces64")
    assert objective.settings == settings | {"adversarial_network": "faces64-discriminator", "prior_network": "faces64"}
    x, ws = pictures(2, 16), codes(2)
    total, parts = objective.bind(pictures(2, 16, seed=1), square_hole(1, 16))(x, ws)
    torch.testing.assert_close(parts["adversarial"], adversarial(x))
    torch.testing.assert_close(parts["prior"], prior(ws, "mahalanobis"))
    torch.testing.assert_close(total, parts["mse"] + 0.1 * parts["adversarial"] + 0.2 * parts["prior"])


def test_terms_made_by_hand_name_their_network():
    assert adversarial_term(tiny_discriminator(), network="d").network == "d"
    assert prior_term(tiny_generator(), network="g").network == "g"


def test_shipped_discriminator_finds_faces_likelier_than_noise():
    bound = adversarial_term(load_discriminator("faces64-discriminator"))(pictures(3, 64), square_hole(1, 64))
    faces = generated_faces(load_generator("faces64"), 3, seed=0)
    assert bound(faces, NO_CODES).max() < bound(pictures(3, 64), NO_CODES).min()
