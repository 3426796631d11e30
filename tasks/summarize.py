"""The stages' metrics of one round -> the table, plot and figure of all rounds so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rstar_core.io import read_json, write_json
from rstar_core.reports.figure import draw_figure
from rstar_core.reports.rounds import first_row, headline_of, searched_row, write_plot, write_table


def summarize(
    *,
    round_id: str,
    stage_metrics: Path,
    earlier: Path | None = None,
    table: Path,
    plot: Path,
    figure: Path,
    headline: Path,
) -> dict[str, Any]:
    """Add the round's row to the earlier rounds' and show all of them.

    ``stage_metrics`` has one JSON file for each stage; ``earlier`` is the previous round's summary, and the first
    round, which searched nothing, has none. Returns ``{"rounds": [row, ...]}``; what was not measured is null.
    ``headline`` has the row's few numbers that ``dvc metrics show`` is to print.
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
    write_json(headline, headline_of(row))
    return {"rounds": rows}
