"""The stages' metrics of one round -> the table, plot and figure of all rounds so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rstar_core.io import read_json, write_json
from rstar_core.reports.figure import draw_figure
from rstar_core.reports.pages import Files, write_round_pages
from rstar_core.reports.rounds import few_columns, first_row, headline_of, searched_row, write_plot, write_table
from rstar_core.store.publishing import publish_folder

NUM_TREES = 3  # of each list of a round's page


def summarize(
    *,
    round_id: str,
    stage_metrics: Path,
    earlier: Path | None = None,
    problems: Path | None = None,
    benchmark: Path | None = None,
    oracle: Path | None = None,
    trees: Path | None = None,
    trajectories: Path | None = None,
    pairs: Path | None = None,
    predictions: Path | None = None,
    findings: Path | None = None,
    table: Path,
    plot: Path,
    figure: Path,
    headline: Path,
    pages: Path | None = None,
) -> dict[str, Any]:
    """Add the round's row to the earlier rounds' and show all of them.

    ``stage_metrics`` has one JSON file for each stage; ``earlier`` is the previous round's summary, and the first
    round, which searched nothing, has none. Returns ``{"rounds": [row, ...]}``; what was not measured is null.
    ``headline`` has the row's few numbers that ``dvc metrics show`` is to print. ``pages`` are for a browser: what of
    the round's results is worth a look, and some of its search trees. The first round has none.
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
    given = (problems, benchmark, oracle, trees, trajectories, pairs, predictions, findings)
    if pages:
        with publish_folder(pages) as folder:
            write_round_pages(round_id, few_columns(rows), Files(*filter(None, given)), folder, NUM_TREES)
    return {"rounds": rows}
