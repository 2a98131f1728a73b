"""The latent search: it finds known codes, keeps items apart, and returns what it says."""

import dataclasses
import math

import pandas as pd
import pytest
import torch
from torch import Tensor

from inpaintlib.checks import InpaintError
from inpaintlib.codes import draw_classes
from inpaintlib.invert import SPACES, Inversion, Search, invert, mean_code, product, replay
from inpaintlib.losses import LPIPS_MODES, Objective, Weighted, lpips_term, masked_mse, mse_term
from inpaintlib.steering import classifier_term, clip_term
from inpaintlib.stylegan2 import Generator

from .tiny import pictures, square_hole, tiny_classifier, tiny_clip, tiny_generator, tiny_percept

EVERY_SPACE = pytest.mark.parametrize("space", SPACES)
F64 = torch.float64


def objective(dtype: torch.dtype = torch.float32, mode: str = "fill+features") -> Objective:
    lpips = lpips_term(tiny_percept(dtype=dtype), mode)
    return Objective({"mse": Weighted(1.0, mse_term()), "lpips": Weighted(0.5, lpips)})


def targets(g: Generator, n: int, *, apart: float = 0.5) -> Tensor:
    """Returns images of codes near the mean code, the second further from it than the first, and so on."""
    w = mean_code(g)
    offsets = torch.randn(n, 1, g.w_dim, generator=torch.Generator().manual_seed(0)).to(w)
    offsets = apart * offsets * torch.arange(1, n + 1).view(n, 1, 1)
    with torch.no_grad():
        return g.synthesis((w + offsets).repeat(1, g.num_ws, 1)).clamp(-1, 1)


def search_for(n: int = 2, *, dtype: torch.dtype = torch.float32, x: Tensor | None = None, mask: Tensor | None = None,
               mode: str = "fill+features", what: Objective | None = None, seeds=0, progress=None,
               **search) -> Inversion:  # fmt: skip
    """Runs a short search for ``n`` targets with the tiny networks; ``what`` stands in for the usual objective."""
    g = tiny_generator().to(dtype)
    x = targets(g, n) if x is None else x
    mask = square_hole(1, 16) if mask is None else mask
    return invert(g, x, mask, objective=what or objective(dtype, mode), search=Search(**{"steps": 6} | search),
                  seeds=seeds, progress=progress)  # fmt: skip


def assert_same(a: Inversion, b: Inversion) -> None:
    """Asserts that two records are equal, bit for bit."""
    for name in ("w", "z", "image", "composite", "loss"):
        ours, theirs = getattr(a, name), getattr(b, name)
        assert ours is theirs is None or torch.equal(ours, theirs), name
    pd.testing.assert_frame_equal(a.history, b.history, check_exact=True)


def value_at(record: Inversion, x: Tensor, mask: Tensor) -> Tensor:
    return objective(x.dtype).bind(x, mask)(replay(record), record.w)[0]


# It finds what is there -------------------------------------------------------------------------------


@pytest.mark.parametrize(("space", "falls_to", "hidden"), [("w", 0.05, 0.1), ("w+", 0.15, 0.7)])
def test_known_code_is_recovered_from_the_known_pixels(space, falls_to, hidden):
    g, mask = tiny_generator(), square_hole(1, 16)
    x = targets(g, 2)
    record = search_for(x=x, space=space, steps=60)
    first = record.history[record.history.step == 0].objective.to_numpy()
    assert (record.loss.numpy() < falls_to * first).all()
    # What was hidden is found too, the better the fewer numbers are searched for.
    start = g.synthesis(mean_code(g).expand(2, g.num_ws, -1))
    assert (masked_mse(record.image, x, 1.0 - mask) < hidden * masked_mse(start, x, 1.0 - mask)).all()


def test_search_of_z_lowers_the_objective():
    record = search_for(space="z", steps=25)
    first = record.history[record.history.step == 0].objective.to_numpy()
    assert (record.loss.numpy() < 0.7 * first).all() and record.z.shape == (2, 16)


def test_default_start_is_the_mean_code():
    g = tiny_generator()
    record = search_for(steps=1, learning_rate=1e-12)
    torch.testing.assert_close(record.w, mean_code(g).expand(2, g.num_ws, -1))


def test_mean_code_is_the_mean_of_ten_thousand_mapped_codes():
    g = tiny_generator()
    with torch.no_grad():
        codes = g.mapping(torch.randn(40_000, g.z_dim, generator=torch.Generator().manual_seed(5)))
    error = (mean_code(g) - codes.mean(dim=0)) / (codes.std(dim=0) / math.sqrt(10_000))
    assert error.abs().max() < 5.0 and torch.equal(mean_code(g), mean_code(g))


