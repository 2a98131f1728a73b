"""Hostile and broken files: none runs anything, none costs much, each is refused in one clear sentence."""

from __future__ import annotations

import json
import os
import pickletools
import random
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from inpaintlib import load_generator
from inpaintlib.errors import InpaintError
from inpaintlib.published import convert as converting
from inpaintlib.published.convert import convert
from inpaintlib.published.networks import read_networks

from . import hostile, standin

PACKAGE = Path(converting.__file__).parents[1]
SECONDS, MEGABYTES = 5.0, 200.0  # the aim for the time is 1 s; a busy machine is slower
# Reads one file after the other as the child of a conversion reads one: without torch, and with little memory.
READER = """
import json, resource, sys, time, types
package = types.ModuleType("inpaintlib")
package.__path__ = [sys.argv[1]]
sys.modules["inpaintlib"] = package
from inpaintlib.published import child
child._limit = lambda source: None
resource.setrlimit(resource.RLIMIT_AS, (child.MEMORY, child.MEMORY))
for line in sys.stdin:
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")  # the peak starts anew
    start = time.perf_counter()
    status = child.main(json.loads(line))
    seconds = time.perf_counter() - start
    with open("/proc/self/status") as f:
        peak = int(next(row for row in f if row.startswith("VmHWM")).split()[1]) / 1024
    sys.stderr.flush()
    strange = [m for m in sys.modules if m.split(".")[0] in ("torch", "torch_utils", "dnnlib")]
    print(json.dumps([status, seconds, peak, strange]), flush=True)
"""


class Reader:
    """A process that reads many files; a test's file must not end it."""

    def __init__(self, folder: Path):
        self.words = folder / "stderr"
        with open(self.words, "w") as f:
            self.process = subprocess.Popen([sys.executable, "-I", "-c", READER, str(PACKAGE)], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=f, text=True,
                                            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})  # fmt: skip
        self.seconds = self.megabytes = 0.0

    def __call__(self, source: Path, targets: list[Path]) -> None:
        before = self.words.stat().st_size
        self.process.stdin.write(json.dumps([str(source), *map(str, targets)]) + "\n")
        self.process.stdin.flush()
        answered = select.select([self.process.stdout], [], [], 4 * SECONDS)[0]
        if not answered:
            self.process.kill()
        answer = self.process.stdout.readline()
        said = self.words.read_bytes()[before:].decode()
        if not answer:
            self.process.wait()
        assert answer, f"the reader did not survive: {said}"
        status, self.seconds, self.megabytes, strange = json.loads(answer)
        assert not strange
        if status:
            raise InpaintError(said.strip())

    def close(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def shared_reader(tmp_path_factory) -> Iterator[list[Reader]]:
    readers = [Reader(tmp_path_factory.mktemp("reader"))]
    yield readers
    readers[0].close()


@pytest.fixture
def reader(shared_reader, monkeypatch, tmp_path) -> Reader:
    """Has ``convert`` read by one process for all tests of this file instead of one for each."""
    if shared_reader[0].process.poll() is not None:
        shared_reader[0].close()
        shared_reader[0] = Reader(tmp_path)
    monkeypatch.setattr(converting, "_read_apart", shared_reader[0])
    return shared_reader[0]


def assert_clear(sentence: str, path: Path) -> None:
    """A refusal is one printable line that names the file, and no traceback."""
    assert path.name in sentence
    assert len(sentence.replace(str(path.parent), "")) < 400
    assert sentence.isprintable(), sentence
    assert not re.search(r"Traceback|\w+Error\b|object at 0x|<class|NoneType", sentence), sentence


@pytest.mark.parametrize("name", hostile.CASES)
def test_hostile_file_runs_nothing_and_is_refused_clearly(name, reader, tmp_path):
    case = hostile.CASES[name]
    canary, folder = tmp_path / "canary", tmp_path / "out"
    folder.mkdir()
    content, suffix = case.make(canary)
    source = tmp_path / f"source{suffix}"
    source.write_bytes(content)
    with pytest.raises(InpaintError) as refusal:
        convert(source, folder / "out.safetensors")
    sentence = str(refusal.value)
    assert_clear(sentence, source)
    assert re.search(case.words, sentence.replace(str(tmp_path), ""), re.DOTALL), sentence
    assert not canary.exists()
    assert not list(folder.iterdir())
    assert reader.seconds < SECONDS
    assert reader.megabytes < MEGABYTES


@pytest.mark.parametrize("name", hostile.HARMLESS)
def test_odd_file_runs_nothing_and_is_read_exactly_if_at_all(name, reader, tmp_path):
    content, suffix = hostile.HARMLESS[name](tmp_path / "canary")
    source, out = tmp_path / f"source{suffix}", tmp_path / "out.safetensors"
    source.write_bytes(content)
    try:
        convert(source, out)
    except InpaintError as refusal:
        assert_clear(str(refusal), source)
        assert not out.exists()
    else:
        expected = hostile.state()
        for key, x in load_generator(out).state_dict().items():
            assert x.contiguous().numpy().tobytes() == expected[key].tobytes(), key
    assert not (tmp_path / "canary").exists()
    assert reader.seconds < SECONDS
    assert reader.megabytes < MEGABYTES


def test_the_file_that_the_cases_change_would_be_read(reader, tmp_path):
    for suffix, content in (
        (".pkl", hostile.pickled(hostile.snapshot())),
        (".safetensors", hostile.safetensors_of(hostile.state())),
        (".pt", hostile.zip_of(hostile.state())),
    ):
        source, out = tmp_path / f"source{suffix}", tmp_path / "new.safetensors"
        source.write_bytes(content)
        convert(source, out)
        expected = hostile.state()
        for key, x in load_generator(out).state_dict().items():
            assert x.contiguous().numpy().tobytes() == expected[key].tobytes(), key


# Cut off and damaged -----------------------------------------------------------------------------------


def assert_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InpaintError) as refusal:
        read_networks(path)
    assert_clear(str(refusal.value), path)


