"""What is kept of finished work, and what its name depends on."""

from __future__ import annotations

import pytest
import torch

from inpaintlib import store as store_module
from inpaintlib.store import Store, digest, source_digest, surroundings


def test_tensors_and_facts_come_back_bit_for_bit(tmp_path):
    store = Store(tmp_path)
    tensors = {"b": torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), "a": torch.arange(4),
               "view": torch.arange(6.0).view(2, 3).T}  # fmt: skip
    key = store.key({"x": 1})
    assert not store.holds(key) and store.load(key) is None
    store.save(key, tensors, {"columns": ["a", "b"]})
    assert store.holds(key)
    found, facts = store.load(key)
    assert facts == {"columns": ["a", "b"]} and set(found) == set(tensors)
    for name, value in tensors.items():
        assert torch.equal(found[name], value) and found[name].dtype == value.dtype
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".safetensors"]


def test_a_key_depends_on_facts_and_context_alone(tmp_path):
    a = Store(tmp_path, context={"torch": "2"})
    assert (
        a.key({"x": 1, "y": 2})
        == a.key({"y": 2, "x": 1})
        == Store("elsewhere", context={"torch": "2"}).key({"x": 1, "y": 2})
    )
    assert len({a.key({"x": 1}), a.key({"x": 2}), Store(tmp_path, context={"torch": "3"}).key({"x": 1})}) == 3


def test_a_digest_tells_values_shapes_and_types_apart():
    x = torch.arange(6.0)
    assert digest(x) == digest(x.clone()) == digest(torch.stack([x, x])[1])
    others = [x + 1, x.view(2, 3), x.double(), x.int()]
    assert len({digest(x), *map(digest, others)}) == 5


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "PACKAGE", tmp_path)
    (tmp_path / "top.py").write_text('"""Top."""\nfrom .low import f\n')
    (tmp_path / "low.py").write_text("def f(x):\n    return x + 1\n")
    (tmp_path / "late.py").write_text("y = 1\n")
    (tmp_path / "aside.py").write_text("z = 1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("low", "def f(x):\n    return x + 2\n", False),
        ("low", "def f(x):  # why\n\n    return (x + 1)\n", True),
        ("top", '"""Another text."""\nfrom .low import f\n', True),
        ("aside", "z = 2\n", True),
        ("top", '"""Top."""\nfrom .low import f\nfrom . import aside\n', False),
    ],
)
def test_code_counts_and_comments_do_not(package, name, text, same):
    before = source_digest("top")
    (package / f"{name}.py").write_text(text)
    assert (source_digest("top") == before) == same


def test_another_docstring_is_no_other_code(package):
    (package / "low.py").write_text('def f(x):\n    """Returns one more."""\n    return x + 1\n')
    before = source_digest("top")
    (package / "low.py").write_text('def f(x):\n    """Adds one."""\n    return x + 1\n')
    assert source_digest("top") == before


def test_imports_inside_functions_count(package):
    (package / "top.py").write_text("def g():\n    from .late import y\n    return y\n")
    before = source_digest("top")
    (package / "late.py").write_text("y = 2\n")
    assert source_digest("top") != before


def test_the_surroundings_of_the_search_know_its_code_machine_and_threads():
    found = surroundings("grid")
    assert {"python", "torch", "timm", "processor", "threads of torch", "code"} <= set(found)
    assert found["threads of torch"] == str(torch.get_num_threads())
    assert "commit" not in found, "another commit of the same code has the same results"
