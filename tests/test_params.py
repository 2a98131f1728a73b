from __future__ import annotations

import ast
import math
from pathlib import Path

import papermill
import pytest
from pydantic import BaseModel

from inpaintlib import params
from inpaintlib.checks import InpaintError
from inpaintlib.invert import Search
from inpaintlib.runner import checked_parameters
from inpaintlib.study import project_root


class Small(params.Params):
    steps: params.Count
    learning_rate: params.Positive
    modes: list[params.LpipsMode]


RIGHT = {"profile": "smoke", "seed": 3, "steps": 5, "learning_rate": 0.1, "modes": ["fill"]}


def test_right_values_come_back_unchanged():
    assert Small.from_mapping(RIGHT).model_dump() == RIGHT


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": "5"}, "steps must be a valid integer, found '5'"),
        ({"steps": 5.0}, "steps must be a valid integer, found 5.0"),
        ({"steps": True}, "steps must be a valid integer, found True"),
        ({"steps": 0}, "steps must be greater than or equal to 1, found 0"),
        ({"seed": -1}, "seed must be greater than or equal to 0"),
        ({"learning_rate": math.nan}, "learning_rate must be a finite number, found nan"),
        ({"learning_rate": math.inf}, "learning_rate must be a finite number, found inf"),
        ({"learning_rate": 0.0}, "learning_rate must be greater than 0"),
        (
            {"learning_rate": "1e-4"},
            r"learning_rate must be a valid number, found '1e-4' \(text; write a number with a dot",
        ),
        ({"modes": ["fil"]}, "modes.0 must be 'zero', 'fill', 'features' or"),
        ({"profile": "../etc"}, "profile must match pattern"),
        ({"sead": 4}, r"unknown key 'sead' \(is 'seed' meant\?\)"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(change, sentence):
    with pytest.raises(InpaintError, match=f"here.yaml: {sentence}"):
        Small.from_mapping(RIGHT | change, "here.yaml")


def test_all_faults_are_told_at_once():
    with pytest.raises(InpaintError, match="key 'seed' is missing; steps must .*; unknown key 'foo'"):
        Small.from_mapping({k: v for k, v in RIGHT.items() if k != "seed"} | {"steps": -1, "foo": 1})


def test_a_notebook_cell_is_read_from_its_namespace_alone():
    namespace = {**RIGHT, "torch": object(), "_i1": "text"}
    assert Small.from_cell(namespace).steps == 5
    del namespace["steps"]
    with pytest.raises(InpaintError, match="key 'steps' is missing"):
        Small.from_cell(namespace)


def test_parameters_cannot_be_changed_after_the_check():
    with pytest.raises(ValueError, match="frozen"):
        Small.from_mapping(RIGHT).steps = 6


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must hold lines of the form 'key: value'; found 'None'"),
        ("- 1\n", "must hold lines of the form"),
        ("1: 2\n", "must hold lines of the form"),
        ("a: [1\n", "must be a readable YAML file: "),
        ("seed: 1\nseed: 2\n", "key 'seed' stands twice"),
        ("seed: 2024-13-01\n", "must be a readable YAML file: month must be in 1..12"),
        ("? [seed]\n: 1\n", "must be a readable YAML file: .*unhashable key"),
        ("a: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("profile: full\n", "profile must be 'smoke', its folder; found 'full'"),
    ],
)
def test_a_bad_params_file_is_refused_in_one_line(tmp_path, text, sentence):
    path = tmp_path / "smoke" / "a.yaml"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(InpaintError, match=sentence) as caught:
        params.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_params_file_is_refused(tmp_path):
    with pytest.raises(InpaintError, match="No such file"):
        params.load(tmp_path / "a.yaml")


@pytest.mark.parametrize("name", ["mine.yaml", "./mine.yaml", "../smoke/mine.yaml"])
def test_the_profile_is_the_folder_however_the_file_is_named(tmp_path, monkeypatch, name):
    (tmp_path / "smoke").mkdir()
    monkeypatch.chdir(tmp_path / "smoke")
    Path("mine.yaml").write_text("profile: smoke\n")
    assert params.load(name) == {"profile": "smoke"}
    Path("mine.yaml").write_text("profile: full\n")
    with pytest.raises(InpaintError, match="mine.yaml: profile must be 'smoke', its folder; found 'full'"):
        params.load(name)


