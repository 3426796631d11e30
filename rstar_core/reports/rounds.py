"""The stages' metrics of one round as a row, and all rounds as tables."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rstar_core.errors import UserError
from rstar_core.evaluation.methods import FLAT, GREEDY, SYSTEM
from rstar_core.io import read_json
from rstar_core.reports.markdown import aligned
from rstar_core.store.publishing import publish

Row = dict[str, Any]
Rates = Mapping[str, float]  # shares within 0 and 1, by "all" and "level_<n>"
SEARCH_STAGES = ("synthesize", "verify", "curate", "train_policy", "train_ppm")
ACCURACIES = (
    "policy_pass@1",
    "policy_pass@1_paired",
    "system@N",
    "best@N",
    "majority@N",
    "maj@K",
    "pass@N",
    "flat_pass@K",
)
NAMES = {
    "policy_pass@1": "greedy pass@1",
    "policy_pass@1_paired": "greedy, paired",  # on the problems that the columns after it are of
    "system@N": "System 2 (system@{N})",
    "best@N": "best@{N}",
    "majority@N": "majority@{N}",
    "maj@K": "maj@{K}",
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
RIGHT = {  # by method, which accuracy says how many of how many its answers are right
    GREEDY: ("policy_pass@1", "num_held_out"),
    FLAT: ("maj@K", "num_system_problems"),
    SYSTEM: ("system@N", "num_system_problems"),
}
_ABSENT = "–"


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
        "method_tokens": {method: measured.get(f"num_tokens_{method}") for method in RIGHT},
        **{
            key: measured.get(key)
            for key in (*COUNTS, *ACCURACIES, "sources", "interval", *PPM_AT_EVALUATION, *ORACLES)
        },
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
        letter: {row[key] for row in rows if row.get(key)} for letter, key in (("N", "num_trees"), ("K", "num_samples"))
    }
    told = {letter: found.pop() if len(found) == 1 else letter for letter, found in numbers.items()}
    return {key: name.format(**told) for key, name in NAMES.items()}


def write_table(path: Path, rows: Sequence[Row]) -> None:
    with publish(path, "w") as handle:
        handle.write("\n\n".join(aligned(table) for table in tables(rows) if table) + "\n")


def tables(rows: Sequence[Row]) -> list[list[list[str]]]:
    return [overview(rows), costs(rows), by_source(rows), preferences(rows), by_level(rows)]


def headline_of(row: Row) -> dict[str, float | int | None]:
    """The numbers of ``few_columns`` as they are, flat; null where nothing was measured."""
    shares = {"coverage": "coverage", "greedy": "policy_pass@1", "system@N": "system@N", "pass@N": "pass@N"}
    return {
        **{name: row[key]["all"] if row[key] else None for name, key in shares.items()},
        "ppm": row["ppm_accuracy"],
        "pairs": row["num_pairs"],
        "tokens": sum(filter(None, row["tokens"].values())),
    }


def compact(rows: Sequence[Row]) -> str:
    """``few_columns``, narrow enough for a terminal."""
    return aligned(few_columns(rows))


def few_columns(rows: Sequence[Row]) -> list[list[str]]:
    """Header and rows of the few columns that tell whether rounds get better."""
    system = names_of(rows)["system@N"]
    header = ["round", "coverage", "greedy", system, "pass@N", "PPM", "pairs", "tokens"]
    keys = ("coverage", "policy_pass@1", "system@N", "pass@N")
    lines = [
        [
            row["round_id"],
            *(percent(row[key]["all"] if row.get(key) else None) for key in keys),
            percent(row.get("ppm_accuracy")),
            _ABSENT if row.get("num_pairs") is None else str(row["num_pairs"]),
            short_number(sum(filter(None, row.get("tokens", {}).values()))),
        ]
        for row in rows
    ]
    return [header, *lines]


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


def costs(rows: Sequence[Row]) -> list[list[str]]:
    """Header and a line for each round: tokens that its search wrote for each training problem that it solved, and
    those of each way of answering for each right answer.
    """
    names = {GREEDY: "greedy", FLAT: names_of(rows)["maj@K"], SYSTEM: names_of(rows)["system@N"]}
    header = ["tokens for", "a solved problem", *(f"a right answer, {name}" for name in names.values())]
    lines = []
    for row in rows:
        answers = [(row["method_tokens"][method], _number(row, *RIGHT[method])) for method in names]
        found = [(row["tokens"].get("synthesize"), num_solved(row)), *answers]
        lines.append(
            [row["round_id"], *(_ABSENT if not (many and of) else short_number(many / of) for many, of in found)]
        )
    return [header, *lines]


def num_solved(row: Row) -> float | None:
    """Training problems that the round's search has solved."""
    return _number(row, "coverage", "num_problems")


def _number(row: Row, share: str, total: str) -> float | None:
    return row[share]["all"] * row[total] if row.get(share) and row.get(total) else None


def by_source(rows: Sequence[Row]) -> list[list[str]]:
    """Header and one line for each source and measure, rounds along; empty where there is one source alone."""
    measures = {"policy_pass@1": "greedy pass@1", "system@N": names_of(rows)["system@N"]}
    sources = sorted({source for row in rows for source in row["sources"] or ()})
    if len(sources) < 2:
        return []
    lines = [
        [source, name, *(percent(share_of(row, source, key)) for row in rows)]
        for source in sources
        for key, name in measures.items()
        if any(share_of(row, source, key) is not None for row in rows)
    ]
    return [["by source", "measure", *(row["round_id"] for row in rows)], *lines]


def share_of(row: Row, source: str, key: str) -> float | None:
    shares = (row["sources"] or {}).get(source, {}).get(key)
    return shares["all"] if shares else None


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


def write_plot(path: Path, rows: Sequence[Row]) -> None:
    """The accuracies in long form, for ``dvc plots``: one line per metric by the template .dvc/plots/rounds.json."""
    with publish(path, "w") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["round_id", "metric", "accuracy"])
        for key in ACCURACIES:
            writer.writerows([row["round_id"], key, row[key]["all"]] for row in rows if row[key])
