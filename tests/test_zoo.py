"""Published weights by name: fetched only when asked, checked, converted, and named clearly where they are absent."""

import http.server
import json
import threading
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import inpaintlib
from inpaintlib import weights, zoo
from inpaintlib.errors import InpaintError
from inpaintlib.published import fetch as fetching
from inpaintlib.published.fetch import fetch, listing
from inpaintlib.weights import checksum

from . import standin


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty folder of fetched weights."""
    monkeypatch.setenv("INPAINTLIB_ZOO", str(tmp_path / "zoo"))
    return tmp_path / "zoo"


@pytest.fixture
def served(tmp_path):
    """A folder whose files a server on this machine gives out, its address, and the paths that were asked for."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, *args):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


@pytest.fixture
def tiny(place, served, monkeypatch):
    """A generator of the zoo, ``tiny``, at the server."""
    folder, address, asked = served
    g, d = standin.small_networks()
    standin.write_ada(folder / "tiny.pkl", g, d)
    entry = zoo.Entry("tiny faces", f"{address}/tiny.pkl", 1, "free", alignment="ffhq")
    monkeypatch.setitem(zoo.ZOO, "tiny", entry)
    return g, d, asked


def test_a_fetched_generator_is_used_by_its_name(tiny, place, served, capsys):
    g, d, asked = tiny
    assert fetch("tiny") == place / "tiny.safetensors"
    loaded = inpaintlib.load_generator("tiny")
    assert loaded.alignment == "ffhq"
    for theirs, ours in ((g, loaded), (d, inpaintlib.load_discriminator("tiny-discriminator"))):
        assert all(torch.equal(x, ours.state_dict()[key]) for key, x in theirs.state_dict().items())
    said = capsys.readouterr().out
    assert "about 1 MB" in said and "free" in said  # before it comes
    source = served[0] / "tiny.pkl"
    assert f"SHA-256 {checksum(source)}, recorded on first use, since no source gives one" in said
    with safe_open(place / "tiny.safetensors", "pt") as f:
        facts = f.metadata()
    assert facts["licence"] == "free" and facts["source"] == "tiny.pkl"
    assert facts["source_sha256"] == checksum(source) and not (place / "tiny.pkl").exists()
    assert weights.checksums("tiny") == {"tiny": f"sha256:{checksum(place / 'tiny.safetensors')}"}


def test_nothing_is_fetched_twice_or_unasked(tiny):
    *_, asked = tiny
    with pytest.raises(InpaintError, match="python -m inpaintlib fetch tiny"):
        inpaintlib.load_generator("tiny")
    assert asked == []
    fetch("tiny")
    fetch("tiny")
    inpaintlib.load_generator("tiny")
    assert len(asked) == 1


def test_an_absent_file_is_named_with_size_terms_and_place(place):
    with pytest.raises(InpaintError) as caught:
        inpaintlib.load_generator("ffhq-1024")
    said = str(caught.value)
    for part in ("ffhq-1024 is not on this machine", "382 MB", "non-commercial", "ffhq.pkl", str(place), "offline"):
        assert part in said
    with pytest.raises(InpaintError, match="fetch ffhq-256"):
        inpaintlib.load_discriminator("ffhq-256-discriminator")
    assert not place.exists()


def test_a_file_put_there_by_hand_needs_no_network(tiny, place):
    g, d, asked = tiny
    place.mkdir()
    standin.write_ada(place / "tiny.pkl", g)
    fetch("tiny")
    assert asked == []
    inpaintlib.load_generator("tiny")


def test_without_a_network_the_sentence_says_where_to_put_the_file(place, monkeypatch):
    monkeypatch.setitem(zoo.ZOO, "tiny", zoo.Entry("tiny", "http://127.0.0.1:1/tiny.pkl", 1, "free"))
    with pytest.raises(InpaintError) as caught:
        fetch("tiny")
    assert "cannot be fetched" in str(caught.value) and f"put tiny.pkl into {place}" in str(caught.value)
    assert not list(place.glob("*"))


def test_a_page_in_place_of_the_file_is_refused_and_not_kept(tiny, place, served):
    (served[0] / "tiny.pkl").write_text("<html>sign in</html>")
    with pytest.raises(InpaintError, match="it is none"):
        fetch("tiny")
    assert not list(place.glob("*"))
    standin.write_ada(served[0] / "tiny.pkl", tiny[0])  # the next try has a good file, and no record of the bad one
    fetch("tiny")


def test_a_bad_file_put_there_by_hand_stays_and_locks_nothing(tiny, place):
    place.mkdir()
    (place / "tiny.pkl").write_text("<html>sign in</html>")
    with pytest.raises(InpaintError, match="it is none"):
        fetch("tiny")
    assert [path.name for path in place.iterdir()] == ["tiny.pkl"]
    standin.write_ada(place / "tiny.pkl", tiny[0])
    fetch("tiny")
    assert (place / "tiny.pkl").exists()


