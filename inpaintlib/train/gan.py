"""Training of the embedded generator (``make train-faces64``).

Non-saturating loss with lazy R1 (Karras et al. 2020a), adaptive discriminator augmentation (Karras et
al. 2020b), style mixing, x-flips, EMA of the generator. Convolutions run in bfloat16 by autocast, which
both CPUs with AVX512-BF16 and GPUs do at about twice the speed; R1 and the optimisers stay in float32.

All images live on the device as uint8. The loop reads values back from the device only when it moves
p, logs or saves. A run is resumed from its checkpoint, or from shipped weights alone (``--start``).

The defaults suit two CPU cores. A GPU wants a larger network and batch::

    python -m inpaintlib.train.gan --data FOLDER --out runs/faces64 --minutes 30 --kid --export faces64 \\
        --channel-base 4096 --channel-max 256 --batch 128 --learning-rate 0.003 --every 100000

R1 is taken with respect to the images that the discriminator sees, augmented ones included: its input
distribution is the augmented one, and PyTorch cannot differentiate an image warp twice.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import io
import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import InpaintError, check_integer, check_number
from ..data import load_celeba
from ..images import sheet, write_image
from ..machine import short_hardware
from ..stylegan2 import Discriminator, Generator
from ..weights import load_discriminator, load_generator, load_weights, save_weights, write_atomically
from .augment import AdaController, augment

__all__ = ["GanTraining", "Settings", "main"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What defines a run; stored with its checkpoint and in the shipped weights' metadata."""

    resolution: int = 64
    z_dim: int = 256
    w_dim: int = 256
    mapping_layers: int = 4
    channel_base: int = 1024
    channel_max: int = 128
    batch: int = 16
    learning_rate: float = 0.0025
    r1_gamma: float = 0.3
    r1_every: int = 16  # iterations; "lazy" R1, and Adam is corrected for it
    ema_images: int = 10_000  # half-life
    ema_rampup: float = 0.05  # half-life at most this fraction of the images seen so far
    ada_target: float = 0.6
    ada_images: int = 500_000  # p moves from 0 to 1 in no fewer images
    ada_every: int = 8  # iterations
    style_mixing: float = 0.9
    seed: int = 0

    def __post_init__(self):
        for name in ("z_dim", "w_dim", "batch", "r1_every", "ema_images", "ada_images", "ada_every"):
            check_integer(name, getattr(self, name), low=1)
        check_number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        check_number("r1_gamma", self.r1_gamma, low=0.0)


