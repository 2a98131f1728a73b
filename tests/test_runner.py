"""What is refused before a kernel starts; the runs themselves are in test_makefile.py."""

from __future__ import annotations

import re
import shutil

import nbformat
import papermill
import pytest
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from PIL import Image

from inpaintlib import inpaint as verb
from inpaintlib import report, runner
from inpaintlib.__main__ import main
from inpaintlib.checks import InpaintError
from inpaintlib.inpaint import _slug
from inpaintlib.study import project_root

from .notebooks import YAML, notebook, write
from .tiny import tiny_generator

ROOT = project_root()


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("INPAINTLIB_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "tiny", notebook())
    return tmp_path


def run(project):
    runner.run(
        project / "notebooks/tiny.ipynb", project / "params/embedded/tiny.yaml", project / "reports/embedded/tiny.ipynb"
    )


def test_right_parameters_are_those_of_the_file(project):
    values = runner.checked_parameters(
        project / "notebooks/tiny.ipynb", project / "params/embedded/tiny.yaml", {"seed": 9}
    )
    assert values == {"profile": "embedded", "seed": 9, "rate": 0.1, "fail": False}


@pytest.mark.parametrize(
    ("yaml", "sentence"),
    [
        (YAML + "steps: 3\n", "unknown key steps; tiny.ipynb has no such parameter"),
        (YAML.replace("rate: 0.1", "sead: 0.1"), "unknown key sead"),
        (YAML.replace("fail: false  # on purpose\n", ""), "key fail is missing"),
        (YAML.replace("0.1", "1e-1"), "rate must be a valid number, found '1e-1'"),
        (YAML.replace("0.1", ".nan"), "rate must be a finite number, found nan"),
        (YAML.replace("seed: 3", "seed: 3.5"), "seed must be a valid integer"),
    ],
)
def test_wrong_parameters_are_one_sentence_and_touch_nothing(project, capsys, yaml, sentence):
    write(project, "tiny", notebook(), yaml)
    out = project / "reports/embedded/tiny.ipynb"
    out.parent.mkdir(parents=True)
    out.write_text("an earlier result")
    status = main(["run", "notebooks/tiny.ipynb", "--params", "params/embedded/tiny.yaml", "--out", str(out)])
    said = capsys.readouterr().err
    assert status == 1
    assert said.startswith("error: params/embedded/tiny.yaml: ") and said.count("\n") == 1
    assert sentence in said
    assert out.read_text() == "an earlier result"


def test_a_notebook_must_exist_and_have_literal_parameters(project):
    params_file = project / "params/embedded/tiny.yaml"
    with pytest.raises(InpaintError, match="none.ipynb is missing"):
        runner.checked_parameters(project / "notebooks/none.ipynb", params_file, {})
    write(project, "tiny", notebook(parameters="seed = 1 + other"))
    with pytest.raises(InpaintError, match="parameter seed must be a literal value; found 1 \\+ other"):
        runner.checked_parameters(project / "notebooks/tiny.ipynb", params_file, {})
    nb = notebook()
    nb.cells[1].metadata["tags"] = []
    write(project, "tiny", nb)
    with pytest.raises(InpaintError, match="must have a cell tagged 'parameters'"):
        runner.checked_parameters(project / "notebooks/tiny.ipynb", params_file, {})


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"nbformat": 4, "cells": 3}', '{"nbformat": 99, "cells": []}'])
def test_a_damaged_notebook_is_one_sentence(project, text):
    (project / "notebooks/tiny.ipynb").write_text(text)
    with pytest.raises(InpaintError, match="tiny.ipynb must be a notebook; it cannot be read: ") as caught:
        run(project)
    assert "\n" not in str(caught.value)


def test_only_the_output_is_said_to_be_unwritable(project, monkeypatch):
    calls = replies(monkeypatch)
    (project / "reports").write_text("a file where the folder should be")
    with pytest.raises(InpaintError, match="reports/embedded/tiny.ipynb cannot be written: "):
        run(project)
    assert not calls


def replies(monkeypatch, *faults):
    """Makes papermill raise ``faults`` in turn, then write an empty result; returns the list of calls."""
    calls = []

    def execute_notebook(source, target, *args, **kwargs):
        calls.append(source)
        nbformat.write(notebook(), target)
        if len(calls) <= len(faults):
            raise faults[len(calls) - 1]

    monkeypatch.setattr(papermill, "execute_notebook", execute_notebook)
    return calls


def test_a_kernel_that_dies_before_its_first_word_is_tried_once_more(project, monkeypatch):
    early = RuntimeError("Kernel died before replying to kernel_info")
    calls = replies(monkeypatch, early)
    run(project)
    assert len(calls) == 2
    assert (project / "reports/embedded/tiny.ipynb").is_file()
    assert len(replies(monkeypatch, early, early)) == 0
    with pytest.raises(InpaintError, match="tiny.ipynb: its kernel did not start, twice: .*before replying"):
        run(project)


