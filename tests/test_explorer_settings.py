"""The explorer's settings are those of ``make inpaint``, and survive their file."""

from __future__ import annotations

import shlex

import pytest
import yaml

from inpaintlib import params
from inpaintlib.checks import InpaintError
from inpaintlib.explorer.settings import Settings, command
from inpaintlib.study import project_root

EMBEDDED = params.load(project_root() / "params" / "embedded" / "inpaint.yaml")


def test_the_defaults_are_those_of_make_inpaint_but_for_its_length():
    values = Settings().params("a.png", "b.png", "c.png")
    differing = {key for key in values if values[key] != EMBEDDED[key]}
    assert differing == {"profile", "image", "mask", "out", "steps", "fit_steps"}
    assert list(values) == list(params.Inpaint.model_fields)
    p = params.Inpaint.from_mapping(values)
    assert (p.image, p.mask, p.out, p.steps, p.fit_steps) == ("a.png", "b.png", "c.png", 100, 50)


@pytest.mark.parametrize("prompt", ["", "a 'smiling' woman: #1 \"no\"", "no", "1e-4", "ein Mädchen 👧", "a\nb\tc\x07"])
@pytest.mark.parametrize("steps", [1, 2, 33, 100])
def test_the_file_holds_what_was_set(tmp_path, prompt, steps):
    settings = Settings(prompt=prompt, steps=steps, learning_rate=1e-5, fit_share=0.37, profile=tmp_path.name)
    path = tmp_path / "params.yaml"
    path.write_text(settings.model_copy(update={"profile": path.parent.name}).yaml("photo 1.png"), encoding="utf-8")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert values["image"] == "photo 1.png" and values["prompt"] == prompt.strip()
    assert values["learning_rate"] == 1e-5 and isinstance(values["learning_rate"], float)
    assert Settings.from_params(values).params() == settings.params()
    assert params.Inpaint.from_mapping(params.load(path)).search().fit_steps < max(steps, 2)


def test_wishes_steer_after_a_share_of_the_steps():
    settings = Settings(prompt="a smiling person", steps=40, fit_share=0.25)
    search = params.Inpaint.from_mapping(settings.params()).search()
    assert (search.steps, search.fit_steps, search.stay_weight) == (40, 10, 1.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"samples": 0}, "samples must be greater than or equal to 1, found 0"),
        ({"samples": 99}, "samples must be less than or equal to 16"),
        ({"steps": 10**9}, "steps must be less"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number"),
        ({"learning_rate": "0.1"}, "learning_rate must be a valid number"),
        ({"space": "x"}, "space "),
        ({"sampels": 3}, "unknown key 'sampels'.*'samples' meant"),
        ({"prompt": "long " * 300}, "prompt "),
        ({"fit_share": 1.0}, "fit_share must be less than 1"),
        ({"lpips_network": "percept-judge"}, "lpips_network "),
    ],
)
def test_a_wrong_value_is_named(change, said):
    with pytest.raises(InpaintError, match=said):
        Settings.from_mapping(change)


def test_something_must_fit_the_known_pixels():
    with pytest.raises(InpaintError, match="must not both be 0"):
        Settings(mse_weight=0.0, lpips_weight=0.0).params()


def test_the_command_is_one_line_that_a_shell_reads_back():
    line = command("my photo.png", "m.png", "$HOME/p.yaml", "it's.png", 3)
    assert shlex.split(line) == ["make", "inpaint", "IMAGE=my photo.png", "MASK=m.png", "PARAMS=$HOME/p.yaml",
                                 "OUT=it's.png", "THREADS=3"]  # fmt: skip
    other = shlex.split(command("a", "b", "c", "d", 1, "/my envs/bin/python"))
    assert other[-2:] == ["PYTHON=/my envs/bin/python", "THREADS=1"]
