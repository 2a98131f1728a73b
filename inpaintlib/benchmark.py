"""How fast the search is, against the convolutions that it cannot avoid: ``python -m inpaintlib.benchmark``.

The floor of a step is its dense convolutions: those of the generator and of the feature network, forward
and backward to the input (weights get no gradient), and forward once more for the filled target. They are
run alone, with the same shapes, layouts and types, in turns with the search, so that a machine whose speed
drifts slows both. The FIR filters count as overhead, as everything else does.

``--steering`` times the same search with a classifier's and with CLIP's term added, in turns with the one without.

``--generator random-1024`` times a generator of random weights in the configuration that StyleGAN2-ADA has for 1024 px
(or another power of two), and ``--percept vgg-random`` LPIPS's VGG with random weights: the time of a step does not
depend on the numbers. It runs where ``INPAINTLIB_DEVICE`` says.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from .experiments import generated_faces
from .features import Percept, from_lpips, load_percept
from .invert import Search, invert
from .losses import Objective, Weighted, lpips_term, mse_term, objective_from
from .machine import device, hardware, peak_gpu_memory_gb, peak_memory_gb
from .masks import make_mask
from .search import PRECISIONS
from .stylegan2 import Generator
from .weights import load_generator

__all__ = ["convolutions", "main", "measure", "measure_steering", "random_generator"]

Call = Callable[[], object]


def random_generator(resolution: int) -> Generator:
    """Returns a frozen generator of random weights in the configuration that StyleGAN2-ADA has for a resolution.

    Codes of 512 numbers, 8 layers of mapping, at most 512 channels, and twice as many from 512 px on as below.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        generator = Generator(img_resolution=resolution, channel_base=32768 if resolution >= 512 else 16384)
    for block in generator.synthesis.blocks:
        block.torgb.weight.data.mul_(0.2)  # else hardly a pixel lies within [-1, 1]
    return generator.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _generator(name: str) -> Generator:
    kind, _, resolution = name.partition("-")
    random = kind == "random" and resolution.isdecimal()
    return (random_generator(int(resolution)) if random else load_generator(name)).to(device())


def _percept(name: str) -> Percept:
    if name != "vgg-random":
        return load_percept(name)
    import lpips as package

    with torch.random.fork_rng(devices=[]):
        model = package.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False)
    return from_lpips(name, model)