def test_a_notebook_without_a_model_is_held_to_the_types_of_its_cell():
    model = params.model_for("own", {"profile": "smoke", "seed": 0, "rate": 0.5, "names": ["a"]})
    assert model.from_mapping({"profile": "smoke", "seed": 0, "rate": 0.1, "names": []}).rate == 0.1
    with pytest.raises(InpaintError, match="rate must be a valid number"):
        model.from_mapping({"profile": "smoke", "seed": 0, "rate": "1e-1", "names": []})


@pytest.mark.parametrize("model", params.MODELS.values(), ids=params.MODELS.keys())
def test_models_are_flat_and_strict(model):
    assert model.model_config["strict"] and model.model_config["extra"] == "forbid"
    for field in model.model_fields.values():
        assert field.is_required(), "a params file states every value"
        assert not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel))


@pytest.mark.parametrize(
    "path", sorted((project_root() / "params").glob("*/*.yaml")), ids=lambda p: "/".join(p.parts[-2:])
)
def test_every_params_file_is_right_and_explains_its_keys(path):
    assert path.stem in params.MODELS
    params.MODELS[path.stem].from_mapping(params.load(path), path.name)
    keys = [line for line in path.read_text().splitlines() if line and not line.startswith(("#", " ", "-"))]
    assert [line for line in keys if " #" not in line] == []


MSE_LPIPS = {
    "profile": "smoke", "seed": 0, "image_steps": 100, "precision": "autocast", "generator": "faces64", "space": "z",
    "steps": 7, "learning_rate": 0.3, "last_rate": 0.5, "mse_weight": 2.0, "faces": 2, "batch_size": 1,
    "mask_family": "center", "coverage": 0.2, "resamples": 100, "shown": 1, "lpips_weight": 1.0,
    "lpips_network": "lpips-vgg", "lpips_modes": ["zero", "fill"], "steps_long": 9, "great": 0.25,
}  # fmt: skip


def test_objective_and_search_take_their_keys_and_no_others():
    p = params.MseLpips.from_mapping(MSE_LPIPS)
    assert p.terms() == {"mse_weight": 2.0, "lpips_weight": 1.0, "lpips_network": "lpips-vgg"}
    assert p.search() == Search(space="z", steps=7, learning_rate=0.3, last_rate=0.5, precision="autocast")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"faces": 1}, "faces must be greater than or equal to 2, found 1"),
        ({"resamples": 99}, "resamples must be greater than or equal to 100, found 99"),
        ({"steps_long": 0}, "steps_long must be greater than or equal to 1"),
        ({"great": 0.0}, "great must be greater than 0"),
        ({"great": 1.5}, "great must be less than or equal to 1"),
        (
            {"lpips_network": "percept-judge"},
            "network must be 'percept-guide', 'lpips-alex', 'lpips-vgg' or 'lpips-squeeze', found 'percept-judge'",
        ),
    ],
)
def test_values_that_would_make_no_sound_report_are_refused(change, sentence):
    with pytest.raises(InpaintError, match=sentence):
        params.MseLpips.from_mapping(MSE_LPIPS | change)


@pytest.mark.parametrize(
    ("notebook", "change", "sentence"),
    [
        ("naive_mse", {"mse_weight": 0.0}, "mse_weight must be greater than 0"),
        ("generator", {"codes": 3}, "codes must be greater than or equal to 4"),
        ("generator", {"resamples": 10}, "resamples must be greater than or equal to 100"),
        ("inpaint", {"lpips_network": "percept-judge"}, "lpips_network must be 'percept-guide', "),
    ],
)
def test_other_notebooks_have_their_least_values_too(notebook, change, sentence):
    right = params.load(project_root() / "params" / "smoke" / f"{notebook}.yaml")
    with pytest.raises(InpaintError, match=f"^parameters: {sentence}"):
        params.MODELS[notebook].from_mapping(right | change)


NOTEBOOKS = [project_root() / "notebooks" / f"{stem}.ipynb" for stem in params.MODELS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_parameters_cell_holds_the_values_of_the_default_profile(path):
    defaults = checked_parameters(path, project_root() / "params" / "embedded" / f"{path.stem}.yaml", {})
    cell = {name: ast.literal_eval(entry["default"]) for name, entry in papermill.inspect_notebook(str(path)).items()}
    assert cell == defaults