@EVERY_SPACE
def test_code_has_one_row_a_layer_and_they_differ_in_w_plus_only(space):
    record = search_for(space=space)
    alike = torch.equal(record.w, record.w[:, :1].expand_as(record.w))
    assert record.w.shape == (2, 6, 16) and alike == (space != "w+")
    assert (record.z is not None) == (space == "z")


# What the record says is so ---------------------------------------------------------------------------


@EVERY_SPACE
@pytest.mark.parametrize("noise", ["const", "none", "random"])
def test_replay_gives_the_image_bit_for_bit(space, noise):
    record = search_for(space=space, noise=noise, steps=3)
    assert torch.equal(replay(record), record.image)


@EVERY_SPACE
@pytest.mark.parametrize("learning_rate", [0.05, 3.0])
def test_loss_is_the_best_seen_and_the_objective_of_the_code(space, learning_rate):
    g, mask = tiny_generator(), square_hole(1, 16)
    x = targets(g, 2)
    record = search_for(x=x, space=space, learning_rate=learning_rate, noise="random", steps=12,
                        last_rate=1.0)  # fmt: skip
    assert record.loss.tolist() == record.history.groupby("item").objective.min().tolist()
    torch.testing.assert_close(value_at(record, x, mask), record.loss, rtol=1e-5, atol=1e-7)
    if learning_rate > 1.0 and space != "z":  # so high a rate overshoots: the last code is not the best one
        assert (record.history[record.history.step == 12].objective.to_numpy() > record.loss.numpy()).any()


def test_composite_keeps_the_known_pixels_bit_for_bit():
    x, mask = targets(tiny_generator(), 2), square_hole(2, 16)
    record = search_for(x=x, mask=mask)
    known = (mask == 0).expand_as(x)
    assert torch.equal(record.composite[known], x[known])
    assert torch.equal(record.composite[~known], record.image[~known])


def test_history_is_a_tidy_table():
    history = search_for(3, steps=4).history
    assert list(history.columns) == ["item", "step", "objective", "mse", "lpips", "best"]
    assert list(zip(history.item, history.step, strict=True)) == [(i, s) for i in range(3) for s in range(5)]
    assert history.notna().all(axis=None)
    assert (history.objective - (history.mse + 0.5 * history.lpips)).abs().max() < 1e-6
    assert history.best.equals(history.groupby("item").objective.cummin())


def test_progress_is_told_after_every_step():
    told = []
    record = search_for(steps=3, progress=lambda step, steps, loss: told.append((step, steps, loss)))
    assert [t[:2] for t in told] == [(1, 3), (2, 3), (3, 3)]
    by_step = record.history.pivot(index="step", columns="item", values="objective").to_numpy()
    torch.testing.assert_close(torch.stack([t[2] for t in told]).double(), torch.from_numpy(by_step[:3].copy()))


# What must not matter ---------------------------------------------------------------------------------


def assert_batch_equals_singles(n: int = 3, **search) -> list[Inversion]:
    """Asserts equality to 1e-9 in float64, where no rounding hides an influence; returns the single records."""
    x, mask = targets(tiny_generator().double(), n), torch.cat([square_hole(1, 16, side=4 + 2 * i) for i in range(n)])
    together = search_for(dtype=F64, x=x, mask=mask, seeds=[7, 1, 3], **search)
    singles = [
        search_for(dtype=F64, x=x[i : i + 1], mask=mask[i : i + 1], seeds=[seed], **search)
        for i, seed in enumerate([7, 1, 3])
    ]
    for i, single in enumerate(singles):
        for name in ("w", "image", "composite", "loss"):
            torch.testing.assert_close(getattr(together, name)[i], getattr(single, name)[0], rtol=1e-9, atol=1e-9)
        ours = together.history[together.history.item == i].best.to_numpy()[: len(single.history)]
        assert ours == pytest.approx(single.history.best.to_numpy(), rel=1e-9)
    return singles


@EVERY_SPACE
def test_batch_equals_singles(space):
    assert_batch_equals_singles(space=space, noise="random", start="random", steps=12)


@pytest.mark.parametrize("clip", [None, 1e-3])
def test_clipping_is_per_item(clip):
    # One step only: Adam hardly sees the size of a gradient, but the best code of two evaluations does.
    assert_batch_equals_singles(clip=clip, steps=4)


