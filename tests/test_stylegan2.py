"""Networks against the golden numbers, against themselves, and against finite differences.

``golden/*.safetensors`` hold small random networks with inputs and outputs computed by the released
implementation in float32. Numbers of one tensor are compared relative to its root mean square.
"""

import math
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from inpaintlib.checks import InpaintError
from inpaintlib.discriminator import minibatch_std
from inpaintlib.stylegan2 import Discriminator, Generator

from .tiny import frozen, seeded

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.safetensors"))
FILES = pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
ARCHITECTURES = pytest.mark.parametrize("architecture", ["orig", "skip", "resnet"])


@cache
def golden(path: Path):
    """Returns G, D (both built from the file) and the file's numbers."""
    with safe_open(path, framework="pt") as f:
        tensors = {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118 (not a mapping)
        facts = {key: None if value == "None" else value for key, value in f.metadata().items()}
    number = {key: int(value) for key, value in facts.items() if value and value.isdigit()}
    shared = {k: number.get(k) for k in ("img_resolution", "img_channels", "channel_base", "channel_max", "conv_clamp")}
    g = Generator(number["z_dim"], number["c_dim"], number["w_dim"], architecture=facts["g_architecture"],
                  mapping_layers=number["mapping_layers"], **shared)  # fmt: skip
    d = Discriminator(number["c_dim"], architecture=facts["d_architecture"],
                      mbstd_group_size=number["mbstd_group_size"], **shared)  # fmt: skip
    for network, prefix in ((g, "G."), (d, "D.")):
        state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        network.load_state_dict(state, strict=True)
        network.requires_grad_(False)
    return g, d, tensors


def assert_same(actual: torch.Tensor, expected: torch.Tensor) -> None:
    scale = expected.square().mean().sqrt().item()
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5 * scale)


def small_generator(seed: int = 0, **options) -> Generator:
    """Returns an 8 px generator whose noise and biases matter, with its ``w_avg`` away from zero."""
    config = {"z_dim": 6, "w_dim": 5, "img_resolution": 8, "channel_base": 32, "mapping_layers": 2} | options

    def build() -> Generator:
        g = Generator(**config)
        for layer in g.synthesis.layers:
            layer.noise_strength.data.fill_(0.5)
            layer.bias.data.normal_()
        g.mapping.w_avg.normal_()
        return g

    return frozen(seeded(build, seed))


def small_discriminator(seed: int = 0, **options) -> Discriminator:
    config = {"img_resolution": 8, "channel_base": 32} | options
    return seeded(lambda: Discriminator(**config), seed)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


# The golden numbers ----------------------------------------------------------------------------------


def test_all_golden_files_are_here():
    assert [p.stem for p in GOLDEN] == ["orig16", "resnet32_cond", "skip32", "skip64_deep"]


@FILES
@pytest.mark.parametrize(
    ("key", "options"),
    [("w", {}), ("w_trunc_psi0.7", {"truncation": 0.7}), ("w_trunc_psi0.5_cutoff3", {"truncation": 0.5, "cutoff": 3})],
)
def test_mapping_reproduces_golden_codes(path, key, options):
    g, _, numbers = golden(path)
    assert_same(g.map(numbers["z"], numbers.get("c"), **options), numbers[key])


@FILES
@pytest.mark.parametrize("noise", ["const", "none"])
def test_synthesis_reproduces_golden_images(path, noise):
    g, _, numbers = golden(path)
    assert_same(g.synthesis(numbers["w"], noise), numbers[f"image_{noise}"])
    assert_same(g(numbers["z"], numbers.get("c"), noise=noise), numbers[f"image_{noise}"])


