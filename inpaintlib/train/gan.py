"""Adversarial training of a generator: one iteration, and what is saved of a run.

Non-saturating loss with lazy R1 (Karras et al. 2020a), adaptive discriminator augmentation (Karras et
al. 2020b), style mixing, x-flips, EMA of the generator. Convolutions run in bfloat16 by autocast, which
both CPUs with AVX512-BF16 and GPUs do at about twice the speed; R1 and the optimisers stay in float32.

All images live on the device as uint8. The loop reads values back from the device only when it moves
p, logs or saves.

R1 is taken with respect to the images that the discriminator sees, augmented ones included: its input
distribution is the augmented one, and PyTorch cannot differentiate an image warp twice.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import InpaintError, check_integer, check_number
from ..files import write_atomically
from ..images import from_levels
from ..machine import short_hardware
from ..stylegan2 import Discriminator, Generator
from ..weights import load_discriminator, load_generator, load_weights, save_weights
from .augment import AdaController, augment

__all__ = ["GanTraining", "Settings"]


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
        x = from_levels(self.images[index])
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
        save_weights(folder / f"{name}.safetensors", self.g_ema, alignment="celeba", **facts)
        save_weights(folder / f"{name}-discriminator.safetensors", self.d, **facts)

    @torch.no_grad()
    def samples(self, n: int, seed: int = 0, batch: int = 64) -> Tensor:
        """Returns ``n`` images of the averaged generator, (n, 3, R, R) on the CPU, clamped to [-1, 1]."""
        z = torch.randn(n, self.settings.z_dim, generator=torch.Generator().manual_seed(seed)).to(self.device)
        return torch.cat([self.g_ema(part).cpu() for part in z.split(batch)]).clamp(-1, 1)
