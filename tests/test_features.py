"""Feature networks and LPIPS: against the ``lpips`` package, against literal loops, and at their limits."""

import json
import math
import os
from pathlib import Path

import lpips as package
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from inpaintlib import weights
from inpaintlib.checks import InpaintError
from inpaintlib.features import (
    SHIPPED,
    Percept,
    PlainBackbone,
    ResidualBackbone,
    from_lpips,
    layer_masks,
    load_percept,
    lpips,
)

from .tiny import frozen, pictures, seeded, tiny_percept

# The lpips package builds torchvision's networks with an argument that torchvision has renamed.
old_argument = [
    pytest.mark.filterwarnings("ignore:The parameter 'pretrained' is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:Arguments other than a weight enum:UserWarning"),
]


def identity(x: torch.Tensor) -> list[torch.Tensor]:
    return [x]


# Against the lpips package ----------------------------------------------------------------------------


class TestAgainstThePackage:
    pytestmark = old_argument

    @pytest.mark.parametrize(
        ("net", "calibrated"), [("alex", True), ("alex", False), ("squeeze", True), ("squeeze", False), ("vgg", True)]
    )
    def test_value_is_the_packages_on_the_same_backbone(self, net, calibrated):
        model = seeded(lambda: package.LPIPS(net=net, pnet_rand=True, lpips=calibrated, verbose=False))
        percept = from_lpips(f"lpips-{net}", model)
        assert (percept.layer_weights is not None) == calibrated
        a = pictures(3, 64, seed=1)
        b = torch.stack([*pictures(2, 64, seed=2), -a[2]])
        expected = model(a, b).flatten()
        assert (expected > 0).all()
        torch.testing.assert_close(lpips(percept, a, b), expected, rtol=1e-5, atol=0)
        everywhere = torch.ones(1, 1, 64, 64)
        torch.testing.assert_close(lpips(percept, a, b, everywhere), expected, rtol=1e-5, atol=0)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty folder of fetched weights, on a machine where nothing may be downloaded."""

    def fetch(url: str, **options):
        raise AssertionError("nobody asked for a download")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    monkeypatch.setenv("INPAINTLIB_ZOO", str(tmp_path))
    return tmp_path


@old_argument[0]
@old_argument[1]
@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_fetched_weights_give_the_packages_values(net, place):
    model = seeded(lambda: package.LPIPS(net=net, pnet_rand=True, verbose=False))
    state = {f"features.{key.partition('.')[2]}": x for key, x in model.net.state_dict().items()}
    save_file(state, place / f"lpips-{net}.safetensors")
    before = torch.get_rng_state()
    percept = load_percept(f"lpips-{net}")
    assert torch.equal(torch.get_rng_state(), before)
    a, b = pictures(2, 64, seed=1), pictures(2, 64, seed=2)
    torch.testing.assert_close(lpips(percept, a, b), model(a, b).flatten(), rtol=1e-5, atol=0)
    assert not lpips(percept, a, b).requires_grad and lpips(percept, a.requires_grad_(), b).requires_grad
    assert weights.checksums(f"lpips-{net}")[f"lpips-{net}"].startswith("sha256:")


@pytest.mark.parametrize("name", ["lpips-alex", "lpips-squeeze"])
def test_package_without_weights_gives_one_sentence_and_fetches_nothing(name, place):
    with pytest.raises(
        InpaintError, match=f"{name} is not on this machine.*inpaintlib fetch {name}.*{place}"
    ) as caught:
        load_percept(name)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(place):
    save_file({"features.0.weight": torch.ones(1)}, place / "lpips-squeeze.safetensors")
    with pytest.raises(InpaintError, match="lpips-squeeze must hold the weights of torchvision's network"):
        load_percept("lpips-squeeze")


def test_a_pickle_of_the_packages_name_is_never_loaded(place, tmp_path, monkeypatch):
    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'canary'}",)

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save({"x": Payload()}, tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth")
    with pytest.raises(InpaintError, match="is not on this machine"):
        load_percept("lpips-squeeze")
    assert not (tmp_path / "canary").exists()


# Shipped networks -------------------------------------------------------------------------------------

SMALL = {"percept-guide": lambda: PlainBackbone((4, 6), (1, 2)), "percept-judge": lambda: ResidualBackbone((4, 6))}


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder of shipped models with a small guide and a small judge."""
    monkeypatch.setattr(weights, "MODELS", tmp_path)
    for i, (name, build) in enumerate(SMALL.items()):
        weights.save_weights(tmp_path / f"{name}.safetensors", seeded(build, i), dtype=torch.float32)
    sums = {name: weights.checksum(tmp_path / f"{name}.safetensors") for name in SMALL}
    (tmp_path / "checksums.json").write_text(json.dumps(sums))


