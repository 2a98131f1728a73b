"""Figures are built without side effects, the same twice, and show the numbers of their tables."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from inpaintlib import figures
from inpaintlib.stylegan2 import Generator

from .tiny import pictures, seeded, square_hole, tiny_generator

HISTORY = pd.DataFrame([(item, step, 10.0 ** (item - step)) for item in range(5) for step in range(4)],
                       columns=["item", "step", "objective"])  # fmt: skip
TABLE = pd.DataFrame(
    [("MSE", "lpips", 0.5, 0.4, 0.7), ("MSE", "psnr", 20.0, 19.0, 22.0), ("LPIPS", "lpips", 0.3, 0.2, 0.35),
     ("LPIPS", "psnr", 21.0, 20.0, 21.5), ("mean code", "psnr", 9.0, 9.0, 9.0), ("mean code", "lpips", 0.8, 0.8, 0.8)],
    columns=["method", "metric", "mean", "low", "high"],
)  # fmt: skip
SCORES = pd.DataFrame(
    [(method, item, region, 0.1 * item + shift + (region == "known"))
     for method, shift in (("a", 0.3), ("b", 0.0)) for item in (2, 0, 1) for region in ("hole", "known")],
    columns=["method", "item", "region", "lpips"],
)  # fmt: skip
RATES = pd.DataFrame(
    [(m, o, 0.25, after) for m, after in (("+Smiling", 0.75), ("-Smiling", 1.0)) for o in ("judge", "guide")],
    columns=["method", "observer", "before", "after"],
)
SWEEP = pd.DataFrame(
    [(w, panel, line, w / 10, w / 20, w / 5) for w in (5.0, 0.1) for panel, line in
     (("success", "judge"), ("success", "guide"), ("drift", "others"))],
    columns=["weight", "panel", "line", "mean", "low", "high"],
)  # fmt: skip
BUILDERS = {
    "before_after": lambda: figures.before_after(pictures(1, 20), square_hole(1, 20), pictures(1, 20, seed=1)),
    "image_columns": lambda: figures.image_columns({"a": pictures(2, 8), "b": pictures(2, 8, seed=1)},
                                                   row_labels=["x", "y"]),
    "sample_grid": lambda: figures.sample_grid(pictures(5, 8), 3, row_labels=["x"], column_labels=["1", "2"],
                                               row_title="rows", column_title="columns"),
    "heat": lambda: figures.heat({"a": pictures(1, 8)[0, 0].abs(), "b": torch.zeros(8, 8)}, label="deviation"),
    "curves": lambda: figures.curves({"Adam": HISTORY}, label="objective"),
    "estimates": lambda: figures.estimates(TABLE, {"lpips": "LPIPS", "psnr": "PSNR in dB"}),
    "paired": lambda: figures.paired(SCORES, "a", "b", metric="lpips", region="hole", label="hole LPIPS"),
    "rates": lambda: figures.rates(RATES, {"judge": "judge", "guide": "guide"}),
    "sweep": lambda: figures.sweep(SWEEP, {"success": "success", "drift": "drift"}, label="weight"),
    "architecture": lambda: figures.architecture(tiny_generator(16)),
}  # fmt: skip


def png(fig: Figure) -> bytes:
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=60, metadata={"Software": None})
    return buffer.getvalue()


@pytest.mark.parametrize("name", BUILDERS)
def test_a_figure_leaves_pyplot_alone_and_equal_inputs_give_equal_files(name):
    first, second = BUILDERS[name](), BUILDERS[name]()
    assert isinstance(first, Figure)
    assert plt.get_fignums() == []
    assert png(first) == png(second)


# Pictures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 64])
def test_a_masked_picture_keeps_what_is_known_and_hides_the_rest(size):
    target, mask = pictures(2, size), square_hole(1, size)
    shown = figures.masked(target, mask)
    hole = (mask == 1).expand_as(shown)
    assert torch.equal(shown[~hole], target[~hole])
    assert sorted(shown[hole].unique().tolist()) == pytest.approx([0.25, 0.55])
    assert torch.equal(shown[0][hole[0]], shown[1][hole[1]]), "whatever lies under it"


def test_before_and_after_are_shrunk_only_if_they_are_large():
    small = figures.before_after(pictures(1, 20), square_hole(1, 20), pictures(1, 20, seed=1)).axes
    assert [ax.get_title() for ax in small] == ["picture", "masked", "result"]
    assert np.array_equal(small[2].images[0].get_array(), figures.to_uint8(pictures(1, 20, seed=1))[0])
    wide = torch.zeros(1, 3, 100, 1024)
    hole = torch.zeros(1, 1, 100, 1024)
    hole[..., 40, 512] = 1.0
    large = [ax.images[0].get_array() for ax in figures.before_after(wide, hole, wide).axes]
    assert [picture.shape for picture in large] == [(50, 512, 3)] * 3
    assert (large[1] != large[0]).any(axis=2).sum() == 1, "the hole does not vanish"


def test_columns_stack_their_items_from_top_to_bottom():
    first, second = pictures(3, 8), pictures(3, 8, seed=1)
    fig = figures.image_columns({"one": first, "two": second}, row_labels=["a", "b", "c"])
    for ax, (title, images) in zip(fig.axes, {"one": first, "two": second}.items(), strict=True):
        assert ax.get_title() == title
        shown = ax.images[0].get_array()
        assert shown.shape == (3 * 8 + 2 * 2, 8, 3)
        for i in range(3):
            assert np.array_equal(shown[10 * i : 10 * i + 8], figures.to_uint8(images)[i])
    assert [text.get_text() for text in fig.axes[0].texts] == ["a", "b", "c"]


def test_a_grid_reads_from_left_to_right():
    images = pictures(5, 8)
    fig = figures.sample_grid(images, 3, column_labels=["p", "q", "r"], row_labels=["s", "t"])
    axs = fig.axes
    assert len(axs) == 6
    for ax, picture in zip(axs, figures.to_uint8(images), strict=False):
        assert np.array_equal(ax.images[0].get_array(), picture)
    assert not axs[5].images, "the last cell stays empty"
    assert [ax.get_title() for ax in axs[:3]] == ["p", "q", "r"]
    assert [axs[0].get_ylabel(), axs[3].get_ylabel()] == ["s", "t"]


def test_maps_share_one_scale():
    small, large = torch.full((4, 4), 0.1), torch.full((4, 4), 0.7)
    fig = figures.heat({"small": small, "large": large}, label="deviation")
    assert [ax.images[0].get_clim() for ax in fig.axes[:2]] == [(0.0, pytest.approx(0.7))] * 2
    assert np.allclose(fig.axes[0].images[0].get_array(), 0.1)
    assert fig.axes[2].get_ylabel() == "deviation"


# Curves and estimates ---------------------------------------------------------------------------------


def test_a_curve_is_the_median_with_the_central_80_percent():
    fig = figures.curves({"Adam": HISTORY, "other": HISTORY.assign(objective=1.0)}, label="objective")
    (ax,) = fig.axes
    values = HISTORY.pivot(index="step", columns="item", values="objective").to_numpy()
    assert [line.get_label() for line in ax.lines] == ["Adam", "other"]
    assert np.allclose(ax.lines[0].get_ydata(), np.median(values, axis=1))
    assert np.allclose(ax.lines[0].get_xdata(), range(4))
    assert not ax.collections, "the bands of several methods would cover each other"
    (ax,) = figures.curves({"Adam": HISTORY}, label="objective").axes
    band = ax.collections[0].get_paths()[0].vertices
    for step in range(4):
        edges = band[np.isclose(band[:, 0], step), 1]
        assert np.allclose([edges.min(), edges.max()], np.quantile(values[step], [0.1, 0.9]))
    assert ax.get_yscale() == "log"


def test_no_history_is_left_out_however_many_there_are():
    fig = figures.curves({f"method {i}": HISTORY for i in range(13)}, label="objective", log=False)
    assert len(fig.axes[0].lines) == 13
    assert fig.axes[0].get_yscale() == "linear"


def test_estimates_show_the_table():
    fig = figures.estimates(TABLE, {"lpips": "LPIPS", "psnr": "PSNR in dB"})
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["MSE", "LPIPS", "mean code"]
    for ax, metric in zip(fig.axes, ("lpips", "psnr"), strict=True):
        rows = TABLE[TABLE["metric"] == metric].set_index("method").loc[["MSE", "LPIPS", "mean code"]]
        points, _, (bars,) = ax.containers[0]
        assert np.allclose(points.get_xdata(), rows["mean"])
        assert np.allclose(points.get_ydata(), range(3))
        ends = np.array([segment[:, 0] for segment in bars.get_segments()])
        assert np.allclose(ends, rows[["low", "high"]])
    assert [ax.get_xlabel() for ax in fig.axes] == ["LPIPS", "PSNR in dB"]


def test_a_point_of_a_pair_is_one_item():
    (ax,) = figures.paired(SCORES, "a", "b", metric="lpips", region="hole", label="hole LPIPS").axes
    assert np.allclose(ax.collections[0].get_offsets(), [(0.3, 0.0), (0.4, 0.1), (0.5, 0.2)])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("hole LPIPS of a", "hole LPIPS of b")
    assert ax.get_xlim() == ax.get_ylim(), "so that the line is where both are equal"
    line = ax.lines[0]
    assert np.allclose(line.get_xdata(), line.get_ydata())


# The architecture -------------------------------------------------------------------------------------


def network(architecture: str) -> Generator:
    options = {"architecture": architecture, "channel_base": 256, "channel_max": 32, "mapping_layers": 2}
    return seeded(lambda: Generator(16, 0, 16, 32, **options))


def outside_layers(generator: Generator) -> int:
    """The parameters of the synthesis network that no layer has: the constant and residual shortcuts."""
    skips = [block.skip.weight.numel() for block in generator.synthesis.blocks if block.residual]
    return generator.synthesis.b4.const.numel() + sum(skips)


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_the_architecture_table_accounts_for_every_parameter_and_code(architecture):
    generator = network(architecture)
    table = figures.architecture_table(generator)
    total = sum(p.numel() for p in generator.synthesis.parameters())
    assert table["parameters"].sum() == total - outside_layers(generator)
    assert set(table["code"]) == {f"w{i}" for i in range(generator.num_ws)}
    convolutions = table[table["layer"] != "torgb"]
    assert convolutions["code"].tolist() == [f"w{i}" for i in range(generator.num_ws - 1)]
    assert (table["layer"] == "torgb").sum() == (4 if architecture == "skip" else 1)


def test_the_codes_and_multiply_adds_of_the_table_are_those_of_the_network():
    """A code moves the image; a layer's multiply-adds are counted on the convolutions that run."""
    generator = seeded(lambda: Generator(8, 0, 8, 16, channel_base=64, channel_max=8, mapping_layers=1))
    table = figures.architecture_table(generator).set_index(["block", "layer"])
    assert table.loc[("b4", "conv1"), "million multiply-adds"] == pytest.approx(9 * 8 * 8 * 4 * 4 / 1e6)
    assert table.loc[("b8", "conv0"), "million multiply-adds"] == pytest.approx(9 * 8 * 8 * 4 * 4 / 1e6)
    assert table.loc[("b16", "conv0"), "million multiply-adds"] == pytest.approx(9 * 8 * 4 * 8 * 8 / 1e6)
    assert table.loc[("b16", "torgb"), "million multiply-adds"] == pytest.approx(4 * 3 * 16 * 16 / 1e6)
    assert table.loc[("b16", "conv1"), "output"] == "4 x 16 x 16"
    read = {f"{block}.{layer}": int(code[1:]) for (block, layer), code in table["code"].items()}
    seen = {}
    ws = torch.arange(generator.num_ws).float()[None, :, None].expand(1, -1, 8).contiguous()
    for name, module in generator.synthesis.named_modules():
        if name in read:
            module.register_forward_pre_hook(lambda m, inputs, name=name: seen.update({name: int(inputs[1][0, 0])}))
    generator.synthesis(ws)
    assert seen == read