class GanTraining:
    """The state of a run: networks, optimisers, augmentation, random generators, images seen."""

    def __init__(self, settings: Settings, images: Tensor, device: torch.device | str = "cpu"):
        """``images``: uint8 (N, 3, R, R), R = ``settings.resolution``; moved to ``device``."""
        s, self.settings, self.device = settings, settings, torch.device(device)
        self.images = images.to(self.device)
        with torch.random.fork_rng(devices=[]):  # module constructors draw from the global generator
            torch.manual_seed(s.seed)
            g = Generator(s.z_dim, 0, s.w_dim, s.resolution, channel_base=s.channel_base, channel_max=s.channel_max,
                          mapping_layers=s.mapping_layers)  # fmt: skip
            d = Discriminator(0, s.resolution, channel_base=s.channel_base, channel_max=s.channel_max)
        self._take(g, d)
        self.rng = torch.Generator(self.device).manual_seed(s.seed)
        self.ada = AdaController(target=s.ada_target, ramp_images=s.ada_images)
        self.iteration, self.images_seen, self.seconds = 0, 0, 0.0
        self._signs = torch.zeros(2, device=self.device)  # sum of sign(D(real)), and their number
        self.sums = {k: torch.zeros((), device=self.device) for k in ("loss_g", "loss_d", "r1")}

    def _take(self, g: Generator, d: Discriminator) -> None:
        layout = {"device": self.device, "memory_format": torch.channels_last}
        self.g, self.d = g.to(**layout).train().requires_grad_(), d.to(**layout).train().requires_grad_()
        self.g_ema = copy.deepcopy(self.g).eval().requires_grad_(False)
        lr, ratio = self.settings.learning_rate, self.settings.r1_every / (self.settings.r1_every + 1)
        fused = {"fused": True}
        self.opt_g = torch.optim.Adam(self.g.parameters(), lr=lr, betas=(0.0, 0.99), **fused)
        self.opt_d = torch.optim.Adam(self.d.parameters(), lr=lr * ratio, betas=(0.0, 0.99**ratio), **fused)

    def start_from(self, generator: str, discriminator: str) -> None:
        """Continues from weights alone: networks and EMA are loaded, optimisers start afresh.

        The images that the weights have seen count on, since the average's half-life follows them.
        Raises InpaintError if the files' networks are not the run's.
        """
        g, d = load_generator(generator), load_discriminator(discriminator)
        self.images_seen = int(load_weights(generator)[1].get("images_seen", 0))
        for name, network, own in ((generator, g, self.g), (discriminator, d, self.d)):
            if network.config != own.config:
                raise InpaintError(f"{name} must be a network {own.config}, by the settings; got {network.config}")
        self._take(g, d)

    # One iteration ---------------------------------------------------------------------------------

    def step(self) -> None:
        """One update of the discriminator, of the generator, and of the average."""
        s = self.settings
        self._step_d(regularise=self.iteration % s.r1_every == 0)
        self._step_g()
        self._update_ema()
        self.iteration += 1
        self.images_seen += s.batch
        if self.iteration % s.ada_every == 0:
            total, count = self._signs.tolist()
            self.ada.update(total / count, s.batch * s.ada_every)
            self._signs.zero_()

    def _reals(self) -> Tensor:
        n = self.settings.batch
        index = torch.randint(len(self.images), (n,), generator=self.rng, device=self.device)
        flip = torch.rand(n, 1, 1, 1, generator=self.rng, device=self.device) < 0.5
        x = self.images[index].float() / 127.5 - 1.0
        return torch.where(flip, x.flip(3), x)

    def _noise(self, n: int) -> list[Tensor]:
        sizes = [layer.resolution for layer in self.g.synthesis.layers]
        return [torch.randn(n, 1, r, r, generator=self.rng, device=self.device) for r in sizes]

    def _fakes(self) -> Tensor:
        s, n = self.settings, self.settings.batch
        z = torch.randn(2 * n, s.z_dim, generator=self.rng, device=self.device)
        with torch.autocast(self.device.type, enabled=False):
            w = self.g.mapping(z)
        if torch.is_grad_enabled():
            self.g.mapping.w_avg.lerp_(w.detach().mean(0), 1.0 - 0.995)
        # Style mixing: from a random layer on, an item takes its second code.
        layer = torch.arange(self.g.num_ws, device=self.device)
        cut = torch.randint(1, self.g.num_ws, (n, 1), generator=self.rng, device=self.device)
        mix = torch.rand(n, 1, generator=self.rng, device=self.device) < s.style_mixing
        ws = torch.where(((layer >= cut) & mix)[..., None], w[n:, None], w[:n, None])
        return self.g.synthesis(ws, self._noise(n)).float()

    def _half(self):
        return torch.autocast(self.device.type, torch.bfloat16)

    def _step_d(self, regularise: bool) -> None:
        self.opt_d.zero_grad(set_to_none=True)
        with torch.no_grad():
            with self._half():
                fake = self._fakes()
            fake = augment(fake, self.ada.p, self.rng)
            real = augment(self._reals(), self.ada.p, self.rng)
        with self._half():
            on_fake, on_real = self.d(fake).float(), self.d(real).float()
        loss = F.softplus(on_fake).mean() + F.softplus(-on_real).mean()
        loss.backward()
        if regularise:
            self._r1(real)
        self.opt_d.step()
        self.sums["loss_d"] += loss.detach()
        self._signs += torch.stack([on_real.detach().sign().sum(), torch.full((), on_real.numel(), device=self.device)])

    def _r1(self, real: Tensor) -> None:
        s, x = self.settings, real.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.d(x).sum(), x, create_graph=True)
        penalty = gradient.square().sum(dim=(1, 2, 3)).mean()
        (penalty * (s.r1_gamma / 2 * s.r1_every)).backward()
        self.sums["r1"] += penalty.detach()

    def _step_g(self) -> None:
        self.opt_g.zero_grad(set_to_none=True)
        self.d.requires_grad_(False)
        with self._half():
            fake = self._fakes()
        fake = augment(fake, self.ada.p, self.rng)
        with self._half():
            loss = F.softplus(-self.d(fake).float()).mean()
        loss.backward()
        self.d.requires_grad_(True)
        self.opt_g.step()
        self.sums["loss_g"] += loss.detach()

    @torch.no_grad()
    def _update_ema(self) -> None:
        s = self.settings
        half_life = min(s.ema_images, max(self.images_seen * s.ema_rampup, 1.0))
        decay = 0.5 ** (s.batch / half_life)
        torch._foreach_lerp_(list(self.g_ema.parameters()), list(self.g.parameters()), 1.0 - decay)
        for average, buffer in zip(self.g_ema.buffers(), self.g.buffers(), strict=True):
            average.copy_(buffer)

    # Saving ----------------------------------------------------------------------------------------

    def state(self) -> dict:
        modules = {"g": self.g, "d": self.d, "g_ema": self.g_ema, "opt_g": self.opt_g, "opt_d": self.opt_d}
        counters = {"iteration": self.iteration, "images_seen": self.images_seen, "seconds": self.seconds}
        return {**{k: m.state_dict() for k, m in modules.items()}, **counters, "p": self.ada.p,
                "signs": self._signs, "rng": self.rng.get_state(),
                "settings": dataclasses.asdict(self.settings)}  # fmt: skip

    def save(self, path: Path) -> None:
        """Writes the whole state atomically."""
        buffer = io.BytesIO()
        torch.save(self.state(), buffer)
        write_atomically(path, buffer.getvalue())

    def resume(self, path: Path) -> None:
        """Continues exactly from a file of :meth:`save`; raises InpaintError if it is none or of other settings."""
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            settings, signs = state["settings"], state["signs"]
        except Exception as error:  # torch.load raises whatever its parts raise on a damaged file
            raise InpaintError(f"{path} must be a checkpoint of this training; it cannot be read: {error}") from error
        if settings != dataclasses.asdict(self.settings):
            raise InpaintError(f"{path} was made with the settings {settings}; use the same, or a new folder")
        for key in ("g", "d", "g_ema", "opt_g", "opt_d"):
            getattr(self, key).load_state_dict(state[key])
        self.iteration, self.images_seen, self.seconds = state["iteration"], state["images_seen"], state["seconds"]
        self.ada.p = state["p"]
        self._signs.copy_(signs)
        self.rng.set_state(state["rng"].cpu())

    def export(self, folder: Path, name: str) -> None:
        """Writes ``NAME.safetensors`` (the averaged generator) and ``NAME-discriminator.safetensors``."""
        facts = {"images_seen": str(self.images_seen), "seconds": f"{self.seconds:.0f}", "hardware": short_hardware(),
                 "settings": json.dumps(dataclasses.asdict(self.settings), sort_keys=True)}  # fmt: skip
        save_weights(folder / f"{name}.safetensors", self.g_ema, **facts)
        save_weights(folder / f"{name}-discriminator.safetensors", self.d, **facts)

    @torch.no_grad()
    def samples(self, n: int, seed: int = 0, batch: int = 64) -> Tensor:
        """Returns ``n`` images of the averaged generator, (n, 3, R, R) on the CPU, clamped to [-1, 1]."""
        z = torch.randn(n, self.settings.z_dim, generator=torch.Generator().manual_seed(seed)).to(self.device)
        return torch.cat([self.g_ema(part).cpu() for part in z.split(batch)]).clamp(-1, 1)


