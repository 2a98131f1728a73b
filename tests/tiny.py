"""Small random networks and pictures that the tests share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from inpaintlib.attributes import AttributeNetwork
from inpaintlib.clip import MiniClip
from inpaintlib.features import Percept, PlainBackbone
from inpaintlib.stylegan2 import Generator


def seeded(build: Callable[[], object], seed: int = 0):
    """Returns ``build()`` with the global generator at ``seed``, which is put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()


def frozen(module: nn.Module) -> nn.Module:
    return module.eval().requires_grad_(False)


def tiny_generator(resolution: int = 16, *, seed: int = 0, **options) -> Generator:
    """Returns a frozen generator whose noise matters and whose images mostly stay within [-1, 1]."""
    config = {"z_dim": 16, "w_dim": 16, "channel_base": 256, "channel_max": 32, "mapping_layers": 2} | options

    def build() -> Generator:
        g = Generator(img_resolution=resolution, **config)
        for layer in g.synthesis.layers:
            layer.noise_strength.data.fill_(0.1)
            layer.bias.data.normal_(std=0.1)
        for block in g.synthesis.blocks:
            block.torgb.weight.data.mul_(0.2)
        return g

    return frozen(seeded(build, seed))


def tiny_percept(*, seed: int = 0, dtype: torch.dtype = torch.float32) -> Percept:
    return Percept("tiny", frozen(seeded(lambda: PlainBackbone((4, 6), (1, 1)), seed)).to(dtype))


def tiny_classifier(*, seed: int = 0, dtype: torch.dtype = torch.float32, size: int = 16) -> AttributeNetwork:
    """Returns a frozen classifier of CelebA's attributes whose weights are large enough to tell images apart."""
    options = {"img_size": size, "patch_size": size // 2, "embed_dim": 16, "depth": 1, "num_heads": 2}

    def build() -> AttributeNetwork:
        network = AttributeNetwork("vit_tiny_patch16_224", options=options, size=size)
        for p in network.parameters():
            p.data.normal_(std=0.3)
        network.slope.uniform_(0.5, 2.0)
        network.offset.normal_()
        network.prior.uniform_(0.1, 0.9)
        return network

    return frozen(seeded(build, seed)).to(dtype)


#: What the tiny CLIP model reads: the words of captions that state nothing, and a few more.
WORDS = ["a", "an", "face", "hat", "image", "man", "not", "of", "person", "photo", "picture", "portrait", "smiling",
         "the", "this", "is", "wearing", "with", "without", "woman"]  # fmt: skip
OPEN_CLIP = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 8, "width": 16, "heads": 2, "layers": 1, "no_causal_mask": True},
}


def tiny_clip(*, seed: int = 0, dtype: torch.dtype = torch.float32) -> MiniClip:
    return frozen(seeded(lambda: MiniClip(OPEN_CLIP, WORDS), seed)).to(dtype)


def pictures(n: int, size: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns noise, (n, 3, size, size), uniform in [-1, 1]."""
    return 2.0 * torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed), dtype=dtype) - 1.0


def square_hole(n: int, size: int, *, side: int | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns masks (n, 1, size, size) with a square hole, by default half as wide as the image."""
    side = side or size // 2
    start = (size - side) // 2
    mask = torch.zeros(n, 1, size, size, dtype=dtype)
    mask[:, :, start : start + side, start : start + side] = 1.0
    return mask


#: A photo that is no square, (1, 3, HEIGHT, WIDTH), and a hole in it.
HEIGHT, WIDTH = 97, 131
OBLONG = pictures(1, WIDTH)[:, :, :HEIGHT]


def hole_at(top: int, left: int, height: int, width: int) -> Tensor:
    """Returns a mask (1, 1, HEIGHT, WIDTH) with a rectangular hole."""
    mask = torch.zeros(1, 1, HEIGHT, WIDTH)
    mask[..., top : top + height, left : left + width] = 1.0
    return mask