def _wait() -> None:
    """Waits until a GPU has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _once(x: Tensor, weight: Tensor, *, stride: int, transposed: bool, backward: bool) -> Call:
    """Returns one convolution, forward or forward and backward to its input, as a function to time."""
    if transposed:
        run = lambda y: F.conv_transpose2d(y, weight.transpose(0, 1), stride=stride)  # noqa: E731
    else:
        run = lambda y: F.conv2d(y, weight, padding=weight.shape[-1] // 2, stride=stride)  # noqa: E731
    if not backward:
        return lambda: run(x)
    leaf = x.clone().requires_grad_()
    gradient = torch.ones_like(run(x))
    return lambda: torch.autograd.grad(run(leaf), leaf, gradient)


def _like(n: int, c: int, size: int, weight: Tensor) -> Tensor:
    # The time of a convolution does not depend on the numbers.
    return torch.ones(n, c, size, size).to(weight).contiguous(memory_format=torch.channels_last)


def convolutions(generator: Generator, backbone: torch.nn.Module, batch: int) -> list[Call]:
    """Returns the dense convolutions of one step at a batch size, in the order in which they run."""
    calls = []
    for layer in generator.synthesis.layers:
        size = layer.resolution // 2 if layer.up else layer.resolution
        weight = layer.weight.contiguous(memory_format=torch.channels_last)
        x = _like(batch, weight.shape[1], size, weight)
        calls.append(_once(x, weight, stride=2 if layer.up else 1, transposed=layer.up, backward=True))
    shapes: list[tuple[torch.nn.Conv2d, int]] = []
    hooks = [m.register_forward_hook(lambda m, i, o: shapes.append((m, i[0].shape[-1])))
             for m in backbone.modules() if isinstance(m, torch.nn.Conv2d)]  # fmt: skip
    with torch.no_grad():
        backbone(torch.zeros(1, 3, generator.img_resolution, generator.img_resolution).to(generator.mapping.w_avg))
    for hook in hooks:
        hook.remove()
    for backward in (True, False):
        for conv, size in shapes:
            x = _like(batch, conv.in_channels, size, conv.weight)
            calls.append(_once(x, conv.weight, stride=conv.stride[0], transposed=False, backward=backward))
    return calls


def measure(name: str = "faces64", *, batch: int = 8, steps: int = 20, rounds: int = 7, percept: str = "percept-guide",
            precision: str = "float32") -> pd.DataFrame:  # fmt: skip
    """Returns seconds a step of the search and of its convolutions alone (in float32), a row a round.

    The search is MSE + LPIPS (fill+features) in W+, a quarter of the image hidden.
    """
    generator = _generator(name)
    guide = _percept(percept).like(torch.empty(0, device=device()))
    target = generated_faces(generator, batch, seed=0)
    mask = make_mask("center", generator.img_resolution, coverage=0.25, generator=torch.Generator().manual_seed(0))
    objective = Objective({"mse": Weighted(1.0, mse_term()), "lpips": Weighted(1.0, lpips_term(guide))})
    search = Search(steps=steps, precision=precision)
    calls = convolutions(generator, guide.taps, batch)
    rows = []
    for _ in range(rounds + 1):  # the first round warms up
        start = time.perf_counter()
        invert(generator, target, mask, objective=objective, search=search)
        _wait()
        middle = time.perf_counter()
        for _ in range(steps):
            for call in calls:
                call()
        _wait()
        rows.append(((middle - start) / steps, (time.perf_counter() - middle) / steps))
    table = pd.DataFrame(rows[1:], columns=["search", "convolutions"])
    return table.assign(ratio=table["convolutions"] / table["search"], image_steps=batch / table["search"])


WISHES = {
    "classifier": {"classifier_weight": 1.0, "classifier_wishes": "+Smiling"},
    "clip": {"clip_weight": 1.0, "clip_prompt": "a smiling person"},
}


def measure_steering(name: str = "faces64", *, batch: int = 8, steps: int = 20, rounds: int = 7) -> pd.DataFrame:
    """Returns seconds a step of the search without a wish and with each term that steers, and what the terms add.

    Columns plain, classifier, clip (seconds), classifier_adds, clip_adds (shares of the plain step); a row a round.
    """
    generator = _generator(name)
    target = generated_faces(generator, batch, seed=0)
    mask = make_mask("center", generator.img_resolution, coverage=0.25, generator=torch.Generator().manual_seed(0))
    fidelity = {"mse_weight": 1.0, "lpips_weight": 1.0}
    objectives = {kind: objective_from(fidelity | keys) for kind, keys in {"plain": {}, **WISHES}.items()}
    rows = []
    for _ in range(rounds + 1):  # the first round warms up
        row = {}
        for kind, objective in objectives.items():
            start = time.perf_counter()
            invert(generator, target, mask, objective=objective, search=Search(steps=steps))
            _wait()
            row[kind] = (time.perf_counter() - start) / steps
        rows.append(row)
    table = pd.DataFrame(rows[1:])
    return table.assign(**{f"{kind}_adds": table[kind] / table["plain"] - 1.0 for kind in WISHES})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m inpaintlib.benchmark", description=__doc__.split("\n")[0])
    parser.add_argument("--generator", default="faces64", help="a name, a file, or random-RESOLUTION")
    parser.add_argument("--percept", default="percept-guide", help="a name, or vgg-random")
    parser.add_argument("--precision", default="float32", choices=PRECISIONS)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steering", action="store_true", help="time what a classifier's and CLIP's term add")
    args = parser.parse_args()
    if args.steering:
        table = measure_steering(args.generator, batch=args.batch, steps=args.steps, rounds=args.rounds)
        print(", ".join(f"{k} {v}" for k, v in hardware().items()))
        print(table.to_string(float_format="%.4f"))
        print("median: " + ", ".join(f"{kind} adds {statistics.median(table[f'{kind}_adds']):.0%}" for kind in WISHES))
        return
    table = measure(args.generator, batch=args.batch, steps=args.steps, rounds=args.rounds, percept=args.percept,
                    precision=args.precision)  # fmt: skip
    print(", ".join(f"{k} {v}" for k, v in hardware().items()))
    print(table.to_string(float_format="%.4f"))
    median = {c: statistics.median(table[c]) for c in table}
    print(
        f"median: {median['image_steps']:.1f} image-steps/s, {1000 * median['search']:.1f} ms a step, "
        f"{median['ratio']:.0%} of the throughput of its convolutions alone; peak memory "
        f"{peak_memory_gb():.2f} GB, of the GPU {peak_gpu_memory_gb():.2f} GB"
    )


if __name__ == "__main__":
    main()