def _log(run: GanTraining, path: Path, since: float, images: int, iterations: int) -> None:
    """Appends a row to ``log.csv`` and prints it; ``images`` and ``iterations`` since the last row."""
    row = {"images": run.images_seen, "minutes": run.seconds / 60, "images_per_second": images / since, "p": run.ada.p}
    row |= {k: float(v) / iterations for k, v in run.sums.items()}
    for total in run.sums.values():
        total.zero_()
    _append(path, row)


def _append(path: Path, row: dict[str, float]) -> None:
    """Adds a row to a CSV file, with a header if it is new, and prints it."""
    if not path.exists():
        path.write_text(",".join(row) + "\n")
    with path.open("a") as f:
        f.write(",".join(f"{v:.6g}" for v in row.values()) + "\n")
    print("  ".join(f"{k} {v:.4g}" for k, v in row.items()), flush=True)


def train(run: GanTraining, out: Path, *, seconds: float, max_images: int, every: int, held_out: Tensor | None) -> None:
    """Runs until the time or the images are used up; logs, saves, draws samples and KID every ``every`` images."""
    started = marked = time.perf_counter()
    before, images0, iteration0 = run.seconds, run.images_seen, run.iteration
    while time.perf_counter() - started < seconds and run.images_seen < max_images:
        run.step()
        if run.images_seen // every > (run.images_seen - run.settings.batch) // every:
            now = time.perf_counter()
            run.seconds = before + now - started
            _log(run, out / "log.csv", now - marked, run.images_seen - images0, run.iteration - iteration0)
            snapshot(run, out, held_out)
            marked, images0, iteration0 = time.perf_counter(), run.images_seen, run.iteration
    if run.images_seen > images0 or run.iteration == 0:  # else the last snapshot holds this very state
        run.seconds = before + time.perf_counter() - started
        snapshot(run, out, held_out)


