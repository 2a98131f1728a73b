"""How a face lies in the square picture that a generator was trained on: a property of the model.

``celeba``: the centred square of CelebA's aligned pictures. ``ffhq``: the rotated square around eyes and mouth of
Karras et al. 2019 (appendix A). ``none``: no face, or none in a fixed place; a photo's centred square is taken.
"""

from __future__ import annotations

__all__ = ["ALIGNMENTS"]

ALIGNMENTS = ("none", "celeba", "ffhq")