def test_gradients_beyond_the_limit_are_cut_to_it():
    class Stop(Exception):
        pass

    slope = torch.tensor([0.5, 40.0]).view(2, 1, 1)
    term = lambda target, mask: lambda x_hat, ws: (ws * slope).sum(dim=(1, 2))  # noqa: E731
    g = tiny_generator()
    seen = []
    optimiser_step = torch.optim.Adam.step

    def spy(self, *args, **kwargs):
        seen.append(self.param_groups[0]["params"][0].grad.clone())
        return optimiser_step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", spy)
        invert(g, targets(g, 2), square_hole(1, 16), objective=Objective({"slope": Weighted(1.0, term)}),
               search=Search(space="w+", steps=1, clip=6.0))  # fmt: skip
    (gradient,) = seen
    # Norms without clipping: 0.5 sqrt(6 * 16) = 4.9 and 392.
    assert gradient[0].norm().item() == pytest.approx(0.5 * math.sqrt(96), rel=1e-5)
    assert gradient[1].norm().item() == pytest.approx(6.0, rel=1e-5)


def test_item_stops_by_its_own_patience_whatever_its_neighbours_do():
    singles = assert_batch_equals_singles(steps=40, patience=2, tolerance=0.08, learning_rate=0.3, last_rate=1.0)
    lengths = {len(single.history) for single in singles}
    assert len(lengths) > 1 and max(lengths) < 40 and {s.stopped for s in singles} == {"flat"}


def test_item_that_stopped_stays_out_even_if_it_would_improve_again():
    script = iter(torch.tensor([[4.0, 4.0], [3.0, 3.9], [3.0, 3.8], [3.0, 3.7], [1.0, 3.6], [0.5, 3.5], [0.4, 3.5]]))
    term = lambda target, mask: lambda x_hat, ws: next(script) + 0.0 * ws.sum(dim=(1, 2))  # noqa: E731
    x = targets(tiny_generator(), 2)
    record = invert(tiny_generator(), x, square_hole(1, 16), objective=Objective({"script": Weighted(1.0, term)}),
                    search=Search(steps=6, patience=2, tolerance=0.01))  # fmt: skip
    assert record.loss.tolist() == [3.0, 3.5] and record.stopped == "finished"
    assert record.history[record.history.item == 0].best.tolist() == [4.0] + [3.0] * 6


def test_two_runs_are_bit_identical():
    run = lambda: search_for(space="z", noise="random", patience=5)  # noqa: E731
    assert_same(run(), run())