def test_a_known_checksum_must_hold(tiny, place, monkeypatch):
    monkeypatch.setitem(zoo.ZOO, "tiny", zoo.ZOO["tiny"]._replace(sha256="0" * 64, source="a paper"))
    with pytest.raises(InpaintError, match=r"must have the SHA-256 0{64} \(a paper\); got [0-9a-f]{64}"):
        fetch("tiny")
    assert not list(place.glob("tiny*"))


def test_a_recorded_checksum_must_hold_from_then_on(tiny, place, served):
    fetch("tiny")
    for path in place.glob("tiny*"):
        path.unlink()
    standin.write_ada(served[0] / "tiny.pkl", standin.small_networks(seed=5)[0])
    with pytest.raises(InpaintError, match="recorded on first use"):
        fetch("tiny")
    assert set(json.loads((place / "checksums.json").read_text())) == {"tiny"}


def test_a_damaged_record_is_named(tiny, place):
    place.mkdir()
    (place / "checksums.json").write_text("[1]")
    with pytest.raises(InpaintError, match=r"checksums.json must map names of the zoo to checksums; found \[1\]"):
        fetch("tiny")


def test_plain_safetensors_are_used_as_they_are(place, served, monkeypatch):
    folder, address, _ = served
    save_file({"a": torch.ones(2)}, folder / "model.safetensors")
    entry = zoo.Entry("a state", f"{address}/model.safetensors", 1, "free", "state")
    monkeypatch.setitem(zoo.ZOO, "state", entry)
    fetch("state")
    assert torch.equal(weights.load_weights("state")[0]["a"], torch.ones(2))


def test_a_state_of_another_network_is_read_as_data_and_cut_to_what_is_used(place, served, monkeypatch):
    folder, address, _ = served
    state = {"features.0.weight": torch.ones(2), "classifier.weight": torch.ones(3), "step": torch.tensor(1)}
    torch.save(state, folder / "net-0000.pth", _use_new_zipfile_serialization=False)
    digits = checksum(folder / "net-0000.pth")[:8]
    facts = {"kind": "state", "prefix": "features.", "sha256": digits, "source": "a paper"}
    monkeypatch.setitem(zoo.ZOO, "net", zoo.Entry("net", f"{address}/net-0000.pth", 1, "free", **facts))
    fetch("net")
    assert set(weights.load_weights("net")[0]) == {"features.0.weight"}
    assert not list(place.glob("*.pth"))  # what was downloaded is not needed any more


def test_a_state_that_is_none_is_refused_and_can_be_replaced(place, served, monkeypatch):
    folder, address, _ = served
    monkeypatch.setitem(zoo.ZOO, "net", zoo.Entry("net", f"{address}/model.safetensors", 1, "free", "state"))
    (folder / "model.safetensors").write_text("<html>sign in</html>")
    with pytest.raises(InpaintError, match="damaged safetensors"):
        fetch("net")
    save_file({"a": torch.ones(2)}, folder / "model.safetensors")
    fetch("net")
    assert "a" in weights.load_weights("net")[0]


def test_the_list_tells_ours_and_theirs(tiny, place):
    lines = {line.split()[0]: line for line in listing().splitlines()}
    assert {"faces64", "percept-guide", "ffhq-1024", "cifar10", "lpips-vgg", "tiny"} <= set(lines)
    assert " -  " in lines["tiny"] and "non-commercial" in lines["ffhq-1024"]
    fetch("tiny")
    assert " here " in next(line for line in listing().splitlines() if line.startswith("tiny"))


def test_an_unknown_name_lists_the_known_ones(place):
    with pytest.raises(InpaintError, match="ffhq-1024, ffhq-256.*got 'ffqh'"):
        fetch("ffqh")


def test_entries_are_whole():
    for name, entry in zoo.ZOO.items():
        assert entry.file != f"{name}.safetensors", name  # or the converted file would take its place
        assert entry.url.startswith("https://") and entry.megabytes > 0 and entry.licence and entry.about, name
        assert bool(entry.sha256) == bool(entry.source), name  # a checksum without a source would be invented
        assert entry.kind in ("generator", "state")
        assert entry.alignment in inpaintlib.weights.ALIGNMENTS


def test_the_packages_agree_where_their_files_are():
    torchvision = pytest.importorskip("torchvision")
    models = torchvision.models
    known = {"lpips-vgg": models.VGG16_Weights, "lpips-alex": models.AlexNet_Weights,
             "lpips-squeeze": models.SqueezeNet1_1_Weights}  # fmt: skip
    for name, enum in known.items():
        assert zoo.ZOO[name].url == enum.IMAGENET1K_V1.url
        assert abs(enum.IMAGENET1K_V1.meta["_file_size"] - zoo.ZOO[name].megabytes) < 1


def test_command_line(tiny, capsys):
    from inpaintlib.__main__ import main

    assert main(["fetch", "tiny"]) == 0
    assert main(["fetch", "nothing"]) == 1
    assert "error: a name of the zoo must be one of" in capsys.readouterr().err
    assert main(["fetch"]) == 0
    assert "ffhq-1024" in capsys.readouterr().out
    assert fetching.RECORD == "checksums.json"
