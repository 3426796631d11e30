"""A round's page: what is worth a look, linked where a tree's page is, and no text of a model or a problem runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rstar_core.errors import UserError
from rstar_core.evaluation.accuracies import differences
from rstar_core.evaluation.oracle import Finding
from rstar_core.io import LEDGER, TREES, write_lines, write_predictions, write_problems, write_table
from rstar_core.reports.round_page import Section, round_page
from rstar_core.shards import read_shards, write_trees
from rstar_core.types import Prediction, Problem
from tasks.__main__ import main
from tests.unit.reports.test_tree_page import tree

EVIL = "<script>alert(1)</script>"
PROBLEM = Problem("p1", f"What is 2? {EVIL}", "2", 1, "made", "MIT")


def prediction(method: str, answer: str, verdict: str, problem_id: str = "h1") -> Prediction:
    return Prediction(problem_id, "made", 1, method, 0, 1, answer, (0.5,), 1.0, 0, verdict)


def test_text_is_escaped_cut_and_linked() -> None:
    section = Section("Claims", "what", ("answer", "share"), [["p1", EVIL, 0.25], *([["p1", None, 1.0]] * 30)])
    table = [["round", "greedy"], ["r0", "<b>"]]
    page = round_page("Round r1", table, [section], {"p1": PROBLEM}, {"p1": "r1-p1-1.html"})
    assert "<tr><th>round</th><th>greedy</th></tr>\n<tr><td>r0</td><td>&lt;b&gt;</td></tr>" in page
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page and "script-src" not in page
    assert '<a href="r1-p1-1.html">p1</a>' in page and "<td>0.25</td>" in page
    assert "Claims: 20 of 31" in page and page.count("<tr>") == 2 + 21
    assert "<a " not in round_page("Round r1", [], [section], {"p1": PROBLEM}, {})


def test_where_one_of_two_is_right() -> None:
    both = [prediction("greedy", "2", "equal", "h2"), prediction("system", "2", "equal", "h2")]
    one = [prediction("greedy", "3", "different"), prediction("system", "2", "equal")]
    assert [(alone.answer, its.answer) for alone, its in differences([*both, *one])] == [("3", "2")]


def test_show_writes_the_page_and_the_trees_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tasks.__main__.die_with_parent", lambda: None)
    round_ = Path("artifacts/r1")
    for folder in ("artifacts/problems", "artifacts/r1/trees", "artifacts/r1/trajectories"):
        Path(folder).mkdir(parents=True)
    write_problems("artifacts/problems/train.parquet", [PROBLEM])
    write_problems("artifacts/problems/benchmark.parquet", [Problem("h1", "What is 1?", "2", 1, "made", "MIT")])
    write_trees(round_ / "trees", [tree()])
    suspect = {"problem_id": "p1", "level": 1, "label": "2", "num_solutions": 3, "majority_answer": "1", "share": 0.9}
    (round_ / "trajectories/unsolved.jsonl").write_text(json.dumps({**suspect, "suspicion": 0.5, "is_stable": True}))
    write_table(round_ / "trajectories/ledger.parquet", [], LEDGER)
    found = [prediction("greedy", "3", "different"), prediction("system", "2", "equal")]
    write_predictions(round_ / "predictions.parquet", found)
    wrong = Finding("solution", "p1", 1, "n = <b>7</b>", "and yet the answer is 2")
    write_lines(round_ / "findings.jsonl", [asdict(wrong)])
    assert main(["show"]) == 0
    assert "in a browser: run/show/r1/round.html" in capsys.readouterr().out
    page = Path("run/show/r1/round.html").read_text()
    assert '<a href="r1-p1-1.html">' in page and "System 2</td>" in page
    assert "Right answers by a wrong step: 1 of 1" in page and "n = &lt;b&gt;7&lt;/b&gt;" in page
    assert Path("run/show/r1/r1-p1-1.html").exists()
    assert main(["show", "p"]) == 0 and "3  Q +1.00  right" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--round", "r9"], ["zz"], ["p", "--tree", "7"]])
def test_a_mistake_is_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    test_show_writes_the_page_and_the_trees_that_it_names(tmp_path, monkeypatch, capsys)
    assert main(["show", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


def test_columns_that_hold_something_else_are_refused_and_not_read_as_nothing(tmp_path: Path) -> None:
    write_trees(tmp_path, [tree()])
    (shard,) = tmp_path.glob("*.parquet")
    table = pq.read_table(shard)
    (node,) = (field.type.value_type for field in TREES if field.name == "nodes")
    renamed = pa.struct([pa.field(f"{one.name}_", one.type) for one in node])
    other = table.set_column(table.column_names.index("nodes"), "nodes", pa.array([[]], pa.list_(renamed)))
    pq.write_table(other, tmp_path / "other.parquet")
    from rstar_core.io import read_table

    with pytest.raises(UserError, match=r"other\.parquet: column nodes holds something else .*make it again"):
        read_table(tmp_path / "other.parquet", TREES)
    assert len(list(read_shards(tmp_path, TREES))) == 1