def test_the_diagram_names_every_block_code_and_way_to_the_image():
    texts = " ".join(t.get_text() for t in figures.architecture(network("skip")).axes[0].texts)
    for part in ("4 x 4", "8 x 8", "16 x 16", "32 x 32", "z\n(16)", "mapping\n2 layers", "to RGB (w7)", "w5, w6"):
        assert part in texts
    assert texts.count("+ noise") == 4 and texts.count("up, +") == 3
    residual = figures.architecture(network("resnet")).axes[0].texts
    assert " ".join(t.get_text() for t in residual).count("to RGB") == 1


def test_rates_are_hollow_before_and_filled_after():
    for ax in figures.rates(RATES, {"judge": "judge", "guide": "guide"}).axes:
        lines, before, after = ax.collections
        assert before.get_offsets().tolist() == [[0.25, 0], [0.25, 1]]
        assert after.get_offsets().tolist() == [[0.75, 0], [1.0, 1]]
        assert [segment[:, 0].tolist() for segment in lines.get_segments()] == [[0.25, 0.75], [0.25, 1.0]]


def test_a_sweep_draws_every_line_against_the_weight_in_order():
    left, right = figures.sweep(SWEEP, {"success": "success", "drift": "drift"}, label="weight").axes
    assert left.get_xscale() == "log" and len(left.containers) == 2 and len(right.containers) == 1
    points, _, (bars,) = left.containers[0]
    assert points.get_xdata().tolist() == [0.1, 5.0] and points.get_ydata().tolist() == [0.01, 0.5]
    assert np.allclose([segment[:, 1] for segment in bars.get_segments()], [(0.005, 0.02), (0.25, 1.0)])
