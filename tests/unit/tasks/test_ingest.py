"""The ingest stage: disjoint splits on disk, every refusal counted and listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rstar_core.answers.gold import gold_ruling
from rstar_core.config import Ingest
from rstar_core.errors import UserError
from rstar_core.io import digest, read_demonstrations, read_problems
from rstar_core.machine.variables import JOURNAL
from tasks.ingest import ingest, unwatched

OUTPUTS = {
    "train": "train.parquet",
    "benchmark": "benchmark.parquet",
    "demonstrations": "demonstrations.parquet",
    "oracle": "oracle.parquet",
    "rejected": "rejected.jsonl",
    "report": "report.md",
    "counts": "report.json",
}


def write_rows(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def problem(text: str, answer: str | None = "1") -> dict[str, Any]:
    return {"problem": text, "answer": answer}


def file(path: str, split: str, **fields: Any) -> dict[str, Any]:
    return {"kind": "file", "split": split, "path": path, "source": Path(path).stem, **fields}


def run(folder: Path, *sources: dict[str, Any], max_bad_fraction: float = 0.5) -> dict[str, float]:
    section = Ingest.model_validate({"sources": sources, "max_bad_fraction": max_bad_fraction})
    outputs = {name: folder / "out" / file for name, file in OUTPUTS.items()}
    return ingest(data=folder, **outputs, ingest=section)


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(JOURNAL.name, str(tmp_path / "journal"))
    return tmp_path / "journal"


def rejected(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / "rejected.jsonl").read_text().splitlines()]


def test_the_benchmark_wins_then_demonstrations_then_training(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "a.jsonl", problem("Shared."), problem("Worked: twice 9"), problem("Own"))
    worked = [
        {"question": "worked twice 9", "answer": "<<9*2=18>>18\n#### 18"},
        {"question": "shared", "answer": "<<1*1=1>>1\n#### 1"},
    ]
    demonstrations = write_rows(tmp_path / "b.jsonl", *worked)
    benchmark = write_rows(tmp_path / "c.jsonl", problem("SHARED"), problem("Held out"), problem("held out!"))
    metrics = run(
        tmp_path,
        file(train, "train"),
        file(demonstrations, "demonstrations", solutions="gsm8k"),
        file(benchmark, "benchmark"),
    )
    assert [one.text for one in read_problems(tmp_path / "out" / "train.parquet")] == ["Own"]
    assert [one.text for one in read_problems(tmp_path / "out" / "benchmark.parquet")] == ["SHARED", "Held out"]
    (worked_out,) = read_demonstrations(tmp_path / "out" / "demonstrations.parquet")
    assert (worked_out.problem.text, worked_out.code_steps[-1]) == (
        "worked twice 9",
        "# 18\nstep_1 = 9 * 2\nprint(step_1)",
    )
    assert [(row["file"], row["line"]) for row in rejected(tmp_path)] == [
        (benchmark, 3),
        (demonstrations, 2),
        (train, 1),
        (train, 2),
    ]
    assert [row["reason"].partition(" in ")[2].partition(",")[0] for row in rejected(tmp_path)] == [
        "benchmark",
        "benchmark",
        "benchmark",
        "demonstrations",
    ]
    assert metrics == {
        "num_train": 1,
        "num_benchmark": 2,
        "num_demonstrations": 1,
        "num_bad": 0,
        "num_duplicates": 4,
        "num_without_program": 0,
        "num_ungradable": 0,
        "a/num_train": 1,
        "a/num_duplicates": 2,
        "b/num_demonstrations": 1,
        "b/num_duplicates": 1,
        "c/num_benchmark": 2,
        "c/num_duplicates": 1,
    }


def test_every_refusal_is_listed_and_the_first_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [problem(f"Problem {n}", "1" if n % 2 else None) for n in range(60)]
    path = write_rows(tmp_path / "half.jsonl", *rows)
    metrics = run(tmp_path, file(path, "train"))
    assert (metrics["num_train"], metrics["num_bad"]) == (30, 30)
    assert rejected(tmp_path)[1] == {"file": path, "line": 3, "reason": "no answer"}
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == f"{path}:1: no answer"
    assert (len(shown), shown[-1]) == (21, f"... and 10 more, all in {tmp_path / 'out' / 'rejected.jsonl'}")


def test_every_row_of_a_source_is_in_one_column_of_the_report(tmp_path: Path) -> None:
    worked = "Half: <<2/2=1>>1"
    rows = [
        {**problem("One of two."), "solution": worked},
        {**problem("Two of two."), "solution": "They cry."},
        problem("Three, three."),
        problem("three three"),
        problem("Three, three."),
        problem("Three: three!", "2"),
        problem("Four", None),
        problem("Five", "notfound"),
        problem(r"Six \dfrac{1}{2}", "\\sqrt{("),
        problem("Seven \frac{1}{2}, shown below. The answer is 1."),
        problem("Eight"),
    ]
    path = write_rows(tmp_path / "a.jsonl", *rows)
    run(
        tmp_path,
        file(path, "demonstrations", solutions="gsm8k", limit=2),
        file(path, "train", offset=2, limit=6),
        {"kind": "stories", "split": "benchmark", "levels": [1], "num_per_level": 3, "seed": 1},
    )
    counts = json.loads((tmp_path / "out/report.json").read_text())
    demonstrations, train, stories = counts["sources"]
    fates = {"bad row", "outside the slice", "no program", "duplicate"}
    fates |= {"duplicate but for layout", "conflicting answer", "unreadable answer"}
    for source in counts["sources"]:
        assert source["rows"] == source["kept"] + sum(source[fate] for fate in fates)
    assert (demonstrations["kept"], demonstrations["no program"], demonstrations["outside the slice"]) == (1, 1, 7)
    kept = {fate: train[fate] for fate in sorted(fates)}
    assert train["kept"] == 2 and kept == {
        "bad row": 2,
        "conflicting answer": 1,
        "duplicate": 1,
        "duplicate but for layout": 1,
        "no program": 0,
        "outside the slice": 3,
        "unreadable answer": 1,
    }
    assert (stories["rows"], stories["kept"]) == (3, 3)
    assert [one["doubt"].partition(":")[0] for one in counts["doubts"]] == [
        "a lost backslash",
        "a figure that is not here",
        "the text tells the answer",
    ]
    (conflict,) = counts["conflicts"]
    assert conflict.startswith(f"{path}:6: ") and conflict.endswith("where the answer is '1', not '2'")
    text = (tmp_path / "out/report.md").read_text()
    assert "| all " in text and "may be \\frac{1}{2}" in text and conflict in text


def test_answers_that_only_the_algebra_system_can_compare_are_no_contradiction(tmp_path: Path) -> None:
    rows = [
        problem("Which?", r"\sin(2x)"),
        problem("Which?", r"2\sin(x)\cos(x)"),
        problem("Which?", r"\sin(3x)"),
    ]
    path = write_rows(tmp_path / "a.jsonl", *rows)
    run(
        tmp_path,
        file(path, "train"),
        {"kind": "stories", "split": "benchmark", "levels": [1], "num_per_level": 1, "seed": 1},
    )
    (conflict,) = json.loads((tmp_path / "out/report.json").read_text())["conflicts"]
    assert conflict.startswith(f"{path}:3: ")


REAL = Path(__file__).parents[4] / "shared" / "data"
REAL_COUNTS = {  # rows, kept, duplicates, unreadable answers, rows with a doubt
    "gsm8k_train": (7473, 7473, 0, 0, 0),
    "gsm8k_test": (1319, 1319, 0, 0, 0),
    "multiarith": (600, 580, 20, 0, 0),
    "olympiadbench_en_math": (675, 671, 0, 4, 4),
    "svamp": (1000, 1000, 0, 0, 0),
}


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="needs the real problem sets, which are not part of this project")
@pytest.mark.parametrize("name", REAL_COUNTS)
def test_real_sets_come_in_with_these_counts(tmp_path: Path, name: str) -> None:
    run(tmp_path, file(str(REAL / f"{name}.jsonl.gz"), "train"))
    counts = json.loads((tmp_path / "out/report.json").read_text())
    (one,) = counts["sources"]
    doubtful = {(doubt["file"], doubt["line"]) for doubt in counts["doubts"]}
    found = (one["rows"], one["kept"], one["duplicate"], one["unreadable answer"], len(doubtful))
    assert found == REAL_COUNTS[name]


@pytest.mark.skipif(not REAL.exists(), reason="needs the real problem sets, which are not part of this project")
def test_judged_solutions_are_no_problems(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"400 of 400 rows are bad.* line 1: a judged solution"):
        run(tmp_path, file(str(REAL / "processbench_gsm8k.jsonl.gz"), "train"))


def test_slices_of_one_file_count_its_bad_rows_once(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", problem("one"), problem("two"), problem("three", None))
    metrics = run(tmp_path, file(path, "train", limit=1), file(path, "benchmark", offset=1))
    assert (metrics["num_train"], metrics["num_benchmark"], metrics["num_bad"]) == (1, 1, 1)
    assert len(rejected(tmp_path)) == 1


def test_solutions_without_a_program_are_counted_apart(tmp_path: Path) -> None:
    rows = [{"question": str(n), "answer": "so\n#### 4"} for n in range(3)]
    path = write_rows(tmp_path / "a.jsonl", *rows)
    metrics = run(tmp_path, file(path, "demonstrations", solutions="gsm8k"), max_bad_fraction=0.0)
    assert (metrics["num_demonstrations"], metrics["num_without_program"], metrics["num_bad"]) == (0, 3, 0)
    assert len(rejected(tmp_path)) == 3


@pytest.mark.slow
def test_a_gold_answer_that_the_grader_can_not_read_is_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golds = {
        "plain": "7",
        "algebra": r"e^{2x}\sin x",
        "words": "Monday",
        "half": r"\frac{1}{2",
        "essay": r"Yes, since $a \perp b$; see (3).",
    }
    path = write_rows(tmp_path / "a.jsonl", *(problem(text, answer) for text, answer in golds.items()))
    with pytest.raises(
        UserError, match=r"2 of 5 rows are bad, .* the first is line 4: answer: the grader can't find it"
    ):
        run(tmp_path, file(path, "train"), max_bad_fraction=0.3)
    metrics = run(tmp_path, file(path, "train"), max_bad_fraction=0.4)
    assert [one.text for one in read_problems(tmp_path / "out" / "train.parquet")] == ["plain", "algebra", "words"]
    assert (metrics["num_train"], metrics["num_bad"], metrics["num_ungradable"]) == (3, 0, 2)
    assert [(row["file"], row["line"]) for row in rejected(tmp_path)] == [(path, 4), (path, 5)]
    assert f"{path}:4: answer: the grader can't find it equal to itself (unreadable): " in capsys.readouterr().err


def test_plain_gold_answers_need_no_sandbox(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        problem(f"{n}?", answer) for n, answer in enumerate(["7", "1/2", r"\frac{3}{4}", "(1,2)", r"2\sqrt{3}", "B"])
    ]
    assert run(tmp_path, file(write_rows(tmp_path / "a.jsonl", *rows), "train"))["num_train"] == len(rows)
    assert "sandbox" not in capsys.readouterr().err


@pytest.mark.parametrize("bad", ["missing.jsonl", "bad.jsonl"])
def test_nothing_is_written_if_any_source_fails(tmp_path: Path, bad: str) -> None:
    good = write_rows(tmp_path / "good.jsonl", problem("one"))
    write_rows(tmp_path / "bad.jsonl", problem("one", None))
    with pytest.raises(UserError):
        run(tmp_path, file(good, "benchmark"), file(str(tmp_path / bad), "train"))
    assert not (tmp_path / "out").exists()


def test_stories_fill_all_splits_and_the_same_section_gives_the_same_bytes(tmp_path: Path) -> None:
    sources = [
        {"kind": "stories", "split": split, "levels": [1, 2], "num_per_level": 5, "seed": seed}
        for seed, split in enumerate(("train", "benchmark", "demonstrations"))
    ]
    metrics = run(tmp_path, *sources)
    first = {name: (tmp_path / "out" / name).read_bytes() for name in OUTPUTS.values()}
    assert run(tmp_path, *sources) == metrics
    assert {name: (tmp_path / "out" / name).read_bytes() for name in OUTPUTS.values()} == first
    assert (
        metrics["num_train"] + metrics["num_benchmark"] + metrics["num_demonstrations"]
        == 30 - metrics["num_duplicates"]
    )


@pytest.mark.slow
def test_killed_while_it_judges_gold_answers_it_goes_on_with_the_others(
    tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golds = [r"\\frac{\\ln 2}{3}", r"\\ln 5 + 1", "what", r"\\sin 2", r"\\log_3 7"]
    rows = [problem(f"Question {number}", gold) for number, gold in enumerate(golds)]
    source = file(write_rows(tmp_path / "a.jsonl", *rows), "train")
    whole = run(tmp_path, source)
    made = digest(tmp_path / "out")
    monkeypatch.setattr("rstar_core.problems.golds._AT_ONCE", 1)
    asked: list[str] = []

    async def until_killed(gold: str, sandbox: Any) -> Any:
        asked.append(gold)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return await gold_ruling(gold, sandbox)

    monkeypatch.setattr("rstar_core.problems.golds.gold_ruling", until_killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, source)
    assert run(tmp_path, source) == whole and digest(tmp_path / "out") == made
    assert len(asked) == len(set(asked)) + 1, "only the one that it was at is judged again"
    assert not list(journal.iterdir())


def test_files_whose_changes_are_not_seen_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    paths = ("data/a.jsonl", str(tmp_path / "data/b.jsonl"), "data/../c.jsonl", "d.jsonl", "s3://bucket/e.jsonl")
    sources = Ingest.model_validate({"sources": [file(path, "train") for path in paths], "max_bad_fraction": 0}).sources
    said = unwatched(sources, Path("data"))
    assert [line.partition(":")[0] for line in said] == ["data/../c.jsonl", "d.jsonl", "s3"]
    assert all("dvc repro --force --single-item ingest" in line for line in said)