def test_search_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    search_for(space="z", noise="random", steps=1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("mode", LPIPS_MODES)
def test_target_in_the_hole_has_no_influence(mode):
    g, mask = tiny_generator(), square_hole(1, 16)
    x = targets(g, 2)
    other = torch.where(mask == 1, pictures(2, 16), x)
    records = [search_for(x=target, mode=mode, patience=3) for target in (x, other)]
    assert_same(*records)


@pytest.mark.parametrize("type_", [torch.float64, torch.bool, torch.uint8])
def test_type_of_the_mask_does_not_matter(type_):
    assert_same(search_for(mask=square_hole(1, 16).to(type_), steps=2), search_for(steps=2))


def test_start_and_noise_depend_on_the_items_seed_only():
    runs = {seeds: search_for(len(seeds), seeds=list(seeds), space="z", noise="random", steps=1, learning_rate=1e-12)
            for seeds in ((5, 6, 7), (7,), (6, 5))}  # fmt: skip
    z = {(seeds, s): r.z[i] for seeds, r in runs.items() for i, s in enumerate(seeds)}
    noise = {(seeds, s): r.noise[-1][i] for seeds, r in runs.items() for i, s in enumerate(seeds)}
    for drawn in (z, noise):
        assert torch.equal(drawn[(5, 6, 7), 7], drawn[(7,), 7])
        assert torch.equal(drawn[(5, 6, 7), 6], drawn[(6, 5), 6])
        assert not torch.equal(drawn[(5, 6, 7), 5], drawn[(5, 6, 7), 6])


def test_one_seed_counts_up_over_the_items():
    assert search_for(3, seeds=4, steps=1).seeds == [4, 5, 6]
    assert_same(search_for(2, seeds=4, space="z", steps=1), search_for(2, seeds=[4, 5], space="z", steps=1))


def test_random_start_in_w_is_the_mapped_code_of_the_seed():
    g = tiny_generator()
    record = search_for(1, seeds=[3], space="w", start="random", steps=1, learning_rate=1e-12)
    z = torch.randn(1, 16, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(record.w, g.map(z))


def test_item_whose_objective_is_never_finite_is_named_and_harms_no_other():
    x = targets(tiny_generator(), 2)
    bad = torch.tensor([math.nan, 0.0])
    broken = lambda target, mask: lambda x_hat, ws: mse_term()(target, mask)(x_hat, ws) + bad  # noqa: E731
    losses = []
    with pytest.raises(InpaintError, match=r"the objective of item 0 was never finite; lower learning_rate \(0.1\)"):
        invert(tiny_generator(), x, square_hole(1, 16), objective=Objective({"mse": Weighted(1.0, broken)}),
               search=Search(steps=4), progress=lambda step, steps, loss: losses.append(loss))  # fmt: skip
    alone = invert(tiny_generator(), x[1:], square_hole(1, 16), objective=Objective({"mse": Weighted(1.0, mse_term())}),
                   search=Search(steps=4))  # fmt: skip
    expected = torch.from_numpy(alone.history.objective.to_numpy()[:4].copy()).float()
    torch.testing.assert_close(torch.stack(losses)[:, 1], expected, rtol=1e-4, atol=1e-6)


# How it ends ------------------------------------------------------------------------------------------


def test_interrupt_returns_the_best_so_far():
    def stop(step: int, steps: int, loss: Tensor) -> None:
        if step == 3:
            raise KeyboardInterrupt

    record, whole = search_for(progress=stop, steps=8), search_for(steps=8)
    assert record.stopped == "interrupted" and record.history.step.max() == 2
    expected = whole.history[whole.history.step < 3].reset_index(drop=True)
    pd.testing.assert_frame_equal(record.history, expected, check_exact=True)
    assert torch.equal(replay(record), record.image)
    assert record.loss.tolist() == expected.groupby("item").objective.min().tolist()


def test_patience_ends_a_flat_search_and_is_off_by_default():
    flat = search_for(steps=30, patience=3, tolerance=0.9)
    assert flat.stopped == "flat" and flat.history.step.max() < 29
    whole = search_for(steps=30)
    assert whole.stopped == "finished" and whole.history.step.max() == 30


def test_rate_falls_exponentially_to_its_last_value():
    rates = []
    optimiser_step = torch.optim.Adam.step

    def spy(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return optimiser_step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", spy)
        search_for(steps=5, learning_rate=0.2, last_rate=0.1)
    assert rates == pytest.approx([0.2 * 0.1 ** (i / 4) for i in range(5)])
    assert Search(steps=1).gamma > 0


def test_weights_get_no_gradient_and_stay_as_they_are():
    g, percept = tiny_generator(), tiny_percept()
    before = {key: value.clone() for key, value in g.state_dict().items()}
    terms = {"lpips": Weighted(1.0, lpips_term(percept))}
    invert(g, targets(g, 1), square_hole(1, 16), objective=Objective(terms), search=Search(space="z", steps=2))
    assert all(p.grad is None for p in [*g.parameters(), *percept.taps.parameters()])
    assert all(torch.equal(value, before[key]) for key, value in g.state_dict().items())


# Two phases -------------------------------------------------------------------------------------------

FIT = 4


def steered(dtype: torch.dtype = torch.float32, *, views: int = 0, weight: float = 0.5) -> Objective:
    """Returns masked MSE and two terms that steer."""
    smile = classifier_term(tiny_classifier(dtype=dtype), "+Smiling,-Young", views=views)
    prompt = clip_term(tiny_clip(dtype=dtype), "a smiling woman", views=views)
    return Objective({
        "mse": Weighted(1.0, mse_term()),
        "classifier": Weighted(weight, smile, steers=True),
        "clip": Weighted(weight, prompt, steers=True),
    })  # fmt: skip


def two_phases(*, views: int = 0, weight: float = 0.5, **search) -> Inversion:
    return search_for(what=steered(views=views, weight=weight), **{"fit_steps": FIT, "steps": 8} | search)


def first_phase(**options) -> Inversion:
    """Returns what a search in two phases has found when the second begins."""

    def stop(step: int, steps: int, loss: Tensor) -> None:
        if step == FIT:
            raise KeyboardInterrupt

    return two_phases(progress=stop, **options)


@pytest.mark.parametrize("views", [0, 2])
def test_first_phase_is_a_search_without_the_terms_that_steer(views):
    plain = search_for(what=Objective({"mse": Weighted(1.0, mse_term())}), steps=8, noise="random")
    record = two_phases(views=views, noise="random")
    columns = ["item", "step", "objective", "mse", "best"]
    ours, theirs = (h[h.step < FIT][columns].reset_index(drop=True) for h in (record.history, plain.history))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    resting = record.history.step < FIT
    for name in ("classifier", "clip"):
        assert record.history[name].isna().equals(resting)


def test_second_phase_begins_at_the_best_code_of_the_first():
    # So high a rate overshoots: the last code of the first phase is not its best one.
    record = two_phases(learning_rate=1.0)
    fitted = record.history[record.history.step < FIT].groupby("item").mse
    begun = record.history[record.history.step == FIT].mse.to_numpy()
    assert begun == pytest.approx(fitted.min().to_numpy(), rel=1e-5)
    assert (fitted.idxmin() != fitted.apply(lambda mse: mse.index[-1])).any()


def test_best_begins_anew_in_the_second_phase():
    record = two_phases(weight=2.0)
    second = record.history[record.history.step >= FIT]
    values = second.mse + 2.0 * (second["classifier"] + second["clip"])
    assert second.objective.to_numpy() == pytest.approx(values.to_numpy(), rel=1e-5)
    assert second.best.equals(second.groupby("item").objective.cummin())
    begun, fitted = (record.history[record.history.step == s].best.to_numpy() for s in (FIT, FIT - 1))
    assert (begun > fitted).any() and record.loss.tolist() == second.groupby("item").objective.min().tolist()


def test_adam_begins_anew_and_its_rate_goes_on_falling():
    seen = []
    optimiser_step = torch.optim.Adam.step

    def spy(self, *args, **kwargs):
        (variable,) = self.param_groups[0]["params"]
        steps = self.state[variable]["step"].item() if variable in self.state else 0
        seen.append((steps, self.param_groups[0]["lr"]))
        return optimiser_step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", spy)
        two_phases(steps=7, learning_rate=0.2, last_rate=0.1)
    assert [steps for steps, _ in seen] == [0, 1, 2, 3, 0, 1, 2]
    assert [rate for _, rate in seen] == pytest.approx([0.2 * 0.1 ** (i / 6) for i in range(7)])


def test_terms_that_steer_lower_their_values_in_the_second_phase():
    record = two_phases(steps=25)
    begun, ended = (record.history[record.history.step == s] for s in (FIT, 25))
    assert (ended.objective.to_numpy() < begun.objective.to_numpy() - 0.01).all()
    steering = lambda rows: (rows["classifier"] + rows["clip"]).to_numpy()  # noqa: E731
    assert (steering(ended) < steering(begun) - 0.01).all()


@pytest.mark.parametrize("space", ["z", "w+"])
def test_staying_draws_the_code_to_that_of_the_first_phase(space):
    start = first_phase(space=space).w
    runs = [two_phases(space=space, stay_weight=weight) for weight in (1e-9, 1.0, 100.0)]
    distances = [(record.w - start).square().mean().item() for record in runs]
    assert distances[0] > 1.5 * distances[1] > 3.0 * distances[2]
    for record, weight in zip(runs, (1e-9, 1.0, 100.0), strict=True):
        first, second = (record.history[rows] for rows in (record.history.step < FIT, record.history.step >= FIT))
        assert list(record.history.columns)[-2:] == ["stay", "best"]
        assert first.stay.isna().all() and (second[second.step == FIT].stay == 0.0).all()
        values = second.mse + 0.5 * (second["classifier"] + second["clip"]) + weight * second.stay
        assert second.objective.to_numpy() == pytest.approx(values.to_numpy(), rel=1e-5)
        last = second.loc[second.groupby("item").objective.idxmin()].stay.to_numpy()
        assert last == pytest.approx((record.w - start).square().mean(dim=(1, 2)).numpy(), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("layers", [(0,), (1, 4), tuple(range(6))])
def test_frozen_layers_keep_the_code_of_the_first_phase_bit_for_bit(layers):
    start, record = first_phase().w, two_phases(frozen_layers=layers)
    free = [layer for layer in range(6) if layer not in layers]
    assert torch.equal(record.w[:, list(layers)], start[:, list(layers)])
    assert all((record.w[:, layer] != start[:, layer]).any() for layer in free)


def test_first_phase_moves_the_layers_that_freeze_later():
    g = tiny_generator()
    start = mean_code(g).expand(2, g.num_ws, -1)
    assert not torch.allclose(two_phases(frozen_layers=[0, 1]).w[:, :2], start[:, :2], atol=0.01)


@pytest.mark.parametrize(
    "search",
    [
        {"space": "w+", "noise": "random", "stay_weight": 0.5},
        {"space": "w+", "frozen_layers": (0, 3), "patience": 2, "tolerance": 0.02},
        {"space": "w", "start": "random"},
        {"space": "z", "noise": "random"},
    ],
)
def test_batch_equals_singles_in_two_phases_with_views(search):
    assert_batch_equals_singles(what=steered(F64, views=2), steps=8, fit_steps=3, **search)


@pytest.mark.parametrize("fit_steps", [0, FIT])
def test_best_code_is_scored_without_views(fit_steps):
    g, mask, what = tiny_generator(), square_hole(1, 16), steered(views=2)
    x = targets(g, 2)
    record = search_for(x=x, mask=mask, what=what, fit_steps=fit_steps, steps=8)
    value, parts = what.bind(x, mask)(record.image, record.w)
    torch.testing.assert_close(value, record.loss, rtol=1e-5, atol=1e-6)
    best = record.history.loc[record.history[record.history.step >= fit_steps].groupby("item").objective.idxmin()]
    for name, part in parts.items():
        assert best[name].to_numpy() == pytest.approx(part.numpy(), rel=1e-4)


def test_views_lead_elsewhere_and_every_run_to_the_same_place():
    one, other, without = (two_phases(views=views) for views in (2, 2, 0))
    assert_same(one, other)
    assert not torch.allclose(one.w, without.w)


def test_interrupt_in_the_second_phase_keeps_its_best():
    def stop(step: int, steps: int, loss: Tensor) -> None:
        if step == FIT + 2:
            raise KeyboardInterrupt

    record, whole = two_phases(progress=stop), two_phases()
    assert record.stopped == "interrupted" and record.history.step.max() == FIT + 1
    expected = whole.history[whole.history.step < FIT + 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(record.history, expected, check_exact=True)
    assert record.loss.tolist() == expected[expected.step >= FIT].groupby("item").objective.min().tolist()
    assert torch.equal(replay(record), record.image)


def test_interrupt_before_the_second_phase_is_evaluated_keeps_the_first_result():
    def interrupted(target: Tensor, mask: Tensor):
        def stop(x_hat: Tensor, ws: Tensor) -> Tensor:
            raise KeyboardInterrupt

        return stop

    what = Objective({"mse": Weighted(1.0, mse_term()), "stop": Weighted(1.0, interrupted, steers=True)})
    record, fitted = search_for(what=what, fit_steps=FIT, steps=8), first_phase()
    assert record.stopped == "interrupted" and record.history.step.max() == FIT - 1
    assert torch.equal(record.w, fitted.w) and torch.equal(record.loss, fitted.loss)


def test_patience_ends_the_second_phase_only():
    record = two_phases(steps=30, patience=1, tolerance=0.9)
    assert record.stopped == "flat" and FIT < record.history.step.max() < 10


def test_second_phase_recovers_from_a_first_that_left_the_numbers():
    record = two_phases(learning_rate=1e30, last_rate=1e-30, steps=FIT + 1)
    assert record.history[record.history.step == FIT - 1].objective.isna().any()
    assert record.history[record.history.step == FIT].objective.notna().all()
    assert record.image.isfinite().all()


def test_first_phase_that_is_never_finite_is_refused():
    bad = lambda target, mask: lambda x_hat, ws: x_hat.mean(dim=(1, 2, 3)) * math.nan  # noqa: E731
    what = Objective({"bad": Weighted(1.0, bad), "clip": steered().terms["clip"]})
    with pytest.raises(InpaintError, match="the objective of item 0 was never finite"):
        search_for(what=what, fit_steps=FIT, steps=10)


def test_first_phase_with_nothing_to_fit_is_refused():
    what = Objective({"clip": steered().terms["clip"]})
    with pytest.raises(InpaintError, match="it has no gradient while the known pixels are fitted"):
        search_for(what=what, fit_steps=1)


def test_frozen_layer_that_the_generator_lacks_is_refused():
    with pytest.raises(InpaintError, match=r"frozen_layers must be below 6, the generator's layers; got \(1, 6\)"):
        search_for(fit_steps=1, frozen_layers=[1, 6])


# Class-conditional generators -------------------------------------------------------------------------


def conditional_search(c: Tensor | None, **search) -> Inversion:
    g = tiny_generator(c_dim=3)
    return invert(g, targets(tiny_generator(), 2), square_hole(1, 16), objective=objective(), c=c,
                  search=Search(**{"steps": 2} | search))  # fmt: skip


@pytest.mark.parametrize("search", [{"space": "z"}, {"space": "w", "start": "random"}])
def test_class_is_used_where_z_is_mapped(search):
    classes = torch.eye(3)
    one, other = conditional_search(classes[[0, 1]], **search), conditional_search(classes[[0, 2]].long(), **search)
    torch.testing.assert_close(one.w[0], other.w[0])
    assert not torch.allclose(one.w[1], other.w[1])
    if search["space"] == "z":
        torch.testing.assert_close(one.w, tiny_generator(c_dim=3).map(one.z, classes[[0, 1]]))


@pytest.mark.parametrize("search", [{"space": "z"}, {"start": "random"}, {"start": "best", "candidates": 1}])
def test_without_classes_each_item_draws_its_own_first(search):
    """What is drawn after the class is the same if the class is given, so that a search can be done again with it."""
    drawn = draw_classes(tiny_generator(c_dim=3), [torch.Generator().manual_seed(s) for s in (0, 1)])
    free, told = conditional_search(None, **search), conditional_search(drawn, **search)
    assert torch.equal(free.w, told.w)
    other = conditional_search(drawn.roll(1, dims=1), **search)
    assert not torch.allclose(free.w, other.w)


def test_conditional_generator_starts_at_the_mean_over_classes():
    g = tiny_generator(c_dim=3)
    record = conditional_search(None, steps=1, learning_rate=1e-12)
    torch.testing.assert_close(record.w, mean_code(g).expand(2, g.num_ws, -1))


@pytest.mark.parametrize(
    ("c", "search", "message"),
    [
        (torch.eye(3)[:1], {"space": "z"}, r"c must have shape \(2, 3\), one-hot; got \(1, 3\)"),
        (torch.eye(4)[:2], {"start": "random"}, r"c must have shape \(2, 3\), one-hot; got \(2, 4\)"),
        (torch.eye(3)[:2], {}, r"c must be None where no class is mapped; got \(2, 3\)"),
    ],
)
def test_wrong_classes_are_refused(c, search, message):
    with pytest.raises(InpaintError, match=message):
        conditional_search(c, **search)


# Bad input --------------------------------------------------------------------------------------------


def with_value(value: float) -> Tensor:
    x = torch.zeros(1, 3, 16, 16)
    x[0, 0, 8, 8] = value
    return x


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(1, 3, 32, 32), "image must be 16 x 16 pixels, the model's resolution; got 32 x 32"),
        (torch.zeros(1, 3, 16, 8), "image must be 16 x 16 pixels, the model's resolution; got 8 x 16"),
        (torch.zeros(3, 16, 16), r"image must have shape \(N, 3, H, W\)"),
        (torch.zeros(1, 1, 16, 16), r"image must have shape \(N, 3, H, W\)"),
        (torch.zeros(0, 3, 16, 16), r"image must have shape \(N, 3, H, W\)"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "image must be a floating-point tensor"),
        (with_value(255.0), r"image must lie in \[-1, 1\]; got values from 0 to 255"),
        (with_value(math.nan), "image must be finite; 1 of its 768 values"),
        (with_value(math.inf), "image must be finite"),
    ],
)
def test_wrong_image_is_refused(x, message):
    with pytest.raises(InpaintError, match=message):
        search_for(x=x)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (square_hole(3, 16), r"mask must fit the image's \(2, 3, 16, 16\); got \(3, 1, 16, 16\)"),
        (square_hole(1, 8), r"mask must fit the image's \(2, 3, 16, 16\); got \(1, 1, 8, 8\)"),
        (square_hole(1, 16)[0], r"mask must have shape \(N, 1, H, W\)"),
        (0.5 * square_hole(1, 16), "mask must hold only 0"),
        (math.nan * square_hole(1, 16), "mask must hold only 0"),
        (torch.zeros(1, 1, 16, 16), "mask has no hole in item 0"),
        (torch.cat([square_hole(1, 16), torch.ones(1, 1, 16, 16)]), "mask hides every pixel of item 1"),
    ],
)
def test_wrong_mask_is_refused(mask, message):
    with pytest.raises(InpaintError, match=message):
        search_for(mask=mask)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"space": "w++"}, r"space must be one of z, w, w\+; got 'w\+\+'"),
        ({"start": "zero"}, "start must be one of w_avg, random, best; got 'zero'"),
        ({"noise": "fixed"}, "noise must be one of const, none, random, optimised; got 'fixed'"),
        ({"steps": 0}, "steps must be at least 1; got 0"),
        ({"steps": 1.5}, "steps must be a whole number"),
        ({"steps": math.nan}, "steps must be a whole number"),
        ({"learning_rate": math.nan}, "learning_rate must be above 0; got nan"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0; got 0"),
        ({"learning_rate": -0.1}, "learning_rate must be above 0; got -0.1"),
        ({"learning_rate": "1e-2"}, "learning_rate must be a number"),
        ({"last_rate": 0.0}, "last_rate must be above 0 and at most 1"),
        ({"last_rate": 1.1}, "last_rate must be above 0 and at most 1"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"clip": math.inf}, "clip must be above 0"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"tolerance": -0.1}, "tolerance must be at least 0"),
        ({"fit_steps": 200}, "fit_steps must be between 0 and 199; got 200"),
        ({"fit_steps": -1}, "fit_steps must be between 0 and 199; got -1"),
        ({"fit_steps": 0.5}, "fit_steps must be a whole number"),
        ({"fit_steps": 1, "stay_weight": -0.1}, "stay_weight must be at least 0; got -0.1"),
        ({"stay_weight": 0.1}, "stay_weight and frozen_layers are of the second phase; fit_steps must be at least 1"),
        ({"frozen_layers": (0,)}, "stay_weight and frozen_layers are of the second phase"),
        ({"fit_steps": 1, "frozen_layers": (0,), "space": "w"}, r"frozen_layers need space 'w\+', .*; got space 'w'"),
        ({"fit_steps": 1, "frozen_layers": (0,), "space": "z"}, "got space 'z'"),
        ({"fit_steps": 1, "frozen_layers": (-1,)}, "each of frozen_layers must be at least 0; got -1"),
        ({"fit_steps": 1, "frozen_layers": (0.5,)}, "each of frozen_layers must be a whole number"),
    ],
)
def test_wrong_settings_are_refused(setting, message):
    with pytest.raises(InpaintError, match=message):
        Search(**setting)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([0], "seeds must be one whole number or one for each of the 2 items; got 1"),
        (range(3), "seeds must be one whole number or one for each of the 2 items; got 3"),
        ([0, 1.5], "each of seeds must be a whole number"),
        ([0, -1], "each of seeds must be between 0 and"),
        (-1, "seeds must be at least 0; got -1"),
        (0.5, "seeds must be a whole number"),
        (None, "seeds must be a whole number"),
    ],
)
def test_wrong_seeds_are_refused(seeds, message):
    with pytest.raises(InpaintError, match=message):
        search_for(seeds=seeds)


