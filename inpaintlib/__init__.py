"""inpaintlib: image inpainting by searching the latent space of StyleGAN2(-ADA).

Data flows one way: images and masks -> generator -> objective -> search -> metrics -> figures.

Images are float32 (N, 3, H, W), RGB, in [-1, 1]; masks (N, 1, H, W) with 1 = hole and 0 = known.
"""

from .checks import InpaintError
from .invert import Inversion, Search, invert, replay
from .losses import Objective, objective_from
from .stylegan2 import Discriminator, Generator
from .weights import load_discriminator, load_generator

__all__ = [
    "Discriminator",
    "Generator",
    "InpaintError",
    "Inversion",
    "Objective",
    "Search",
    "invert",
    "load_discriminator",
    "load_generator",
    "objective_from",
    "replay",
]

__version__ = "0.1.0"
