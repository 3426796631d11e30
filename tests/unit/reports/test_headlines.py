"""A stage's results in one line, and a table that fits a terminal."""

from __future__ import annotations

from rstar_core.reports.headlines import SHOWN, headline
from rstar_core.reports.rounds import compact


def test_shares_are_percent_counts_have_their_names_and_gaps_are_left_out() -> None:
    found = {"coverage": {"all": 0.9331, "level_1": 1.0}, "num_trajectories": 1509, "num_correct": 1204, "x": 1}
    assert headline("verify", found) == "coverage 93.3 %, 1,509 trajectories, 1,204 correct"
    assert headline("evaluate", {"policy_pass@1": {"all": 0.5}, "system@N": None}) == "greedy 50.0 %"
    trained = {"num_sft": 1, "num_left_out": 0, "final_loss": 0.01234}
    assert headline("train_policy", trained) == "1 SFT examples, loss 0.012"
    assert headline("train_policy", {**trained, "num_left_out": 2}) == "1 SFT examples, 2 left out, loss 0.012"
    assert headline("summarize", {"rounds": []}) == ""


def test_every_stage_with_metrics_of_its_own_has_a_line() -> None:
    from tasks.runner.stages import stage_summaries

    assert set(stage_summaries()) - set(SHOWN) == {"summarize"}


def test_the_compact_table_is_narrow_and_shows_what_was_not_measured() -> None:
    row = {"round_id": "r1", "policy_pass@1": {"all": 0.5}, "system@N": {"all": 0.75}, "num_trees": 8}
    rows = [{"round_id": "r0", "policy_pass@1": {"all": 0.25}}, {**row, "num_pairs": 7, "tokens": {"evaluate": 1500}}]
    lines = compact(rows).splitlines()
    assert max(map(len, lines)) < 100
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["round", "coverage", "greedy", "System 2 (system@8)", "pass@N", "PPM", "pairs", "tokens"]
    assert cells[2] == ["r0", "–", "25.0 %", "–", "–", "–", "–", "0"]
    assert cells[3] == ["r1", "–", "50.0 %", "75.0 %", "–", "–", "7", "1.5 k"]
