"""The figures of masks: what they draw, not how it looks."""

import numpy as np
import pandas as pd
import torch
from matplotlib.colors import to_rgb

from inpaintlib import maskfigures
from inpaintlib.robustness import Filled, freeze

from .tiny import pictures

FROZEN = freeze(["left", "mouth"], [0.1, 0.4], 16, part_limit=0.2, seed=0)


def rows(**columns: list) -> pd.DataFrame:
    """A table of means with intervals, for every combination of the columns' values, mean counting up."""
    index = pd.MultiIndex.from_product(columns.values(), names=list(columns))
    table = index.to_frame(index=False)
    table["mean"] = np.arange(1.0, len(table) + 1)
    return table.assign(low=table["mean"] - 0.5, high=table["mean"] + 0.25)


def cell(picture: np.ndarray, row: int, column: int, size: int) -> np.ndarray:
    step = size + 2 * maskfigures.GAP
    return picture[row * step : (row + 1) * step, column * step : (column + 1) * step]


def test_every_mask_lies_in_its_family_and_coverage():
    (ax,) = maskfigures.mask_sheet(FROZEN).axes
    assert [t.get_text() for t in ax.get_xticklabels()] == ["left", "mouth"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["10%", "40%"]
    picture, inside = np.asarray(ax.images[0].get_array()), slice(maskfigures.GAP + 1, -maskfigures.GAP - 1)
    for row, column, mask in ((0, 0, 0), (1, 0, 1), (0, 1, 2)):
        white = cell(picture, row, column, 18)[inside, inside, 0] == 255
        assert np.array_equal(white, FROZEN.masks[mask, 0].numpy() == 1)
    assert (cell(picture, 1, 1, 18) == 255).all(), "a part is not hidden beyond its limit"


def test_fillings_stand_beside_their_target_in_the_order_of_the_masks():
    items = FROZEN.table[["mask", "family", "group", "coverage"]]
    items = pd.concat([items.assign(image=i) for i in range(3)], ignore_index=True)
    target, composite = pictures(3, 16).repeat_interleave(3, dim=0), pictures(9, 16, seed=1)
    filled = Filled(target, composite, FROZEN.masks.repeat(3, 1, 1, 1), items)
    (ax,) = maskfigures.filling_sheet(filled, 2).axes
    assert [t.get_text() for t in ax.get_xticklabels()] == ["target", "left", "mouth"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["10%", "40%"] * 2
    picture, inside = np.asarray(ax.images[0].get_array()), slice(maskfigures.GAP, -maskfigures.GAP)
    shown = lambda x: ((x + 1) * 127.5).round().permute(1, 2, 0).numpy()  # noqa: E731
    for row, column, found in (
        (0, 0, target[0]),
        (2, 0, target[3]),
        (0, 2, composite[2]),
        (1, 1, composite[1]),
        (3, 1, composite[4]),
    ):
        assert np.array_equal(cell(picture, row, column, 16)[inside, inside], shown(found))


def test_coverage_curves_have_a_panel_a_group_and_metric():
    groups = pd.DataFrame({"family": ["left", "top", "mouth"], "group": ["side", "side", "face part"]})
    table = rows(method=["search", "mean code"], family=["left", "top", "mouth"], coverage=[0.4, 0.1],
                 metric=["lpips", "agreement"]).merge(groups)  # fmt: skip
    fig = maskfigures.against_coverage(table, ["lpips", "agreement"], lines={"agreement": 0.6})
    assert [ax.get_title() for ax in fig.axes] == ["side", "face part", "", ""]
    assert [t.get_text() for t in fig.axes[2].get_legend().get_texts()] == ["left", "top"]
    side = fig.axes[0]
    solid, dashed = side.lines[0], [line for line in side.lines if line.get_linestyle() == "--"]
    found = table.query("method == 'search' and family == 'left' and metric == 'lpips'").sort_values("coverage")
    assert solid.get_ydata().tolist() == found["mean"].tolist() and np.all(np.diff(solid.get_xdata()) > 0)
    assert len(dashed) == 2 and to_rgb(dashed[0].get_color()) == to_rgb(solid.get_color())
    ends = side.collections[0].get_segments()
    assert [list(segment[:, 1]) for segment in ends] == found[["low", "high"]].to_numpy().tolist()
    assert [0.6, 0.6] in [list(line.get_ydata()) for line in fig.axes[2].lines]
    assert [0.6, 0.6] not in [list(line.get_ydata()) for line in side.lines]


def test_the_map_is_the_mean_over_faces_and_blank_where_too_little_was_hidden():
    maps = torch.tensor([[[1.0, torch.nan], [2.0, 1.0]], [[3.0, torch.nan], [2.0, 1.0]]]).double()
    count = torch.tensor([[3.0, 0.0], [5.0, 3.0]])
    fig = maskfigures.difficulty_map(pictures(2, 2), maps, count)
    shown = np.ma.filled(fig.axes[1].images[0].get_array().astype(float), np.nan)
    np.testing.assert_array_equal(shown, [[2.0, np.nan], [2.0, 1.0]])
    assert np.array_equal(fig.axes[2].images[0].get_array(), count)


def test_levels_begin_with_clean_in_every_kind():
    parts = [rows(method=["search", "mean code"], kind=[kind], level=levels, metric=["lpips"])
             for kind, levels in (("clean", [np.nan]), ("noise", [0.1, 0.3]), ("JPEG", [50]))]  # fmt: skip
    fig = maskfigures.against_level(pd.concat(parts), ["lpips"])
    labels = [[t.get_text() for t in ax.get_xticklabels()] for ax in fig.axes]
    assert labels == [["clean", "0.1", "0.3"], ["clean", "50"]]
    assert [len(ax.lines[0].get_ydata()) for ax in fig.axes] == [3, 2]


def test_photographs_stand_beside_generated_faces():
    generated = rows(method=["search", "mean code"], family=["left", "center"], coverage=[0.1, 0.4], metric=["lpips"])
    real = generated[generated["family"] == "center"].assign(mean=9.0, low=8.0, high=9.5)
    fig = maskfigures.on_photographs(generated, real)
    (ax,) = fig.axes
    assert ax.get_title() == "center"
    (legend,) = fig.legends
    assert [t.get_text() for t in legend.get_texts()] == [
        "generated, search", "generated, mean code", "photograph, search", "photograph, mean code",
    ]  # fmt: skip


def test_changes_have_a_panel_a_measure_and_a_row_a_change():
    table = rows(change=["1 px", "other start"], metric=["lpips", "filling"])
    fig = maskfigures.changes(table)
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["1 px", "other start"]
    shown = [list(ax.lines[0].get_xdata()) for ax in fig.axes]
    assert shown == [[1.0, 3.0], [2.0, 4.0]]