def test_a_fault_that_is_not_of_the_start_is_not_tried_again(project, monkeypatch):
    calls = replies(monkeypatch, RuntimeError("something else"))
    with pytest.raises(RuntimeError, match="something else"):
        run(project)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (DeadKernelError("Kernel died"), "its process was killed, often for want of memory"),
        (PapermillExecutionError(2, 7, "", "InpaintError", "mask is bad", []), "failed in cell 7: mask is bad \\(see "),
        (PapermillExecutionError(2, 7, "", "KeyError", "'w'", []), "failed in cell 7: KeyError: 'w' \\(see "),
        (OSError(28, "No space left on device"), "tiny.ipynb could not be run to its end: .*No space left on device"),
        (NoSuchKernel("python3"), "tiny.ipynb needs the kernel 'python3'; install ipykernel"),
    ],
)
def test_a_failed_run_is_one_sentence_and_no_result(project, monkeypatch, fault, sentence):
    replies(monkeypatch, fault)
    out = project / "reports/embedded/tiny.ipynb"
    out.parent.mkdir(parents=True)
    out.write_text("an earlier result")
    with pytest.raises(InpaintError, match=sentence):
        run(project)
    assert not out.exists()
    assert (out.parent / "tiny.failed.ipynb").is_file()


class TestInpaint:
    """`make inpaint` without a run: what it refuses at once, and what it hands to the notebook."""

    @pytest.fixture
    def files(self, project, monkeypatch):
        """A picture, its mask and its params; the list of what would have run."""
        for name in ("notebooks/inpaint.ipynb", "params/smoke/inpaint.yaml"):
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, project / name)
        Image.new("RGB", (16, 12), "grey").save(project / "My Photo.jpg")
        hole = Image.new("L", (16, 12))
        hole.paste(255, (5, 3, 10, 9))
        hole.save(project / "mask.png")
        hole.save(project / "mask.jpg", quality=60)
        hole.resize((8, 6)).point(lambda level: 255 * (level > 127)).save(project / "small.png")
        ran: list[tuple] = []
        monkeypatch.setattr(runner, "run", lambda *arguments: ran.append(arguments))
        monkeypatch.setattr(report, "render", lambda executed: executed.with_suffix(".html"))
        monkeypatch.setattr(report, "index", lambda profile: None)
        return ran

    def inpaint(self, *arguments):
        return main(["inpaint", "My Photo.jpg", *arguments, "--params", "params/smoke/inpaint.yaml"])

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["mask.jpg"], "grey or coloured. Split them .* THRESHOLD=1 for make inpaint"),
            (["small.png"], "must be 16 x 12 pixels .* got 8 x 6. .* RESIZE=1 for make inpaint"),
            (["gone.png"], "gone.png must be a picture file; there is no such file"),
            (["x" * 300], "cannot be read: File name too long|there is no such file"),
            (["mask.png", "--out", "a.jpg"], "a.jpg must end in .png"),
            (["mask.png", "--out", "mask.png/a.png"], "mask.png/a.png cannot be written: "),
            (["mask.png", "--out", "folder.png"], "folder.png must name a file to write; it is a folder"),
        ],
    )
    def test_bad_files_are_one_sentence_before_anything_runs(self, project, files, capsys, arguments, sentence):
        (project / "folder.png").mkdir()
        assert self.inpaint(*arguments) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and re.search(sentence, said)
        assert not files and not (project / "reports").exists()

    def test_every_picture_has_a_folder_of_its_own(self, project, files):
        assert self.inpaint("mask.png") == 0
        ((notebook, _, executed, overrides),) = files
        folder = project / "reports" / "inpaint-my-photo"
        assert (notebook, executed) == (project / "notebooks/inpaint.ipynb", folder / "inpaint.ipynb")
        assert overrides == {
            "profile": "inpaint-my-photo", "image": str(project / "My Photo.jpg"),
            "mask": str(project / "mask.png"), "out": str(folder / "result.png"),
        }  # fmt: skip

    def test_flags_reach_the_notebook(self, project, files):
        assert self.inpaint("mask.jpg", "--threshold", "--out", "new/a.png") == 0
        assert self.inpaint("small.png", "--resize-mask") == 0
        first, second = (arguments[-1] for arguments in files)
        assert first["threshold_mask"] is True and "resize_mask" not in first
        assert first["out"] == str(project / "new" / "a.png")
        assert second["resize_mask"] is True and "threshold_mask" not in second

    @pytest.mark.parametrize(
        ("wish", "sentence"),
        [
            ("--attributes=+Smile", "nearest: Smiling"),
            ("--attributes=+Smiling,-Smiling", "-Smiling contradicts \\+Smiling"),
            ("--attributes= ", "ATTRIBUTES must say what the hole should show; it is empty"),
            ("--prompt=", "PROMPT must say what the hole should show; it is empty"),
            ("--prompt=?!", "prompt must be a sentence with words"),
            ("--prompt=a woman with purple lipstick", "it does not know purple"),
            ("--prompt=" + "a smiling woman with glasses " * 9, "prompt must have at most 30 tokens"),
        ],
    )
    def test_bad_wishes_are_one_sentence_before_anything_runs(self, project, files, capsys, wish, sentence):
        assert self.inpaint("mask.png", wish) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and re.search(sentence, said)
        assert not files and not (project / "reports").exists()

    def test_wishes_reach_the_notebook(self, project, files):
        assert self.inpaint("mask.png", "--attributes=-Eyeglasses,+Young", "--prompt=a smiling woman") == 0
        assert files[0][-1]["attributes"] == "-Eyeglasses,+Young" and files[0][-1]["prompt"] == "a smiling woman"

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["--align"], "no face with two visible eyes was found .* EYES=x,y,x,y .* ALIGN=0"),
            (["--align", "--eyes=3,4,x"], "EYES must be four numbers x,y,x,y, .* got '3,4,x'"),
            (["--align", "--eyes="], "EYES must be four numbers"),
            (["--align", "--eyes=3,4,19,4"], "EYES must lie in the picture, 16 x 12 pixels; 19,4 does not"),
            (["--align", "--eyes=9,4,3,4"], "EYES must name the eye on the left of the picture first"),
            (["--eyes=3,4,9,4"], "EYES and FACE are for aligned faces, ALIGN=1"),
            (["--align", "--face=big"], "FACE must be 1 for the largest face, .* got 'big'"),
            (["--align", "--face=0"], "FACE must be 1 for the largest face, .* got '0'"),
            (["--align", "--eyes=13,8,15,8"], "the mask reaches 24 pixels beyond the face's square"),
            (["--align", "--eyes=1,1,15,11", "--face=2"], "FACE must be at most 1, the number of faces found; got 2"),
            (["--align", "--eyes=1,1,15,11"], "1,1 and 15,11 are 17 pixels apart, .* square would be 78 pixels wide"),
            (["--blend=soft"], "BLEND must be one of hard, feathered, poisson; got 'soft'"),
        ],
    )
    def test_bad_faces_are_one_sentence_before_anything_runs(self, project, files, capsys, arguments, sentence):
        assert self.inpaint("mask.png", *arguments) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and re.search(sentence, said)
        assert not files and not (project / "reports").exists()

    @pytest.mark.parametrize(
        ("key", "network", "arguments", "sentence"),
        [
            ("lpips_network", '"lpips-vgg"', [], "lpips-vgg"),
            ("classifier_network", '"gone.safetensors"', ["--attributes=+Smiling"], "gone.safetensors"),
            ("clip_network", '"gone.safetensors"', ["--prompt=a smiling woman"], "gone.safetensors"),
        ],
    )
    def test_missing_networks_are_one_sentence_before_anything_runs(
        self, project, files, capsys, monkeypatch, key, network, arguments, sentence
    ):
        monkeypatch.setenv("INPAINTLIB_WEIGHTS", str(project / "weights"))
        monkeypatch.setenv("TORCH_HOME", str(project / "torch"))
        path = project / "params/smoke/inpaint.yaml"
        path.write_text(re.sub(rf"^{key}: .*$", f"{key}: {network}", path.read_text(), flags=re.MULTILINE))
        assert self.inpaint("mask.png", *arguments) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and sentence in said
        assert not files and not (project / "reports").exists()

    def test_networks_of_no_wish_are_not_needed(self, project, files):
        path = project / "params/smoke/inpaint.yaml"
        path.write_text(re.sub("^(classifier|clip)_network: .*$", r'\1_network: "gone"', path.read_text(), flags=re.M))
        assert self.inpaint("mask.png") == 0 and len(files) == 1

    def test_a_device_that_is_none_is_one_sentence_before_anything_runs(self, project, files, capsys, monkeypatch):
        monkeypatch.setenv("INPAINTLIB_DEVICE", "nonsense")
        assert self.inpaint("mask.png") == 1
        assert capsys.readouterr().err == "error: INPAINTLIB_DEVICE must be cpu, cuda or cuda:N; got 'nonsense'\n"
        assert not files and not (project / "reports").exists()

    def test_what_a_chosen_face_leaves_is_said(self, project, files, capsys):
        assert self.inpaint("mask.png", "--align", "--eyes=13,8,15,8", "--face=1") == 0
        assert capsys.readouterr().err == "note: 24 pixels of the mask are not face 1's; they stay as they are\n"

    def test_faces_and_blending_reach_the_notebook(self, project, files):
        assert self.inpaint("mask.png", "--align", "--eyes=6,5,9,5", "--face=1", "--blend=poisson") == 0
        told = files[0][-1]
        assert {key: told[key] for key in ("crop", "eyes", "face", "blend")} == {
            "crop": "aligned", "eyes": "6,5,9,5", "face": 1, "blend": "poisson",
        }  # fmt: skip

    def test_a_generator_without_alignment_cannot_align(self, project, files, capsys, monkeypatch):
        generator = tiny_generator(16)
        monkeypatch.setattr(verb, "load_generator", lambda name: generator)
        assert self.inpaint("mask.png", "--align", "--eyes=6,5,9,5") == 1
        assert "ALIGN=1 (crop: aligned) needs a generator whose file says" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("stem", "slug"), [("photo", "photo"), ("My Photo (2)", "my-photo-2"), ("../a_b", "a-b"), ("фото", "picture")]
    )
    def test_slugs_are_names_of_profiles(self, stem, slug):
        assert _slug(stem) == slug
