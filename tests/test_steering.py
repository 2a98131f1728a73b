"""The terms that steer: literal values, gradients against finite differences, and what they cannot see."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from inpaintlib import losses
from inpaintlib.attributes import Wish
from inpaintlib.captions import neutral
from inpaintlib.checks import InpaintError
from inpaintlib.losses import objective_from
from inpaintlib.steering import CLIP_FORMS, FORMS, READS, classifier_term, clip_term, wish_loss
from inpaintlib.terms import OnViews, Term
from inpaintlib.views import draw, warp

from .tiny import pictures, square_hole, tiny_classifier, tiny_clip, tiny_percept

F64 = torch.float64
NO_CODES = torch.empty(0)
WISHES = "+Smiling,-Eyeglasses,+Young"
PROMPT = "a smiling woman"
WANTED = torch.tensor([True, False, True])


def every_term(reads: str, *, views: int = 0, dtype: torch.dtype = F64) -> dict[str, Term]:
    """Every form of both terms; epsilon lies among the losses of the random network, so that margin cuts some."""
    network, clip = tiny_classifier(dtype=dtype), tiny_clip(dtype=dtype)
    return {
        f: classifier_term(network, WISHES, form=f, epsilon=0.7, reads=reads, views=views) for f in FORMS
    } | {f: clip_term(clip, PROMPT, form=f, reads=reads, views=views) for f in CLIP_FORMS}  # fmt: skip


EVERY_TERM = pytest.mark.parametrize("name", [*FORMS, *CLIP_FORMS])
EVERY_READ = pytest.mark.parametrize("reads", READS)


def value_and_gradient(term: Term, x_hat: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    x_hat = x_hat.clone().requires_grad_()
    value = term(target, mask)(x_hat, NO_CODES)
    (gradient,) = torch.autograd.grad(value.sum(), x_hat)
    return value.detach(), gradient


def case(n: int = 1, dtype: torch.dtype = F64) -> tuple[Tensor, Tensor, Tensor]:
    return pictures(n, 16, dtype=dtype), pictures(n, 16, seed=1, dtype=dtype), square_hole(1, 16, dtype=dtype)


# The loss of wishes -----------------------------------------------------------------------------------


def literal_loss(logits: list[float], wanted: list[bool], form: str, epsilon: float) -> float:
    losses = []
    for f, y in zip(logits, wanted, strict=True):
        p = 1.0 / (1.0 + math.exp(-f))
        bce = -math.log(p if y else 1.0 - p)
        losses.append({"plain": bce, "margin": max(bce, epsilon),
                       "soft": math.log(math.exp(bce) + math.exp(epsilon))}[form])  # fmt: skip
    return sum(losses) / len(losses)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("epsilon", [0.0, 0.125, 2.0])
def test_loss_equals_its_formula(form, epsilon):
    logits = torch.tensor([[-3.0, 0.5, 2.0], [4.0, -1.0, -0.25]], dtype=F64)
    expected = [literal_loss(row, WANTED.tolist(), form, epsilon) for row in logits.tolist()]
    torch.testing.assert_close(wish_loss(logits, WANTED, form, epsilon), torch.tensor(expected, dtype=F64))


@pytest.mark.parametrize("form", FORMS)
def test_loss_and_gradient_are_finite_for_any_logit(form):
    logits = torch.tensor([[-1e4, 1e4, 0.0], [1e4, -1e4, 1e4]], requires_grad=True)
    value = wish_loss(logits, WANTED, form)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert value.isfinite().all() and gradient.isfinite().all()


def test_margin_does_not_push_a_wish_that_is_fulfilled():
    logits = torch.tensor([[5.0, -5.0, -3.0]], dtype=F64, requires_grad=True)  # losses 0.007, 0.007 and 3.05
    value = wish_loss(logits, WANTED, "margin", 0.1)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert gradient[0, :2].tolist() == [0.0, 0.0]
    torch.testing.assert_close(gradient[0, 2].item(), -1.0 / (1.0 + math.exp(-3.0)) / 3.0)
    torch.testing.assert_close(value.item(), (0.1 + 0.1 + math.log1p(math.exp(3.0))) / 3.0)


@EVERY_READ
def test_margin_below_epsilon_has_no_gradient_in_the_image(reads):
    term = classifier_term(tiny_classifier(), WISHES, form="margin", epsilon=1e3, reads=reads)
    value, gradient = value_and_gradient(term, *case(dtype=torch.float32))
    assert value.tolist() == [1e3] and (gradient == 0).all()


def test_soft_is_a_smooth_margin_from_above():
    logits, epsilon = torch.linspace(-20.0, 20.0, 401, dtype=F64)[:, None], 1.0
    wanted = torch.tensor([True])
    margin, soft = (wish_loss(logits, wanted, form, epsilon) for form in ("margin", "soft"))
    bce = wish_loss(logits, wanted)
    gap, distance = soft - margin, (bce - epsilon).abs()
    assert (gap > 0).all() and (gap <= math.log(2.0)).all()
    torch.testing.assert_close(gap, torch.log1p(torch.exp(-distance)), rtol=0, atol=1e-8)  # -> 0 on both sides


@pytest.mark.parametrize("form", FORMS)
def test_wishes_are_averaged(form):
    x_hat, x, mask = case(2)
    terms = [classifier_term(tiny_classifier(dtype=F64), w, form=form) for w in (WISHES, *WISHES.split(","))]
    together, *singles = (term(x, mask)(x_hat, NO_CODES) for term in terms)
    torch.testing.assert_close(together, sum(singles) / 3)
    assert (singles[0] - singles[1]).abs().min() > 1e-3


def test_classifier_reads_the_calibrated_logits_of_the_composite():
    network, (x_hat, x, mask) = tiny_classifier(dtype=F64), case(2)
    places = [network.index(attribute) for attribute in ("Smiling", "Eyeglasses", "Young")]
    logits = network(torch.where(mask == 1, x_hat, x))[:, places]
    value = classifier_term(network, WISHES, form="soft", epsilon=0.125)(x, mask)(x_hat, NO_CODES)
    torch.testing.assert_close(value, wish_loss(logits, WANTED, "soft", 0.125))
    value = classifier_term(network, WISHES, reads="image")(x, mask)(x_hat, NO_CODES)
    assert not torch.allclose(value, wish_loss(logits, WANTED))


def test_parsed_wishes_are_taken_as_they_are():
    x_hat, x, mask = case()
    terms = [classifier_term(tiny_classifier(dtype=F64), w) for w in ("+Smiling,-Young", [Wish("Smiling", True),
                                                                      Wish("Young", False)])]  # fmt: skip
    assert torch.equal(*(term(x, mask)(x_hat, NO_CODES) for term in terms))


# The loss of a prompt ---------------------------------------------------------------------------------


@EVERY_READ
def test_cosine_is_that_of_image_and_prompt(reads):
    clip, (x_hat, x, mask) = tiny_clip(dtype=F64), case(2)
    shown = torch.where(mask == 1, x_hat, x) if reads == "composite" else x_hat
    image, text = clip.embed_images(shown), clip.embed_texts([PROMPT])
    value = clip_term(clip, PROMPT, reads=reads)(x, mask)(x_hat, NO_CODES)
    torch.testing.assert_close(value, -torch.cosine_similarity(image, text))


def test_directional_is_the_projection_on_the_change_of_the_sentence():
    clip, (x_hat, x, mask) = tiny_clip(dtype=F64), case(2)
    change = clip.embed_texts([PROMPT])[0] - torch.stack([clip.embed_texts([t])[0] for t in neutral()]).mean(dim=0)
    images = [clip.embed_images(torch.where(mask == 1, y, x)) for y in (x_hat, pictures(2, 16, seed=2, dtype=F64))]
    value, first = (clip_term(clip, PROMPT, form="directional")(x, mask)(y, NO_CODES)
                    for y in (x_hat, pictures(2, 16, seed=2, dtype=F64)))  # fmt: skip
    for i in range(2):
        projection = sum(e * c for e, c in zip(images[0][i].tolist(), change.tolist(), strict=True))
        assert value[i].item() == pytest.approx(-projection / change.norm().item(), rel=1e-9)
    # What is left out, the part of a first image, is the same for every code.
    torch.testing.assert_close(value - first, -(images[0] - images[1]) @ (change / change.norm()))


# Gradients --------------------------------------------------------------------------------------------


def finite_differences(function, x: Tensor, step: float = 1e-6) -> Tensor:
    """Central differences of ``function``, which takes many images at once, at one image."""
    moves = step * torch.eye(x.numel(), dtype=x.dtype).view(-1, *x.shape[1:])
    with torch.no_grad():
        return ((function(x + moves) - function(x - moves)) / (2.0 * step)).view_as(x)


@EVERY_READ
@EVERY_TERM
def test_gradient_equals_finite_differences(name, reads):
    term, (x_hat, x, mask) = every_term(reads)[name], case()
    _, gradient = value_and_gradient(term, x_hat, x, mask)
    bound = term(x, mask)
    torch.testing.assert_close(gradient, finite_differences(lambda y: bound(y, NO_CODES), x_hat), rtol=1e-5, atol=1e-8)
    assert gradient.abs().max() > 1e-4


@EVERY_TERM
def test_gradient_over_views_equals_finite_differences(name):
    term, (x_hat, x, mask) = every_term("composite", views=2)[name], case()
    bound, y = term(x, mask), x_hat.clone().requires_grad_()
    views = lambda y: bound.descended(y, NO_CODES, [torch.Generator().manual_seed(3) for _ in y])  # noqa: E731
    (gradient,) = torch.autograd.grad(views(y).sum(), y)
    torch.testing.assert_close(gradient, finite_differences(views, x_hat), rtol=1e-5, atol=1e-8)
    assert gradient.abs().max() > 1e-4


@EVERY_READ
@EVERY_TERM
def test_items_are_independent(name, reads):
    term, (x_hat, x, _) = every_term(reads)[name], case(3)
    mask = torch.cat([square_hole(1, 16, side=side, dtype=F64) for side in (4, 8, 12)])
    value, gradient = value_and_gradient(term, x_hat, x, mask)
    for i in range(3):
        alone = value_and_gradient(term, x_hat[i : i + 1], x[i : i + 1], mask[i : i + 1])
        torch.testing.assert_close((value[i], gradient[i]), (alone[0][0], alone[1][0]), rtol=1e-9, atol=1e-12)


def test_networks_get_no_gradient_and_follow_the_type_of_the_image():
    networks = tiny_classifier(), tiny_clip()
    for term in (classifier_term(networks[0], WISHES), clip_term(networks[1], PROMPT)):
        value, gradient = value_and_gradient(term, *case())
        assert value.dtype == gradient.dtype == F64
    for network in networks:
        assert all(p.grad is None and p.dtype == torch.float32 for p in network.parameters())


# What they see ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("views", [0, 2])
@EVERY_TERM
def test_composite_takes_the_known_pixels_from_the_target_and_the_hole_from_the_image(name, views):
    term, (x_hat, x, mask) = every_term("composite", views=views)[name], case(2)
    known, bound = (mask == 0).expand_as(x_hat), term(x, mask)
    y = x_hat.clone().requires_grad_()
    rngs = [torch.Generator().manual_seed(i) for i in range(2)]
    value = bound.descended(y, NO_CODES, rngs) if views else bound(y, NO_CODES)
    (gradient,) = torch.autograd.grad(value.sum(), y)
    if name != "margin":
        assert (gradient[~known] != 0).float().mean() > 0.9
    assert (gradient[known] == 0).all()
    other = torch.where(known, pictures(2, 16, seed=5, dtype=F64), x_hat)
    assert torch.equal(bound(other, NO_CODES), bound(x_hat, NO_CODES))
    changed = torch.where(known, pictures(2, 16, seed=5, dtype=F64), x)
    assert not torch.allclose(term(changed, mask)(x_hat, NO_CODES), bound(x_hat, NO_CODES))


@EVERY_READ
@EVERY_TERM
@pytest.mark.parametrize("hidden", [-0.7, math.nan, math.inf])
def test_target_in_the_hole_changes_no_bit(name, reads, hidden):
    term, (x_hat, x, mask) = every_term(reads)[name], case(2)
    expected = value_and_gradient(term, x_hat, x, mask)
    result = value_and_gradient(term, x_hat, torch.where(mask == 1, hidden, x), mask)
    assert all(torch.equal(a, b) and a.isfinite().all() for a, b in zip(result, expected, strict=True))


@EVERY_TERM
def test_image_ignores_the_target(name):
    term, (x_hat, x, mask) = every_term("image")[name], case(2)
    expected = value_and_gradient(term, x_hat, x, mask)
    result = value_and_gradient(term, x_hat, torch.full_like(x, math.nan), mask)
    assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))
    assert (expected[1][(mask == 0).expand_as(x)] != 0).any() or name == "margin"


@EVERY_TERM
@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_one_mask_of_any_type_serves_all_items(name, dtype):
    term, (x_hat, x, mask) = every_term("composite")[name], case(2)
    torch.testing.assert_close(
        value_and_gradient(term, x_hat, x, mask.to(dtype)),
        value_and_gradient(term, x_hat, x, mask.expand(2, -1, -1, -1)),
    )


# Views ------------------------------------------------------------------------------------------------


@EVERY_READ
@EVERY_TERM
def test_descended_is_the_mean_over_the_views_of_each_items_generator(name, reads):
    (x_hat, x, mask), seeds = case(2), (5, 9)
    plain, bound = every_term(reads)[name], every_term(reads, views=3)[name](x, mask)
    shown = torch.where(mask == 1, x_hat, x) if reads == "composite" else x_hat
    expected, rngs = [], [torch.Generator().manual_seed(seed) for seed in seeds]
    for i, seed in enumerate(seeds):
        hole = torch.ones(1, 1, 16, 16, dtype=F64)  # all of each view is read as it is
        views = [warp(shown[i : i + 1], d[None]) for d in draw(3, torch.Generator().manual_seed(seed))]
        expected.append(sum(plain(torch.zeros_like(v), hole)(v, NO_CODES)[0] for v in views) / 3)
    torch.testing.assert_close(bound.descended(x_hat, NO_CODES, rngs), torch.stack(expected))
    again = bound.descended(x_hat, NO_CODES, rngs)
    assert name == "margin" or not torch.allclose(again, torch.stack(expected))


@EVERY_READ
@EVERY_TERM
def test_views_do_not_change_the_value(name, reads):
    x_hat, x, mask = case(2)
    bound = every_term(reads, views=3)[name](x, mask)
    assert isinstance(bound, OnViews)
    assert torch.equal(bound(x_hat, NO_CODES), every_term(reads)[name](x, mask)(x_hat, NO_CODES))


# Options ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wishes", "options", "message"),
    [
        (WISHES, {"form": "hinge"}, "classifier_form must be one of plain, margin, soft; got 'hinge'"),
        (WISHES, {"epsilon": -0.1}, "classifier_epsilon must be at least 0; got -0.1"),
        (WISHES, {"epsilon": math.nan}, "classifier_epsilon must be at least 0; got nan"),
        (WISHES, {"epsilon": "0.1"}, "classifier_epsilon must be a number"),
        (WISHES, {"reads": "hole"}, "classifier_reads must be one of composite, image; got 'hole'"),
        (WISHES, {"views": -1}, "classifier_views must be at least 0; got -1"),
        (WISHES, {"views": 1.5}, "classifier_views must be a whole number"),
        ("+Smile", {}, "one that the classifier knows; got 'Smile'; nearest: Smiling"),
        ("+Smiling,-Smiling", {}, "-Smiling contradicts"),
        ("", {}, "attributes must be names with signs"),
        ([Wish("Smiling", True), Wish("Smiling", False)], {}, "-Smiling contradicts"),
        ([], {}, "attributes must be names with signs"),
    ],
)
def test_wrong_options_of_the_classifier_are_refused(wishes, options, message):
    with pytest.raises(InpaintError, match=message):
        classifier_term(tiny_classifier(), wishes, **options)


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        (PROMPT, {"form": "euclidean"}, "clip_form must be one of cosine, directional; got 'euclidean'"),
        (PROMPT, {"reads": "hole"}, "clip_reads must be one of composite, image; got 'hole'"),
        (PROMPT, {"views": -1}, "clip_views must be at least 0; got -1"),
        ("a smiling zebra", {}, "it does not know zebra"),
        ("", {}, "prompt must be a sentence with words"),
        ("a person " * 4, {}, "at most 6 tokens"),
    ],
)
@pytest.mark.parametrize("form", CLIP_FORMS)
def test_wrong_options_of_clip_are_refused(prompt, options, message, form):
    with pytest.raises(InpaintError, match=message):
        clip_term(tiny_clip(), prompt, **{"form": form} | options)


# From flat settings -----------------------------------------------------------------------------------


@pytest.fixture
def loaded(monkeypatch) -> list[str]:
    """Puts tiny networks in place of every one that is asked for; lists the names asked for."""
    names: list[str] = []
    tiny = {"load_classifier": tiny_classifier, "load_clip": tiny_clip, "load_percept": tiny_percept}
    for loader, build in tiny.items():
        monkeypatch.setattr(losses, loader, lambda name, build=build: names.append(name) or build(dtype=F64))
    return names


SMILE = {"classifier_weight": 2.0, "classifier_wishes": WISHES}
SAID = {"clip_weight": 3, "clip_prompt": PROMPT}


def test_settings_weigh_both_terms_beside_the_masked_ones(loaded):
    x_hat, x, mask = case(2)
    objective = objective_from(SMILE | SAID | {"mse_weight": 1.0, "lpips_weight": 0.5})
    total, parts = objective.bind(x, mask)(x_hat, NO_CODES)
    terms = every_term("composite")
    assert torch.equal(parts["classifier"], terms["plain"](x, mask)(x_hat, NO_CODES))
    assert torch.equal(parts["clip"], terms["cosine"](x, mask)(x_hat, NO_CODES))
    weights = {"mse": 1.0, "lpips": 0.5, "classifier": 2.0, "clip": 3.0}
    torch.testing.assert_close(total, sum(weights[name] * parts[name] for name in weights))
    assert set(loaded) == {"percept-guide", "attributes-guide", "clip-guide"}
    assert objective.networks == ("percept-guide", "attributes-guide", "clip-guide")
    assert {name: term.rests for name, term in objective.terms.items()} == {
        "mse": False, "lpips": False, "classifier": True, "clip": True,
    }  # fmt: skip


@pytest.mark.parametrize(("form", "reads", "views"), list(itertools.product(FORMS, READS, (0, 2))))
def test_settings_of_the_classifier_reach_it(loaded, form, reads, views):
    x_hat, x, mask = case(2)
    settings = {"classifier_form": form, "classifier_epsilon": 0.7, "classifier_reads": reads,
                "classifier_views": views, "classifier_network": "vit:mine.safetensors"}  # fmt: skip
    bound = objective_from(SMILE | settings).bind(x, mask)
    expected = every_term(reads, views=views)[form](x, mask)
    assert loaded == ["vit:mine.safetensors"]
    assert_descends(bound, 2.0, expected, x_hat, views)


@pytest.mark.parametrize(("form", "reads", "views"), list(itertools.product(CLIP_FORMS, READS, (0, 2))))
def test_settings_of_clip_reach_it(loaded, form, reads, views):
    x_hat, x, mask = case(2)
    settings = {"clip_form": form, "clip_reads": reads, "clip_views": views, "clip_network": "ViT-B-16/openai"}
    bound = objective_from(SAID | settings).bind(x, mask)
    assert loaded == ["ViT-B-16/openai"]
    assert_descends(bound, 3.0, every_term(reads, views=views)[form](x, mask), x_hat, views)


def assert_descends(bound, weight: float, term, x_hat: Tensor, views: int) -> None:
    """Asserts that an objective of one term descends that term times its weight."""
    rngs = lambda: [torch.Generator().manual_seed(i) for i in range(2)]  # noqa: E731
    descended, total, _ = bound.descent(x_hat, NO_CODES, rngs())
    torch.testing.assert_close(total, weight * term(x_hat, NO_CODES))
    value = term.descended(x_hat, NO_CODES, rngs()) if views else term(x_hat, NO_CODES)
    torch.testing.assert_close(descended, weight * value)


def test_term_of_weight_zero_is_left_out_and_loads_nothing(loaded):
    settings = SMILE | SAID | {"mse_weight": 1.0, "classifier_weight": 0.0, "clip_weight": 0.0}
    objective = objective_from(settings)
    assert list(objective.terms) == ["mse"] and loaded == [] and objective.networks == ()


def test_a_network_of_two_terms_is_named_once(loaded):
    objective = objective_from(SMILE | SAID | {"classifier_network": "same", "clip_network": "same"})
    assert objective.networks == ("same",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classifier_weight": 1.0}, "classifier_weight needs classifier_wishes beside it; there is none"),
        ({"clip_weight": 1.0}, "clip_weight needs clip_prompt beside it; there is none"),
        ({"classifier_wishes": WISHES}, "classifier_wishes needs classifier_weight beside it; there is none"),
        ({"clip_prompt": PROMPT}, "clip_prompt needs clip_weight beside it; there is none"),
        (SMILE | {"classifier_weight": -1.0}, "classifier_weight must be at least 0; got -1"),
        (SMILE | {"classifier_wish": WISHES}, "a key of the objective must be one of .*; got 'classifier_wish'"),
        (SMILE | {"classifier_form": "hinge"}, "classifier_form must be one of"),
        (SMILE | {"classifier_wishes": "+Smile"}, "nearest: Smiling"),
        (SAID | {"clip_prompt": "a zebra"}, "it does not know zebra"),
        (SAID | {"clip_reads": "hole"}, "clip_reads must be one of"),
    ],
)
def test_bad_settings_are_refused(loaded, settings, message):
    with pytest.raises(InpaintError, match=message):
        objective_from(settings)