@pytest.mark.parametrize("name", SMALL)
def test_shipped_network_comes_back_frozen_and_uncalibrated(models, name):
    percept, x = load_percept(name), pictures(2, 16)
    assert percept.name == name and percept.layer_weights is None
    assert not any(p.requires_grad for p in percept.taps.parameters())
    original = seeded(SMALL[name], list(SMALL).index(name))
    for ours, theirs in zip(percept.taps(x), original(x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SHIPPED)
def test_network_in_the_package_tells_images_apart(name):
    percept = load_percept(name)
    smooth = F.interpolate(pictures(2, 4), 64, mode="bilinear")
    near, far = lpips(percept, smooth, 0.95 * smooth), lpips(percept, smooth, pictures(2, 64, seed=1))
    assert (near > 0).all() and (near < far).all()


@pytest.mark.parametrize("name", ["percept", "lpips-resnet", "alex", ""])
def test_unknown_network_is_refused(name):
    with pytest.raises(InpaintError, match="percept must be one of percept-guide, percept-judge, lpips-alex"):
        load_percept(name)


def test_plain_backbone_is_what_its_docstring_says():
    body, x = frozen(seeded(lambda: PlainBackbone((4, 6), (1, 2)))), pictures(2, 16)
    (conv,), (conv0, conv1) = body.stages
    first = conv(x).clamp_min(0)
    second = conv1(conv0(F.max_pool2d(first, 2)).clamp_min(0)).clamp_min(0)
    taps = body(x)
    assert len(taps) == 2 and torch.equal(taps[0], first) and torch.equal(taps[1], second)


def test_residual_backbone_halves_the_resolution_and_adds_its_shortcut():
    body, x = frozen(seeded(lambda: ResidualBackbone((4, 6, 8)))), pictures(2, 16)
    assert [tuple(f.shape) for f in body(x)] == [(2, 4, 16, 16), (2, 6, 8, 8), (2, 8, 4, 4)]
    block = body.blocks[0]
    for conv in (block.conv0, block.conv1):
        conv.weight.data.zero_(), conv.bias.data.zero_()
    first, second, _ = body(x)
    torch.testing.assert_close(second, F.silu(block.shortcut(F.avg_pool2d(first, 2))))


# Large images -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "small"),
    [((256, 256), (256, 256)), ((512, 512), (256, 256)), ((1024, 64), (256, 16)), ((300, 259), (150, 130))],
)
def test_a_network_sees_256_px_at_most(size, small):
    shapes = []
    seen = Percept("spy", lambda x: shapes.append(tuple(x.shape[2:])) or [x]).taps
    x = pictures(1, 1024)[..., : size[0], : size[1]]
    (shown,) = seen(x)
    assert shapes == [small]
    if size == (512, 512):
        torch.testing.assert_close(shown, x.unflatten(3, (256, 2)).unflatten(2, (256, 2)).mean(dim=(3, 5)))
    elif size == small:
        assert shown is x
    else:
        torch.testing.assert_close(shown.mean(), x.mean(), atol=2e-3, rtol=0)


def test_lpips_of_large_images_is_that_of_their_averages():
    percept, (a, b) = tiny_percept(), pictures(2, 512)[:, None]
    weight = torch.zeros(1, 1, 512, 512)
    weight[..., 100:301, 37:402] = 1.0  # on no grid
    down = lambda x: F.avg_pool2d(x, 2)  # noqa: E731
    torch.testing.assert_close(lpips(percept, a, b, weight), lpips(percept, down(a), down(b), down(weight)))


# LPIPS by itself --------------------------------------------------------------------------------------


