"""The summary: rows grow round by round, gaps are null and shown as such, files are the same for the same input."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_core.errors import UserError
from rstar_core.reports.figure import draw_figure, spread
from rstar_core.reports.markdown import aligned
from rstar_core.reports.rounds import percent, short_number
from tasks.summarize import summarize

EVALUATE = {
    "policy_pass@1": {"all": 0.5, "level_1": 0.75, "level_10": 0.25},
    "policy_pass@1_paired": {"all": 0.55},
    "system@N": {"all": 0.625},
    "best@N": {"all": 0.61},
    "majority@N": {"all": 0.6},
    "maj@K": {"all": 0.59},
    "pass@N": {"all": 0.8},
    "flat_pass@K": {"all": 0.7},
    "interval": {"policy_pass@1": [0.4, 0.6]},
    "ppm_accuracy_benchmark": 0.66,
    "ppm_step_accuracy": 0.65,
    "pair_label_noise": 0.05,
    "num_trees": 4,
    "num_samples": 16,
    "num_problems": 8,
    "num_system_problems": 4,
    "num_tokens": 100,
    "num_tokens_greedy": 8,
    "num_tokens_flat": 35,
    "num_tokens_system": 50,
}
ACCURACIES = [name for name in EVALUATE if "@" in name]
FIRST_EVALUATE = {**EVALUATE, **dict.fromkeys([*ACCURACIES[1:], "ppm_accuracy_benchmark"])}
SEARCHED = {
    "synthesize": {"num_problems": 48, "num_tokens": 2_000_000, "coverage": {"all": 0.99}},
    "verify": {"coverage": {"all": 0.9, "level_1": 1.0, "level_10": 0.8}, "num_trajectories": 1234},
    "curate": {"num_pairs": 321},
    "train_policy": {"num_tokens": 40},
    "train_ppm": {"ppm_accuracy": 0.7, "ppm_accuracy_step": 0.75, "ppm_accuracy_shuffled": 0.5, "num_tokens": 2},
    "evaluate": EVALUATE,
}
FIRST = {"bootstrap": {"num_sft": 9, "num_tokens": 70}, "evaluate": FIRST_EVALUATE}


def run(folder: Path, round_id: str, stages: dict[str, Any], earlier: Path | None = None) -> Path:
    """Summarise a round as the runner would; returns its summary.json."""
    metrics = folder / round_id / "metrics"
    metrics.mkdir(parents=True)
    for stage, values in stages.items():
        (metrics / f"{stage}.json").write_text(json.dumps(values))
    files = {"table": "summary.md", "plot": "rounds.csv", "figure": "rounds.png", "headline": "headline.json"}
    outputs = {name: folder / round_id / file for name, file in files.items()}
    summary = summarize(round_id=round_id, stage_metrics=metrics, earlier=earlier, **outputs)
    made = folder / round_id / "summary.json"
    made.write_text(json.dumps(summary))
    return made


def rows(summary: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(summary.read_text())["rounds"]
    return found


def test_sources_are_told_apart_where_there_are_more_than_one(tmp_path: Path) -> None:
    one = {"policy_pass@1": {"all": 0.5}, "system@N": None}
    other = {"policy_pass@1": {"all": 0.25, "level_1": 0.25}, "system@N": {"all": 0.375}}
    first = run(tmp_path, "r0", {**FIRST, "evaluate": {**FIRST_EVALUATE, "sources": {"gsm8k": one}}})
    assert "by source" not in (tmp_path / "r0/summary.md").read_text()
    run(tmp_path, "r1", {**SEARCHED, "evaluate": {**EVALUATE, "sources": {"gsm8k": one, "stories": other}}}, first)
    text = (tmp_path / "r1/summary.md").read_text()
    lines = [line for line in text.splitlines() if "gsm8k" in line or "stories" in line]
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines] == [
        ["gsm8k", "greedy pass@1", "50.0 %", "50.0 %"],
        ["stories", "greedy pass@1", "–", "25.0 %"],
        ["stories", "System 2 (system@4)", "–", "37.5 %"],
    ]


def test_the_first_round_has_no_search_to_report(tmp_path: Path) -> None:
    (row,) = rows(run(tmp_path, "r0", FIRST))
    assert row["round_id"] == "r0"
    assert row["policy_pass@1"] == EVALUATE["policy_pass@1"]
    absent = {"coverage", "system@N", "majority@N", "pass@N", "ppm_accuracy"}
    assert all(row[key] is None for key in absent | {"num_problems", "num_trajectories", "num_pairs"})
    assert row["tokens"] == {"evaluate": 100, "train": 70}
    assert json.loads((tmp_path / "r0/headline.json").read_text()) == {
        "coverage": None,
        "greedy": 0.5,
        "system@N": None,
        "pass@N": None,
        "ppm": None,
        "pairs": None,
        "tokens": 170,
    }


def test_a_round_is_added_to_the_earlier_ones(tmp_path: Path) -> None:
    first = run(tmp_path, "r0", FIRST)
    before, row = rows(run(tmp_path, "r1", SEARCHED, first))
    assert [before] == rows(first)
    expected = {
        **{key: value for key, value in EVALUATE.items() if key != "num_problems" and "num_tokens" not in key},
        "method_tokens": {"greedy": 8, "flat": 35, "system": 50},
        "round_id": "r1",
        "coverage": SEARCHED["verify"]["coverage"],  # the verified one, not the search's own
        "ppm_accuracy": 0.7,
        "ppm_accuracy_step": 0.75,
        "ppm_accuracy_shuffled": 0.5,
        "num_held_out": 8,
        "num_problems": 48,
        "num_trajectories": 1234,
        "num_pairs": 321,
        "tokens": {"synthesize": 2_000_000, "evaluate": 100, "train": 42},
    }
    assert {key: value for key, value in row.items() if value is not None} == expected


def test_the_tables_line_up_and_order_levels_by_number(tmp_path: Path) -> None:
    run(tmp_path, "r1", SEARCHED, run(tmp_path, "r0", FIRST))
    overview, costs, preferences, by_level = (tmp_path / "r1" / "summary.md").read_text().strip().split("\n\n")
    for table in (overview, costs, preferences, by_level):
        assert len({len(line) for line in table.splitlines()}) == 1
    header, _, first, second = ([cell.strip() for cell in line.split("|")[1:-1]] for line in overview.splitlines())
    assert header[:5] == ["round", "coverage", "greedy pass@1", "greedy, paired", "System 2 (system@4)"]
    assert header[5:10] == ["best@4", "majority@4", "maj@16", "pass@4", "flat pass@16"]
    assert first == ["r0", "–", "50.0 %", *["–"] * 10, "170"]
    shares = ["90.0 %", "50.0 %", "55.0 %", "62.5 %", "61.0 %", "60.0 %", "59.0 %", "80.0 %", "70.0 %"]
    assert second[:10] == ["r1", *shares]
    assert second[10:] == ["70.0 %", "1,234", "321", "2 M"]
    assert preferences.splitlines()[2].split("|")[2].strip() == "75.0 %" and len(preferences.splitlines()) == 3
    assert by_level.splitlines()[0].split("|")[3:5] == [" level 1 ", " level 10 "]
    assert [line.split("|")[1].strip() for line in by_level.splitlines()[2:]] == [
        *["greedy pass@1"] * 2,
        "System 2 (system@4)",
        "coverage",
    ]


def test_what_a_solved_problem_and_a_right_answer_cost(tmp_path: Path) -> None:
    run(tmp_path, "r1", SEARCHED, run(tmp_path, "r0", FIRST))
    costs = (tmp_path / "r1" / "summary.md").read_text().split("\n\n")[1]
    header, _, first, second = ([cell.strip() for cell in line.split("|")[1:-1]] for line in costs.splitlines())
    assert header[1:4] == ["a solved problem", "a right answer, greedy", "a right answer, maj@16"]
    assert first == ["r0", "–", "2", "–", "–"], "8 tokens, and of 8 answers .5 are right"
    assert second == ["r1", "46.3 k", "2", "15", "20"], "2 M tokens for .9 of 48 problems; 35 for .59 of 4, 50 for .625"


def test_the_plot_has_one_line_for_each_measured_accuracy(tmp_path: Path) -> None:
    run(tmp_path, "r1", SEARCHED, run(tmp_path, "r0", FIRST))
    with (tmp_path / "r1" / "rounds.csv").open(newline="") as handle:
        points = [tuple(row.values()) for row in csv.DictReader(handle)]
    assert points == [
        ("r0", "policy_pass@1", "0.5"),
        ("r1", "policy_pass@1", "0.5"),
        ("r1", "policy_pass@1_paired", "0.55"),
        ("r1", "system@N", "0.625"),
        ("r1", "best@N", "0.61"),
        ("r1", "majority@N", "0.6"),
        ("r1", "maj@K", "0.59"),
        ("r1", "pass@N", "0.8"),
        ("r1", "flat_pass@K", "0.7"),
    ]


def test_the_same_rounds_give_the_same_bytes(tmp_path: Path) -> None:
    shown = rows(run(tmp_path, "r1", SEARCHED, run(tmp_path, "r0", FIRST)))
    draw_figure(tmp_path / "again.png", shown)
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "r1" / "rounds.png").read_bytes()


def test_a_plot_style_of_the_user_changes_nothing(tmp_path: Path) -> None:
    import matplotlib

    draw_figure(tmp_path / "a.png", rows(run(tmp_path, "r0", FIRST)))
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30}):
        draw_figure(tmp_path / "b.png", rows(tmp_path / "r0" / "summary.json"))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_problems_without_levels_have_one_table(tmp_path: Path) -> None:
    plain = {"bootstrap": {}, "evaluate": {"policy_pass@1": {"all": 0.25}}}
    summary = run(tmp_path, "r0", plain)
    assert rows(summary)[0]["tokens"] == {"evaluate": None, "train": None}
    text = (tmp_path / "r0" / "summary.md").read_text()
    assert "by level" not in text
    assert "system@N" in text and "| –" not in text.splitlines()[0]
    assert (tmp_path / "r0" / "rounds.png").read_bytes().startswith(b"\x89PNG")


def test_rounds_of_different_tree_numbers_are_not_given_one_number(tmp_path: Path) -> None:
    other = {**SEARCHED, "evaluate": {**EVALUATE, "num_trees": 8}}
    run(tmp_path, "r1", other, run(tmp_path, "r0", FIRST))
    assert "system@N" in (tmp_path / "r1" / "summary.md").read_text()


@pytest.mark.parametrize("stage", SEARCHED)
def test_a_missing_stage_is_named_in_one_line(tmp_path: Path, stage: str) -> None:
    first = run(tmp_path, "r0", FIRST)
    with pytest.raises(UserError, match=rf"{stage}\.json: not found; run the stage") as raised:
        run(tmp_path, "r1", {name: values for name, values in SEARCHED.items() if name != stage}, first)
    assert "\n" not in str(raised.value)


def test_an_evaluation_without_greedy_accuracy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluate\.json: no 'policy_pass@1' over all problems; run evaluate again"):
        run(tmp_path, "r0", {**FIRST, "evaluate": {"policy_pass@1": None}})


def test_numbers_as_people_read_them() -> None:
    assert [percent(share) for share in (None, 0.0, 0.1234, 1.0)] == ["–", "0.0 %", "12.3 %", "100.0 %"]
    shown = [short_number(count) for count in (0, 999, 1_000, 12_345, 999_999, 1_234_567, 2.5e9, 7e12)]
    assert shown == ["0", "999", "1 k", "12.3 k", "1 M", "1.23 M", "2.5 G", "7,000 G"]


def test_a_table_of_one_line_is_markdown() -> None:
    assert aligned([["a", "long"], ["bb", "1"]]) == "| a   | long |\n| --- | ---: |\n| bb  |    1 |"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4).map(sorted))
def test_labels_keep_their_order_their_distance_and_the_axis(heights: list[float]) -> None:
    placed = spread(heights, 0.05)
    assert all(later - earlier >= 0.05 - 1e-9 for earlier, later in pairwise(placed))
    assert placed[0] >= 0.05 - 1e-9 and placed[-1] <= 0.95 + 1e-9


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([0.2, 0.5, 0.8], 0.05) == pytest.approx([0.2, 0.5, 0.8])
    assert spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