def test_generator_that_is_not_frozen_is_refused():
    g = tiny_generator().requires_grad_(True)
    with pytest.raises(InpaintError, match=r"generator must be frozen; call generator.eval\(\)"):
        invert(g, targets(g, 1), square_hole(1, 16), objective=objective())


def test_settings_cannot_be_changed_behind_a_record():
    with pytest.raises(dataclasses.FrozenInstanceError):
        search_for(steps=1).search.steps = 3


# Images x masks x seeds -------------------------------------------------------------------------------


def test_product_is_every_image_under_every_mask_with_every_seed():
    images, masks = pictures(2, 8), torch.cat([square_hole(1, 8, side=s) for s in (2, 4, 6)])
    x, m, seeds, table = product(images, masks, [10, 20])
    rows = [(i, j, s) for i in range(2) for j in range(3) for s in (10, 20)]
    assert list(table.columns) == ["item", "image", "mask", "seed"] and list(table["item"]) == list(range(12))
    assert list(zip(table["image"], table["mask"], table["seed"], strict=True)) == rows
    assert seeds == [s for _, _, s in rows]
    for k, (i, j, _) in enumerate(rows):
        assert torch.equal(x[k], images[i]) and torch.equal(m[k], masks[j])


def test_product_can_be_searched():
    x, mask, seeds, _ = product(targets(tiny_generator(), 2), square_hole(1, 16), range(2))
    record = search_for(x=x, mask=mask, seeds=seeds, space="z", steps=1)
    assert record.seeds == [0, 1, 0, 1] and len(record.w) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"search": {"steps": 3}}, "search must be a Search; got a dict"),
        ({"objective": lambda image, ws: 0}, "objective must be a Objective; got a function"),
        ({"generator": "faces64"}, "generator must be a Generator; got a str"),
    ],
)
def test_arguments_of_a_wrong_kind_are_named(change, message):
    arguments = {"generator": tiny_generator(), "image": pictures(1, 16), "mask": square_hole(1, 16)} | change
    with pytest.raises(InpaintError, match=message):
        invert(**arguments)


def test_a_search_that_leaves_the_numbers_says_so_and_keeps_what_it_had():
    objective = Objective({"mse": Weighted(1.0, mse_term())})
    arguments = {"objective": objective, "search": Search(steps=3, learning_rate=1e30)}
    record = invert(tiny_generator(), pictures(1, 16), square_hole(1, 16), **arguments)
    assert record.stopped == "diverged"
    assert record.image.isfinite().all() and record.loss.isfinite().all()
