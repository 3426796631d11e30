"""The figure of the rounds: accuracies, PPM, levels and tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rstar_core.reports.rounds import PPM_ACCURACIES, PPM_AT_EVALUATION, Row, levels_of, names_of
from rstar_core.store.publishing import publish

# Colours that the colour-blind tell apart (Okabe & Ito), and markers for those who print in grey.
_STYLES = {
    "policy_pass@1": {"color": "#0072B2", "marker": "o"},
    "system@N": {"color": "#D55E00", "marker": "s"},
    "maj@K": {"color": "#007A5A", "marker": "^"},
    "pass@N": {"color": "#6B6B6B", "marker": "D", "linestyle": "--"},
    "coverage": {"color": "#CC79A7", "marker": "v", "linestyle": ":"},
}
_PPM_STYLES = {
    "ppm_accuracy_step": {"color": "#D55E00", "marker": "s"},
    "ppm_accuracy_final": {"color": "#D55E00", "marker": "o", "linestyle": "--"},
    "ppm_accuracy_benchmark": {"color": "#D55E00", "marker": "D", "linestyle": "-."},
    "policy_accuracy_step": {"color": "#0072B2", "marker": "s"},
    "policy_accuracy_final": {"color": "#0072B2", "marker": "o", "linestyle": "--"},
    "ppm_accuracy_shuffled": {"color": "#6B6B6B", "marker": "x", "linestyle": ":"},
}
_LABELLED = ("policy_pass@1", "system@N")
_LABEL_GAP = 0.045  # height of a label, in the axis' units


def draw_figure(path: Path, rows: Sequence[Row]) -> None:
    """A PNG: accuracies, PPM, levels and tokens by round. The same rows give the same bytes."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    levels = levels_of(rows, ("policy_pass@1",))
    with style.context("default"):
        figure = Figure(figsize=(13, 9), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, 2, width_ratios=[1.3, 1])
        _draw_accuracies(axes[0][0], rows)
        _draw_ppm(axes[1][0], rows)
        if levels:
            _draw_levels(axes[0][1], rows, levels)
        else:
            axes[0][1].axis("off")
        _draw_tokens(axes[1][1], rows)
        with publish(path) as handle:
            figure.savefig(handle, format="png", metadata={"Software": None})


def _draw_accuracies(axes: Any, rows: Sequence[Row]) -> None:
    names = {**names_of(rows), "coverage": "coverage (training problems)"}
    for key, its in _STYLES.items():
        _draw_line(axes, {x: row[key]["all"] for x, row in enumerate(rows) if row[key]}, names[key], its)
    for x, row in enumerate(rows):
        _label_points(axes, x, {key: row[key]["all"] for key in _LABELLED if row[key]})
    axes.set(title="Accuracy on held-out problems, and coverage", ylabel="problems solved")
    _dress(axes, rows)


def _draw_ppm(axes: Any, rows: Sequence[Row]) -> None:
    names = {**PPM_ACCURACIES, **PPM_AT_EVALUATION}
    for key, its in _PPM_STYLES.items():
        points = {x: row[key] for x, row in enumerate(rows) if row[key] is not None}
        _draw_line(axes, points, names[key], its)
    axes.axhline(0.5, color="black", linewidth=0.8, alpha=0.4)
    axes.set(title="Pairs of unseen problems ranked right", ylabel="pairs")
    _dress(axes, rows)


def _draw_line(axes: Any, points: Mapping[int, float], name: str, its_style: Mapping[str, Any]) -> None:
    if points:
        axes.plot(list(points), list(points.values()), label=name, **its_style)


def _dress(axes: Any, rows: Sequence[Row]) -> None:
    """Rounds along, shares up, and a legend where there is anything to tell."""
    from matplotlib.ticker import PercentFormatter

    axes.set(xlabel="round", ylim=(0, 1.02))
    axes.set_xticks(range(len(rows)), [row["round_id"] for row in rows])
    axes.set_xlim(-0.3, len(rows) - 0.4)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines and axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", framealpha=1, fontsize=8)


def _draw_tokens(axes: Any, rows: Sequence[Row]) -> None:
    """Bars of millions, one part for each use."""
    bottom = [0.0] * len(rows)
    for use, color in (("synthesize", "#D55E00"), ("evaluate", "#0072B2"), ("train", "#BBBBBB")):
        heights = [(row["tokens"].get(use) or 0) / 1e6 for row in rows]
        axes.bar(range(len(rows)), heights, bottom=bottom, label=use, color=color)
        bottom = [one + more for one, more in zip(bottom, heights, strict=True)]
    axes.set(title="Tokens: written by the policy, read in training", xlabel="round", ylabel="millions")
    axes.set_xticks(range(len(rows)), [row["round_id"] for row in rows])
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8)


def _label_points(axes: Any, x: int, shares: Mapping[str, float]) -> None:
    """Each point's value below it to the right, which keeps it clear of rising lines, and clear of its neighbours."""
    from matplotlib.patheffects import withStroke

    keys = sorted(shares, key=lambda key: shares[key])
    for key, height in zip(keys, spread([shares[key] for key in keys], _LABEL_GAP), strict=True):
        axes.annotate(
            f"{100 * shares[key]:.0f} %",
            (x, height),
            xytext=(3, -9),
            textcoords="offset points",
            va="center",
            size=9,
            color=_STYLES[key]["color"],
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending ``heights``, moved as little as puts ``gap`` between them and keeps them that far from 0 and 1.

    Least squares by pooling: heights that are too close move as one block around their mean.
    """
    blocks: list[list[float]] = []
    for index, height in enumerate(heights):
        blocks.append([height - index * gap])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    bases = [_mean(block) for block in blocks for _ in block]
    highest = 1 - len(heights) * gap
    return [min(max(base, gap), highest) + index * gap for index, base in enumerate(bases)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _draw_levels(axes: Any, rows: Sequence[Row], levels: Sequence[str]) -> None:
    """Levels by rounds: darker is better."""
    shares = [[row["policy_pass@1"].get(level, float("nan")) for row in rows] for level in levels]
    axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1.5)
    for y, line in enumerate(shares):
        for x, share in enumerate(line):
            shown = "" if share != share else f"{100 * share:.0f} %"
            axes.text(x + 0.5, y + 0.5, shown, ha="center", va="center", color="white" if share > 0.55 else "black")
    axes.set(title="Policy greedy pass@1 by level", xlabel="round", ylabel="level (higher is harder)")
    axes.set_xticks([x + 0.5 for x in range(len(rows))], [row["round_id"] for row in rows])
    axes.set_yticks([y + 0.5 for y in range(len(levels))], [level.rpartition("_")[2] for level in levels])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
