"""Named feature networks: shipped, given, and one whose weights the user brings."""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from inpaintlib import extractors
from inpaintlib.checks import InpaintError
from inpaintlib.extractors import INCEPTION_FILE, Features, features, of_percept
from inpaintlib.features import load_percept

from .tiny import pictures, seeded, tiny_percept


class TinyInception(nn.Module):
    """Has what matters of torchvision's: a body and a classifier named fc."""

    def __init__(self, **_):
        super().__init__()
        self.body, self.fc = nn.Conv2d(3, 5, 3), nn.Linear(5, 10)

    def forward(self, x):
        assert x.shape[2:] == (299, 299)
        return self.fc(self.body(x).mean(dim=(2, 3)))


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache of torch.hub."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torchvision.models, "inception_v3", TinyInception)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_default_is_the_shipped_judge_pooled():
    judge, x = features(), pictures(3, 64)
    assert judge.name == "percept-judge"
    found = judge(x)
    assert found.dtype == np.float64 and found.shape[0] == 3
    np.testing.assert_allclose(found, load_percept("percept-judge").pooled(x).numpy(), rtol=1e-5)


def test_batches_change_nothing_and_images_are_clamped():
    x = 2.0 * pictures(5, 16)
    one, other = (of_percept(tiny_percept(), batch=batch)(x) for batch in (2, 100))
    np.testing.assert_allclose(one, other, rtol=1e-5)
    np.testing.assert_array_equal(other, of_percept(tiny_percept())(x.clamp(-1, 1)))
    assert of_percept(tiny_percept()).name == "tiny"


def test_features_of_double_images_are_those_of_single_ones():
    x = pictures(2, 16)
    np.testing.assert_array_equal(of_percept(tiny_percept())(x.double()), of_percept(tiny_percept())(x))


def test_inception_is_read_from_the_cache_without_its_classes(cache):
    network = seeded(TinyInception)
    torch.save(network.state_dict(), cache / INCEPTION_FILE)
    x, before = pictures(2, 16), torch.get_rng_state()
    found = features("inception")
    assert found.name == "inception" and torch.equal(torch.get_rng_state(), before)
    body = network.body(extractors.resize(x, 299)).mean(dim=(2, 3)).detach()
    np.testing.assert_allclose(found(x), body.numpy(), rtol=1e-4, atol=1e-6)


def test_torchvision_s_inception_gives_2048_features():
    network = extractors._inception(seeded(lambda: torchvision.models.inception_v3(init_weights=False)).state_dict())
    found = Features("inception", network)(pictures(1, 96))
    assert found.shape == (1, 2048) and np.isfinite(found).all()


def test_absent_weights_are_named_and_not_fetched(cache):
    with pytest.raises(InpaintError, match=rf"{INCEPTION_FILE}; none at {cache}.*put the file there"):
        features("inception")


def test_damaged_or_foreign_weights_are_refused(cache):
    (cache / INCEPTION_FILE).write_bytes(b"no weights")
    with pytest.raises(
        InpaintError, match=f"{INCEPTION_FILE} must hold torchvision's Inception-v3 weights; unreadable"
    ):
        features("inception")
    torch.save({"fc.weight": torch.zeros(1)}, cache / INCEPTION_FILE)
    with pytest.raises(InpaintError, match=f"{INCEPTION_FILE} must hold torchvision's Inception-v3 weights; Error"):
        features("inception")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (pictures(1, 8)[0], r"images must have shape \(N, 3, H, W\); got \(3, 8, 8\)"),
        (pictures(1, 8)[:0], r"images must have shape \(N, 3, H, W\); got \(0, 3, 8, 8\)"),
        (torch.nan * pictures(1, 8), "images must be finite"),
        ([1], "images must be a Tensor; got a list"),
    ],
)
def test_wrong_images_are_refused(images, message):
    with pytest.raises(InpaintError, match=message):
        of_percept(tiny_percept())(images)


def test_another_name_or_batch_is_refused():
    with pytest.raises(InpaintError, match="features must be one of percept-judge, inception; got 'vgg'"):
        features("vgg")
    with pytest.raises(InpaintError, match="batch must be at least 1; got 0"):
        of_percept(tiny_percept(), batch=0)(pictures(1, 16))