@FILES
def test_gradient_of_codes_reproduces_golden_gradient(path):
    g, _, numbers = golden(path)
    ws = numbers["w"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(g.synthesis(ws).square().mean(), ws)
    assert_same(gradient, numbers["grad_w_of_mean_square_const"])


@FILES
def test_discriminator_reproduces_golden_logits(path):
    _, d, numbers = golden(path)
    assert_same(d(numbers["image_const"], numbers.get("c")), numbers["logits"])


@FILES
def test_discriminator_reproduces_golden_logits_one_by_one(path):
    _, d, numbers = golden(path)
    c = numbers.get("c")
    logits = [d(x[None], None if c is None else c[i : i + 1]) for i, x in enumerate(numbers["image_const"])]
    assert_same(torch.cat(logits), numbers["logits_one_by_one"])


@FILES
def test_names_are_those_of_the_release_exactly(path):
    g, d, numbers = golden(path)
    names = {f"G.{k}" for k in g.state_dict()} | {f"D.{k}" for k in d.state_dict()}
    assert names == {k for k in numbers if k.startswith(("G.", "D."))}


# Noise -----------------------------------------------------------------------------------------------


@ARCHITECTURES
def test_plan_and_render_are_forward_bit_for_bit(architecture):
    g = small_generator(architecture=architecture)
    ws = g.map(random(3, 6))
    for noise in ("const", "none", g.synthesis.random_noise(generators(1, 2, 3))):
        plans = g.synthesis.plan(noise)
        expected = g.synthesis(ws, noise)
        for _ in range(2):  # a plan is not used up
            assert torch.equal(g.synthesis.render(ws, plans), expected)


def test_constant_noise_is_the_stored_maps():
    g = small_generator()
    ws = g.map(random(2, 6))
    assert torch.equal(g.synthesis(ws, "const"), g.synthesis(ws, g.synthesis.constant_noise()))
    for layer in g.synthesis.layers:
        layer.noise_const.zero_()
    torch.testing.assert_close(g.synthesis(ws, "const"), g.synthesis(ws, "none"))


def test_given_noise_enters_after_the_convolution_times_its_strength():
    g = small_generator(architecture="orig", img_resolution=4)
    layer = g.synthesis.layers[0]
    x, w, noise = random(2, layer.weight.shape[1], 4, 4), random(2, 5, seed=1), random(2, 1, 4, 4, seed=2)
    # Undo activation and gain: with a slope of 0.2, y > 0 came from y / sqrt 2, else from y / (0.2 sqrt 2).
    with_noise, without = layer(x, w, layer.plan(noise)), layer(x, w, layer.plan(None))
    before = [torch.where(y > 0, y, y / 0.2) / math.sqrt(2.0) for y in (with_noise, without)]
    expected = (0.5 * noise).expand_as(before[0])
    torch.testing.assert_close(before[0] - before[1], expected, rtol=1e-4, atol=1e-5)


def test_random_noise_of_an_item_depends_on_its_own_generator_only():
    synthesis = small_generator().synthesis
    together, alone = synthesis.random_noise(generators(7, 8, 9)), synthesis.random_noise(generators(8))
    assert [tuple(m.shape) for m in together] == [(3, 1, r, r) for r in (4, 8, 8)]
    for many, one in zip(together, alone, strict=True):
        assert torch.equal(many[1:2], one)
        assert not torch.equal(many[0], many[1])


def test_random_noise_advances_its_generator_and_leaves_the_global_one():
    synthesis, before = small_generator().synthesis, torch.get_rng_state()
    (generator,) = generators(3)
    first, second = synthesis.random_noise([generator]), synthesis.random_noise([generator])
    assert not torch.equal(first[0], second[0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ("random", "noise must be one of const, none; got 'random'"),
        ([torch.zeros(1, 1, 4, 4)], r"3 maps .* heights \[4, 8, 8\]; got shapes \[\(1, 1, 4, 4\)\]"),
        ([torch.zeros(1, 1, r, r) for r in (4, 8, 16)], r"heights \[4, 8, 8\]"),
        ([torch.zeros(1, 2, r, r) for r in (4, 8, 8)], r"heights \[4, 8, 8\]"),
        ([torch.zeros(r, r) for r in (4, 8, 8)], r"heights \[4, 8, 8\]"),
        ([torch.zeros(3, 1, r, r) for r in (4, 8, 8)], "1 or 2 maps a layer, as many as codes; got 3"),
    ],
)
def test_wrong_noise_is_refused(noise, message):
    g = small_generator()
    with pytest.raises(InpaintError, match=message):
        g.synthesis(g.map(random(2, 6)), noise)


def test_items_of_a_batch_do_not_touch_each_other():
    g = small_generator().double()
    ws = g.map(random(3, 6).double())
    noise = [m.double() for m in g.synthesis.random_noise(generators(1, 2, 3))]
    images = g.synthesis(ws, noise)
    for i in range(3):
        alone = g.synthesis(ws[i : i + 1], [m[i : i + 1] for m in noise])
        torch.testing.assert_close(images[i : i + 1], alone, rtol=1e-12, atol=1e-12)


# Codes -----------------------------------------------------------------------------------------------


def test_truncation_moves_codes_towards_the_average():
    g, z = small_generator(), random(4, 6)
    ws, average = g.map(z), g.mapping.w_avg
    assert torch.equal(ws, g.map(z, truncation=1.0, cutoff=1))
    torch.testing.assert_close(g.map(z, truncation=0.0), average.expand_as(ws))
    torch.testing.assert_close(g.map(z, truncation=0.3), average + 0.3 * (ws - average))
    cut = g.map(z, truncation=0.3, cutoff=2)
    assert torch.equal(cut[:, 2:], ws[:, 2:])
    torch.testing.assert_close(cut[:, :2], average + 0.3 * (ws[:, :2] - average))


def test_mapping_ignores_the_length_of_z():
    g, z = small_generator(), random(4, 6)
    torch.testing.assert_close(g.map(z), g.map(10.0 * z))


def test_a_blocks_image_shares_its_code_with_the_next_blocks_first_layer():
    g = small_generator(img_resolution=16).double()
    ws = g.map(random(1, 6).double())
    codes = {"b4.conv1": 0, "b4.torgb": 1, "b8.conv0": 1, "b8.conv1": 2, "b8.torgb": 3, "b16.conv0": 3,
             "b16.conv1": 4, "b16.torgb": 5}  # fmt: skip
    seen = {}
    for name in codes:
        g.synthesis.get_submodule(name).register_forward_hook(
            lambda _module, inputs, _output, name=name: seen.__setitem__(name, inputs[1])
        )
    marked = ws + torch.arange(6, dtype=torch.float64).view(1, 6, 1)
    g.synthesis(marked)
    for name, index in codes.items():
        assert torch.equal(seen[name], marked[:, index]), name


@pytest.mark.parametrize("shape", [(1, 4), (1, 3, 5), (1, 4, 6)])
def test_codes_of_another_shape_are_refused(shape):
    with pytest.raises(InpaintError, match=r"ws must have shape \(N, 4, 5\)"):
        small_generator().synthesis(torch.zeros(shape))


def test_inputs_of_another_width_are_refused():
    g = small_generator(c_dim=3)
    for z, c, message in ((None, None, r"z .*\(N, 6\); got None"), (random(2, 5), None, r"z .*\(N, 6\); got \(2, 5\)"),
                          (random(2, 6), None, r"c .*\(N, 3\); got None")):  # fmt: skip
        with pytest.raises(InpaintError, match=message):
            g.map(z, c)


def test_the_class_changes_image_and_logit():
    g, d = small_generator(c_dim=3), small_discriminator(c_dim=3)
    z, classes = random(1, 6).expand(3, -1), torch.eye(3)
    images = g(z, classes)
    logits = d(images[:1].expand(3, -1, -1, -1), classes)
    for values in (images.flatten(1), logits):
        assert not torch.allclose(values[0], values[1]) and not torch.allclose(values[1], values[2])


def test_conditional_logit_is_a_dot_product_with_the_mapped_class():
    d = small_discriminator(c_dim=3).double()
    features = []
    d.b4.out.register_forward_hook(lambda _module, _inputs, output: features.append(output))
    c = torch.eye(3, dtype=torch.float64)
    logits = d(random(3, 3, 8, 8).double(), c)
    expected = (features[0] * d.mapping(None, c)).sum(dim=1, keepdim=True) / math.sqrt(features[0].shape[1])
    torch.testing.assert_close(logits, expected)


# Networks --------------------------------------------------------------------------------------------


@ARCHITECTURES
@pytest.mark.parametrize("resolution", [4, 8, 16, 32, 64, 128])
def test_any_power_of_two_works_and_every_weight_gets_a_gradient(resolution, architecture):
    options = {"img_resolution": resolution, "architecture": architecture, "channel_base": 256, "channel_max": 8}
    g = small_generator(**options).requires_grad_()
    image = g(random(2, 6))
    assert tuple(image.shape) == (2, 3, resolution, resolution)
    d = small_discriminator(**options) if resolution > 4 else torch.nn.Flatten()
    d(image).square().mean().backward()
    for name, weight in [*g.named_parameters(), *d.named_parameters()]:
        assert weight.grad is not None and torch.isfinite(weight.grad).all() and weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize("network", [Generator, Discriminator])
@pytest.mark.parametrize("resolution", [0, 2, 12, 100, -8, 8.0, True])
def test_other_resolutions_are_refused(network, resolution):
    with pytest.raises(InpaintError, match="img_resolution must be"):
        network(img_resolution=resolution)


def test_constructors_name_what_they_refuse():
    with pytest.raises(InpaintError, match="img_resolution must be at least 8; got 4"):
        Discriminator(img_resolution=4)
    with pytest.raises(InpaintError, match="architecture must be one of orig, skip, resnet; got 'style3'"):
        Generator(architecture="style3")
    with pytest.raises(InpaintError, match="mapping_layers must be at least 1; got 0"):
        Generator(mapping_layers=0)
    with pytest.raises(InpaintError, match="at least one channel at 16 px; got 8 and 512"):
        Generator(img_resolution=32, channel_base=8)


def test_channels_follow_base_and_maximum():
    g = Generator(8, 0, 8, 32, channel_base=512, channel_max=48)
    assert [b.conv1.weight.shape[0] for b in g.synthesis.blocks] == [48, 48, 32, 16]
    assert g.num_ws == 8


@ARCHITECTURES
def test_config_rebuilds_the_network(architecture):
    g = small_generator(architecture=architecture, c_dim=2, conv_clamp=256)
    twin = Generator(**g.config)
    twin.load_state_dict(g.state_dict())
    z, c = random(2, 6), torch.eye(2)
    assert torch.equal(twin(z, c), g(z, c))


def test_clamp_limits_activations_after_their_gain():
    for architecture in ("skip", "resnet"):
        g = small_generator(architecture=architecture)
        clamped = small_generator(architecture=architecture, conv_clamp=0.25)
        layer, twin = g.synthesis.b8.conv1, clamped.synthesis.b8.conv1
        x, w = random(2, layer.weight.shape[1], 8, 8), random(2, 5, seed=1)
        limit = 0.25 * (math.sqrt(0.5) if architecture == "resnet" else 1.0)
        expected = layer(x, w, layer.plan(None)).clamp(-limit, limit)
        torch.testing.assert_close(twin(x, w, twin.plan(None)), expected)
        assert expected.abs().max() == limit


def test_clamp_limits_the_colours_of_each_block():
    g = small_generator(architecture="orig", conv_clamp=0.125)
    assert g(random(2, 6)).abs().max() == 0.125


def test_a_wide_clamp_changes_nothing():
    z = random(2, 6)
    assert torch.equal(small_generator(conv_clamp=1e6)(z), small_generator()(z))
    image = random(2, 3, 8, 8)
    assert torch.equal(small_discriminator(conv_clamp=1e6)(image), small_discriminator()(image))


@pytest.mark.parametrize(("n", "group_size"), [(4, 2), (8, 4), (6, 3), (3, None), (2, 4), (1, 4)])
def test_minibatch_std_is_its_literal_definition(n, group_size):
    x = random(n, 5, 4, 4).double()
    y = minibatch_std(x, group_size)
    groups = n // (n if group_size is None else min(group_size, n))
    for i in range(n):
        members = x[i % groups :: groups]
        deviation = torch.sqrt((members - members.mean(dim=0)).square().mean(dim=0) + 1e-8)
        expected = torch.cat([x[i], deviation.mean().expand(1, 4, 4)])
        torch.testing.assert_close(y[i], expected, rtol=1e-12, atol=1e-12)


def test_minibatch_std_refuses_a_batch_that_does_not_divide():
    with pytest.raises(InpaintError, match="multiple of the minibatch-std group 4; got 6"):
        minibatch_std(torch.zeros(6, 1, 4, 4), 4)


# Derivatives -----------------------------------------------------------------------------------------


def slope(f, x: torch.Tensor, direction: torch.Tensor, step: float = 1e-5) -> torch.Tensor:
    """Central finite difference of f at x along a direction."""
    return (f(x + step * direction) - f(x - step * direction)) / (2 * step)


@ARCHITECTURES
def test_gradient_of_codes_is_the_finite_difference(architecture):
    g = small_generator(architecture=architecture).double()
    plans = g.synthesis.plan("const")

    def energy(ws: torch.Tensor) -> torch.Tensor:
        return g.synthesis.render(ws, plans).square().mean()

    ws = g.map(random(2, 6).double()).requires_grad_()
    (gradient,) = torch.autograd.grad(energy(ws), ws)
    for seed in range(3):
        direction = random(*ws.shape, seed=seed).double()
        expected = slope(energy, ws.detach(), direction)
        torch.testing.assert_close((gradient * direction).sum(), expected, rtol=1e-6, atol=1e-9)


@ARCHITECTURES
def test_gradient_of_the_r1_penalty_is_the_finite_difference(architecture):
    d = small_discriminator(architecture=architecture, c_dim=2).double()
    image, c = random(2, 3, 8, 8).double(), torch.eye(2, dtype=torch.float64)
    weight = d.b8.conv0.weight

    def penalty(value: torch.Tensor) -> torch.Tensor:
        x = image.clone().requires_grad_()
        logits = torch.func.functional_call(d, {"b8.conv0.weight": value}, (x, c))
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return gradient.square().sum()

    value = weight.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(penalty(value), value)
    direction = random(*value.shape, seed=1).double()
    expected = slope(penalty, value.detach(), direction).detach()
    assert expected.abs() > 1e-6
    torch.testing.assert_close((gradient * direction).sum(), expected, rtol=1e-5, atol=1e-9)