def test_lpips_equals_the_formula_in_loops():
    taps = [torch.randn(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    taps[1] = taps[1][..., :2, :2]
    v = [torch.tensor([0.0, 0.5, 2.0]).view(1, 3, 1, 1), torch.tensor([1.0, 0.25, 3.0]).view(1, 3, 1, 1)]
    percept = Percept("loops", lambda which: [t[int(which)] for t in taps], layer_weights=v)
    expected = [0.0, 0.0]
    for item in range(2):
        for t, weights_l in zip(taps, v, strict=True):
            height, width = t.shape[-2:]
            for y in range(height):
                for x in range(width):
                    f, g = (t[side, item, :, y, x].double() for side in (0, 1))
                    f, g = f / f.norm(), g / g.norm()
                    for c in range(3):
                        expected[item] += float(weights_l[0, c, 0, 0] * (f[c] - g[c]) ** 2) / (height * width)
    which = torch.arange(2.0).view(2, 1, 1, 1, 1)
    assert lpips(percept, *which).tolist() == pytest.approx(expected, rel=1e-5)


def test_lpips_of_equal_images_is_zero_and_of_swapped_ones_the_same():
    percept, a, b = tiny_percept(), pictures(2, 16), pictures(2, 16, seed=1)
    assert (lpips(percept, a, a) == 0).all()
    torch.testing.assert_close(lpips(percept, a, b), lpips(percept, b, a))


def features(seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)


LAYER_WEIGHTS = [None, torch.tensor([0.0, 0.5, 1.0, 3.0], dtype=torch.float64).view(1, 4, 1, 1)]


@pytest.mark.parametrize("v", LAYER_WEIGHTS, ids=["uniform", "fitted"])
def test_gradients_of_the_distance_equal_finite_differences(v):
    percept = Percept("", None, layer_weights=None if v is None else [v])
    distance = lambda f, g: percept.distances([f], [g])[0]  # noqa: E731
    f, g = features(0).requires_grad_(), features(1).requires_grad_()
    assert torch.autograd.gradcheck(distance, (f, g))
    assert torch.autograd.gradcheck(lambda f: distance(f, g.detach()), f)


@pytest.mark.parametrize("v", LAYER_WEIGHTS, ids=["uniform", "fitted"])
@pytest.mark.parametrize("apart", [1.0, 0.1, 0.01])
def test_distance_of_near_features_is_exact_in_float32(v, apart):
    f, g = features(0, torch.float32), features(0, torch.float32) + apart * features(1, torch.float32)
    percept = Percept("", None, layer_weights=None if v is None else [v.float()])
    exact = F.normalize(f.double(), dim=1) - F.normalize(g.double(), dim=1)
    exact = (exact.square() if v is None else exact.square() * v).sum(dim=1, keepdim=True)
    (d,) = percept.distances([f], [g])
    torch.testing.assert_close(d.double(), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("v", LAYER_WEIGHTS, ids=["uniform", "fitted"])
def test_distance_of_equal_features_is_zero_and_so_is_its_gradient(v):
    f = features(0, torch.float32).requires_grad_()
    (d,) = Percept("", None, layer_weights=None if v is None else [v.float()]).distances([f], [f.detach()])
    d.sum().backward()
    assert (d == 0).all() and f.grad.abs().max() < 1e-6


def test_second_derivatives_are_refused_rather_than_wrong():
    f = features(0).requires_grad_()
    (d,) = Percept("", None).distances([f], [features(1)])
    (gradient,) = torch.autograd.grad(d.square().sum(), f, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("other", [0.0, 1.0])
def test_zero_features_give_finite_values_and_gradients(other):
    x = torch.zeros(1, 3, 4, 4, requires_grad=True)
    value = lpips(Percept("pixels", identity), x, torch.full((1, 3, 4, 4), other))
    value.sum().backward()
    assert value.isfinite().all() and x.grad.isfinite().all()


def test_layer_masks_equal_area_means_in_loops():
    weight = torch.rand(2, 1, 8, 12, generator=torch.Generator().manual_seed(0))
    for height, width in ((8, 12), (4, 6), (2, 3)):
        (mask,) = layer_masks(weight, [(height, width)])
        step_y, step_x = 8 // height, 12 // width
        for item in range(2):
            cells = torch.zeros(height, width)
            for y in range(height):
                for x in range(width):
                    patch = weight[item, 0, y * step_y : (y + 1) * step_y, x * step_x : (x + 1) * step_x]
                    cells[y, x] = patch.mean()
            torch.testing.assert_close(mask[item, 0], cells / cells.sum())


def test_item_whose_weight_vanishes_counts_nothing_and_the_others_as_before():
    percept, a, b = tiny_percept(), pictures(2, 16), pictures(2, 16, seed=1)
    weight = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = lpips(percept, a, b, weight)
    weight[0] = 0.0
    value = lpips(percept, a, b, weight)
    assert value[0] == 0.0 and value[1] == expected[1]
    assert all((mask[0] == 0).all() for mask in layer_masks(weight, [(16, 16), (8, 8)]))


def test_weighted_lpips_averages_the_weighted_pixels_only():
    percept, a, b = Percept("pixels", identity), pictures(1, 8), pictures(1, 8, seed=1)
    weight = torch.zeros(1, 1, 8, 8)
    weight[..., 2, 3], weight[..., 5, 6] = 1.0, 3.0
    f, g = F.normalize(a, dim=1)[0], F.normalize(b, dim=1)[0]
    d = [float((f[:, y, x] - g[:, y, x]).square().sum()) for y, x in ((2, 3), (5, 6))]
    assert math.isclose(lpips(percept, a, b, weight).item(), 0.25 * d[0] + 0.75 * d[1], rel_tol=1e-5)


def test_one_weight_serves_all_images():
    percept, a, b = tiny_percept(), pictures(3, 16), pictures(3, 16, seed=1)
    weight = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(lpips(percept, a, b, weight), lpips(percept, a, b, weight.expand(3, -1, -1, -1)))


def test_pooled_features_are_the_deepest_layers_means():
    percept, x = tiny_percept(), pictures(2, 16)
    deepest = percept.taps(x)[-1]
    expected = torch.stack([torch.stack([channel.mean() for channel in item]) for item in deepest])
    torch.testing.assert_close(percept.pooled(x), expected)
