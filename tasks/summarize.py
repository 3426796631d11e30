"""The stages' metrics of one round -> the table, plot and figure of all rounds so far."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rstar_core.errors import UserError
from rstar_core.io import read_json
from rstar_core.publishing import publish
from rstar_core.reports.markdown import aligned

Row = dict[str, Any]
Rates = Mapping[str, float]  # shares within 0 and 1, by "all" and "level_<n>"

SEARCH_STAGES = ("synthesize", "verify", "curate", "train_policy", "train_ppm")
ACCURACIES = (
    "policy_pass@1",
    "policy_pass@1_paired",
    "system@N",
    "best@N",
    "majority@N",
    "flat@K",
    "pass@N",
    "flat_pass@K",
)
NAMES = {
    "policy_pass@1": "greedy pass@1",
    "policy_pass@1_paired": "greedy, paired",  # on the problems that the columns after it are of
    "system@N": "System 2 (system@{N})",
    "best@N": "best@{N}",
    "majority@N": "majority@{N}",
    "flat@K": "flat@{K}",
    "pass@N": "pass@{N}",
    "flat_pass@K": "flat pass@{K}",
}
PPM_ACCURACIES = {
    "ppm_accuracy_step": "PPM, step pairs",
    "ppm_accuracy_final": "PPM, final pairs",
    "policy_accuracy_step": "policy's likelihood, step pairs",
    "policy_accuracy_final": "policy's likelihood, final pairs",
    "ppm_accuracy_shuffled": "PPM of shuffled labels",
}
PPM_AT_EVALUATION = {"ppm_accuracy_benchmark": "PPM, ends of held-out problems"}
COUNTS = ("num_trees", "num_samples", "num_held_out", "num_system_problems")
PPM_FIELDS = ("ppm_accuracy", *PPM_ACCURACIES, "ppm_accuracy_training")
ORACLES = ("ppm_step_accuracy", "pair_label_noise", "pair_chosen_right", "pair_rejected_wrong", "right_with_wrong_step")
_ABSENT = "–"


def summarize(
    *, round_id: str, stage_metrics: Path, earlier: Path | None = None, table: Path, plot: Path, figure: Path
) -> dict[str, Any]:
    """Add the round's row to the earlier rounds' and show all of them.

    ``stage_metrics`` has one JSON file for each stage; ``earlier`` is the previous round's summary, and the first
    round, which searched nothing, has none. Returns ``{"rounds": [row, ...]}``; what was not measured is null.
    Accuracies and coverage are shares by ``all`` and ``level_<n>``; ``N`` in their names is the row's ``num_trees``.

    Raises:
        UserError: a stage's metrics are missing, or lack what every round must have.
    """
    before = read_json(earlier)["rounds"] if earlier else []
    row = searched_row(round_id, stage_metrics) if earlier else first_row(round_id, stage_metrics)
    rows = [*before, row]
    write_table(table, rows)
    write_plot(plot, rows)
    draw_figure(figure, rows)
    return {"rounds": rows}


# --- rows -----------------------------------------------------------------------------------------------------


def first_row(round_id: str, folder: Path) -> Row:
    """The row of r0: a policy without a search, data or PPM of its own."""
    return {
        **_evaluation(round_id, folder),
        "coverage": None,
        **dict.fromkeys(PPM_FIELDS),
        "num_problems": None,
        "num_trajectories": None,
        "num_pairs": None,
        "tokens": _tokens(folder, ("bootstrap",)),
    }


def searched_row(round_id: str, folder: Path) -> Row:
    synthesize, verify, curate, _, train_ppm = (_stage(folder, stage) for stage in SEARCH_STAGES)
    return {
        **_evaluation(round_id, folder),
        "coverage": _required(folder / "verify.json", verify, "coverage"),
        **{name: train_ppm.get(name) for name in PPM_FIELDS},
        "num_problems": synthesize.get("num_problems"),
        "num_trajectories": verify.get("num_trajectories"),
        "num_pairs": curate.get("num_pairs"),
        "tokens": {"synthesize": synthesize.get("num_tokens"), **_tokens(folder, ("train_policy", "train_ppm"))},
    }


def _evaluation(round_id: str, folder: Path) -> Row:
    measured = _stage(folder, "evaluate")
    measured["num_held_out"] = measured.get("num_problems")  # the row's own are the training problems
    _required(folder / "evaluate.json", measured, "policy_pass@1")
    return {
        "round_id": round_id,
        **{key: measured.get(key) for key in (*COUNTS, *ACCURACIES, "interval", *PPM_AT_EVALUATION, *ORACLES)},
    }


def _tokens(folder: Path, trainings: Sequence[str]) -> dict[str, int | None]:
    """Tokens written at evaluation, and those that the trainings read; null where none was counted."""
    counts = [count for stage in trainings if (count := _stage(folder, stage).get("num_tokens")) is not None]
    return {"evaluate": _stage(folder, "evaluate").get("num_tokens"), "train": sum(counts) if counts else None}


def _stage(folder: Path, stage: str) -> Row:
    path = folder / f"{stage}.json"
    metrics = read_json(path)
    if not isinstance(metrics, dict):
        raise UserError(f"{path}: not a JSON object; run {stage} again")
    return metrics


def _required(path: Path, metrics: Row, key: str) -> Any:
    value = metrics.get(key)
    if not isinstance(value, dict) or "all" not in value:
        raise UserError(f"{path}: no '{key}' over all problems; run {path.stem} again")
    return value


def levels_of(rows: Sequence[Row], keys: Sequence[str]) -> list[str]:
    """``level_<n>`` names that any of the rows has under ``keys``, the lowest level first."""
    names = {name for row in rows for key in keys for name in row[key] or () if name != "all"}
    return sorted(names, key=lambda name: int(name.rpartition("_")[2]))


def names_of(rows: Sequence[Row]) -> dict[str, str]:
    """What accuracies are called, with the numbers of trees and samples, or the letters where rounds differ in them."""
    numbers = {
        letter: {row[key] for row in rows if row[key]} for letter, key in (("N", "num_trees"), ("K", "num_samples"))
    }
    told = {letter: found.pop() if len(found) == 1 else letter for letter, found in numbers.items()}
    return {key: name.format(**told) for key, name in NAMES.items()}


# --- table ----------------------------------------------------------------------------------------------------


def write_table(path: Path, rows: Sequence[Row]) -> None:
    with publish(path, "w") as handle:
        handle.write("\n\n".join(aligned(table) for table in tables(rows) if table) + "\n")


def tables(rows: Sequence[Row]) -> list[list[list[str]]]:
    return [overview(rows), preferences(rows), by_level(rows)]


def preferences(rows: Sequence[Row]) -> list[list[str]]:
    """Header and a line for each round with preference pairs: the PPM, what it is held against, and its labels."""
    shown = {
        **PPM_ACCURACIES,
        **PPM_AT_EVALUATION,
        "ppm_accuracy_training": "PPM, training pairs",
        "ppm_step_accuracy": "first errors found (F1)",
        "pair_label_noise": "label noise of pairs",
        "right_with_wrong_step": "right answers by a wrong step",
    }
    lines = [[row["round_id"], *(percent(row[key]) for key in shown)] for row in rows if row["num_pairs"]]
    return [["preferences", *shown.values()], *lines] if lines else []


def overview(rows: Sequence[Row]) -> list[list[str]]:
    """Header and one line for each round."""
    accuracies = list(names_of(rows).values())
    header = ["round", "coverage", *accuracies, "PPM accuracy", "trajectories", "pairs", "tokens"]
    return [header, *([row["round_id"], *_overview_cells(row)] for row in rows)]


def _overview_cells(row: Row) -> Iterator[str]:
    for key in ("coverage", *ACCURACIES):
        yield percent((row[key] or {}).get("all"))
    yield percent(row["ppm_accuracy"])
    for key in ("num_trajectories", "num_pairs"):
        yield _ABSENT if row[key] is None else f"{row[key]:,}"
    known = [count for count in row["tokens"].values() if count is not None]
    yield short_number(sum(known)) if known else _ABSENT


def by_level(rows: Sequence[Row]) -> list[list[str]]:
    """Header and one line for each round and measure; empty where the problems have no levels."""
    measures = {"policy_pass@1": "greedy pass@1", "system@N": names_of(rows)["system@N"], "coverage": "coverage"}
    levels = levels_of(rows, tuple(measures))
    if not levels:
        return []
    lines = [
        [name, row["round_id"], *(percent(row[key].get(level)) for level in levels)]
        for key, name in measures.items()
        for row in rows
        if row[key]
    ]
    return [["by level", "round", *(level.replace("_", " ") for level in levels)], *lines]


def percent(share: float | None) -> str:
    return _ABSENT if share is None else f"{100 * share:.1f} %"


def short_number(count: float) -> str:
    """Three digits and a unit: 1,234,567 is ``1.23 M``."""
    rounded = float(f"{count:.3g}")
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rounded >= size:
            return f"{rounded / size:,.6g} {unit}"
    return f"{rounded:.0f}"


# --- plot and figure ------------------------------------------------------------------------------------------


def write_plot(path: Path, rows: Sequence[Row]) -> None:
    """The accuracies in long form, for ``dvc plots``: one line per metric by the template .dvc/plots/rounds.json."""
    with publish(path, "w") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["round_id", "metric", "accuracy"])
        for key in ACCURACIES:
            writer.writerows([row["round_id"], key, row[key]["all"]] for row in rows if row[key])


# Colours that the colour-blind tell apart (Okabe & Ito), and markers for those who print in grey.
_STYLES = {
    "policy_pass@1": {"color": "#0072B2", "marker": "o"},
    "system@N": {"color": "#D55E00", "marker": "s"},
    "flat@K": {"color": "#007A5A", "marker": "^"},
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