def snapshot(run: GanTraining, out: Path, held_out: Tensor | None) -> None:
    """Writes the checkpoint, a sheet of samples and, with held-out images (uint8), the KID curve so far."""
    run.save(out / "checkpoint.pt")
    write_image(out / f"samples-{run.images_seen:08d}.png", sheet(run.samples(64), 8))
    if held_out is None:
        return
    # Scores and plots need packages that a training machine may lack, and that a run without --kid does not use.
    import pandas as pd

    from ..figures import training_curve
    from ..metrics import kid

    score = kid(run.samples(len(held_out), seed=1), held_out.float() / 127.5 - 1.0, device=run.device)
    _append(out / "kid.csv", {"images": run.images_seen, "kid": score.value, "low": score.low, "high": score.high})
    training_curve(pd.read_csv(out / "kid.csv")).savefig(out / "kid.png", dpi=120)


def _settings(args: argparse.Namespace) -> Settings:
    """Returns the settings of the command line; with ``--start`` the network is that of the weights."""
    values = {f.name: getattr(args, f.name) for f in dataclasses.fields(Settings)}
    if args.start:
        config = json.loads(load_weights(args.start[0])[1].get("config", "{}"))
        values |= {k: config[k] for k in values.keys() & config.keys()} | {"resolution": config["img_resolution"]}
    return Settings(**values)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m inpaintlib.train.gan", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with CelebA (see inpaintlib.data)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: checkpoint, log, samples")
    parser.add_argument("--minutes", type=float, required=True, help="wall-clock budget of this call")
    parser.add_argument("--max-images", type=int, default=10**9, help="stop after this many images in all")
    parser.add_argument("--every", type=int, default=10_000, help="images between log rows, checkpoints, samples")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--start", nargs=2, metavar=("G", "D"), help="begin from these weights (names or files)")
    parser.add_argument("--limit", type=int, help="use only the first LIMIT training images")
    parser.add_argument("--export", metavar="NAME", help="write NAME.safetensors and its discriminator at the end")
    parser.add_argument("--kid", action="store_true", help="score samples in percept-judge features at each snapshot")
    for field in dataclasses.fields(Settings):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    args = parser.parse_args(argv)
    try:
        settings = _settings(args)
        images = load_celeba(args.data, size=settings.resolution).images[: args.limit]
        held_out = load_celeba(args.data, "val", size=settings.resolution).images if args.kid else None
        run = GanTraining(settings, images, args.device)
        args.out.mkdir(parents=True, exist_ok=True)
        if (args.out / "checkpoint.pt").exists():
            run.resume(args.out / "checkpoint.pt")
        elif args.start:
            run.start_from(*args.start)
        train(run, args.out, seconds=60 * args.minutes, max_images=args.max_images, every=args.every, held_out=held_out)
        if args.export:
            run.export(args.out, args.export)
    except (InpaintError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