def positions(pickle: bytes, step: int) -> list[int]:
    """Returns where to cut a pickle: at every ``step``-th opcode, and in its argument."""
    starts = [position for _, _, position in pickletools.genops(pickle)]
    return sorted({at for start, end in pairwise(starts[::step]) for at in (start, start + 1, (start + end) // 2)})


def test_snapshot_cut_off_anywhere_is_refused(tmp_path):
    content = hostile.pickled(hostile.snapshot())
    for at in positions(content, 97):
        assert_refused(tmp_path / "cut.pkl", content[:at])


def test_snapshot_of_newer_protocol_cut_off_anywhere_is_refused(tmp_path):
    content = standin.dumps({"G_ema": standin.ada_generator(standin.small_networks(8)[0])}, 4)
    for at in positions(content, 97):
        assert_refused(tmp_path / "cut.pkl", content[:at])


def test_storage_cut_off_anywhere_is_refused(tmp_path):
    """Each of the five pickles of the file within the file, and its numbers."""
    root = hostile.snapshot()
    weight = root["G_ema"].module("mapping.fc0").state["_parameters"]["weight"]
    whole = hostile.storage_file(weight.array)
    for at in range(0, len(whole), 5):
        weight.content = whole[:at]
        assert_refused(tmp_path / "cut.pkl", hostile.pickled({"G_ema": root["G_ema"]}))


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_state_dict_cut_off_anywhere_is_refused(tmp_path, form):
    weights = hostile.state()
    build = {"zip": hostile.zip_of, "legacy": hostile.legacy_of, "safetensors": hostile.safetensors_of}[form]
    content = build(weights)
    for at in range(1, len(content), len(content) // 200):
        assert_refused(tmp_path / "cut.pt", content[:at])


@pytest.mark.parametrize("form", ["snapshot", "zip", "legacy", "safetensors"])
def test_damaged_file_is_read_or_refused_clearly(tmp_path, form):
    builders = {"zip": hostile.zip_of, "legacy": hostile.legacy_of, "safetensors": hostile.safetensors_of}
    content = hostile.pickled(hostile.snapshot()) if form == "snapshot" else builders[form](hostile.state())
    path, draw = tmp_path / "damaged.pt", random.Random(form)
    # Structure stands at the beginning (pickles, headers) and, of a ZIP file, at the end.
    places = [range(min(len(content), 4000)), range(len(content)), range(max(0, len(content) - 3000), len(content))]
    for i in range(100):
        damaged = bytearray(content)
        for _ in range(draw.choice((1, 1, 3, 10))):
            damaged[draw.choice(places[i % 3])] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            read_networks(path)
        except InpaintError as refusal:
            assert_clear(str(refusal), path)


# What is no regular file -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "missing", "loop", "dangling", "pipe", "device", "empty", "long-name"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "source.pkl"
    match kind:
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path)
        case "dangling":
            path.symlink_to(tmp_path / "nothing")
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "empty":
            path.touch()
        case "long-name":
            path = tmp_path / f"{'x' * 300}.pkl"
    with pytest.raises(InpaintError, match=path.name) as refusal:
        read_networks(path)
    assert str(refusal.value).isprintable()


def test_link_to_a_good_file_is_followed(tmp_path):
    (tmp_path / "there.pkl").write_bytes(hostile.pickled(hostile.snapshot()))
    (tmp_path / "here.pkl").symlink_to(tmp_path / "there.pkl")
    assert set(read_networks(tmp_path / "here.pkl")) == {"G", "D"}


# The real child ----------------------------------------------------------------------------------------

CHILD_SECONDS, CHILD_MEGABYTES = 10.0, 1500.0


@pytest.mark.parametrize(
    "name", ["missing", "folder", "code-reduce", "bomb-bytes8-of-an-exbibyte", "bomb-many-opcodes"]
)
def test_child_refuses_within_its_limits_and_leaves_nothing(name, tmp_path, monkeypatch):
    source, out = tmp_path / "source.pkl", tmp_path / "new" / "out.safetensors"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    if name == "folder":
        source.mkdir()
    elif name != "missing":
        source.write_bytes(hostile.CASES[name].make(tmp_path / "canary").content)
    start = time.perf_counter()
    with pytest.raises(InpaintError) as refusal:
        convert(source, out)
    assert time.perf_counter() - start < CHILD_SECONDS
    assert_clear(str(refusal.value), source)
    assert not out.exists() and not list(temporary.iterdir()) and not (tmp_path / "canary").exists()
    assert not list(out.parent.glob("*"))


ODD_NAMES = ["\udcff\udcfe.pkl", "-x.pkl", "\u00fc\U0001f600.pkl", "<b>.pkl"]


@pytest.mark.parametrize("name", ODD_NAMES, ids=["no-text", "dash", "letters", "markup"])
def test_file_of_an_odd_name_is_converted_or_refused_in_one_line(name, reader, tmp_path):
    source, out = tmp_path / name, tmp_path / "out.safetensors"
    source.write_bytes(hostile.pickled(hostile.snapshot()))
    convert(source, out)
    load_generator(out)
    source.write_bytes(b"<html>")
    with pytest.raises(InpaintError, match="none of them") as refusal:
        convert(source, out)
    assert len(str(refusal.value).splitlines()) == 1


def test_child_that_does_not_survive_is_reported_in_one_sentence(tmp_path, monkeypatch):
    source = tmp_path / "source.pkl"
    source.write_bytes(hostile.pickled(hostile.snapshot()))
    for end, words in (("os.abort()", "SIGABRT"), ("os._exit(7)", "could not be read"), ("1 / 0", "could not be read")):
        monkeypatch.setattr(converting, "BOOTSTRAP", f"import os\n{end}\n")
        with pytest.raises(InpaintError, match=words) as refusal:
            convert(source, tmp_path / "out.safetensors")
        assert source.name in str(refusal.value) and "\n" not in str(refusal.value)
        assert [p.name for p in tmp_path.iterdir()] == ["source.pkl"]


def test_child_cannot_take_more_memory_than_its_limit(tmp_path):
    """The limits are set before the file is opened."""
    program = "; ".join(
        (
            "import resource, sys, types; from pathlib import Path",
            "package = types.ModuleType('inpaintlib')",
            f"package.__path__ = [{str(PACKAGE)!r}]; sys.modules['inpaintlib'] = package",
            "from inpaintlib.published import child; child._limit(Path('nothing'))",
            "print(*resource.getrlimit(resource.RLIMIT_AS))",
        )
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    soft, hard = map(int, done.stdout.split())
    assert 0 < soft <= CHILD_MEGABYTES * 2**20 and hard == soft
