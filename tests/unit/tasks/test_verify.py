"""The second look: what of a search's claims can be believed. Programs run in the real sandbox."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rstar_core.answers.equivalence import Grader, Rule, Ruling, Verdict
from rstar_core.config import SandboxLimits, Verify
from rstar_core.curation.claims import claims_of, select_claims
from rstar_core.curation.second_look import SecondLook
from rstar_core.errors import UserError
from rstar_core.io import LEDGER, digest, read_table, read_trajectories, write_problems
from rstar_core.machine.variables import JOURNAL
from rstar_core.reports.markdown import fenced
from rstar_core.reports.verification import samples
from rstar_core.shards import write_trees
from rstar_core.types import Node, Problem, SearchTree, Step, StepKind, Terminal, Trajectory
from tasks.verify import verify

LIMITS = SandboxLimits(wall_seconds=60.0, cpu_seconds=5, memory_mib=256, max_output_chars=200)
SECTION = Verify(cpu_seconds=1, wall_seconds=1.0, max_trajectories_per_problem=4, second_opinions=0.0)


@dataclass(frozen=True)
class Way:
    """A way down a tree: code with what the search saw it print, an answer, the search's verdict, a Q for all."""

    code: tuple[tuple[str, str], ...]
    answer: str
    reward: float | None
    q: float = 0.5


pytestmark = pytest.mark.slow  # each starts graders and a sandbox


def says(answer: str, reward: float | None, q: float = 0.5) -> Way:
    return Way(((f"print({answer!r})", f"{answer}\n"),), answer, reward, q)


def tree(problem_id: str, *paths: Way, index: int = 0) -> SearchTree:
    nodes = [Node(-1, None, 0.0, len(paths), 0.0)]
    for path in paths:
        parent = 0
        for number, (body, output) in enumerate(path.code, start=1):
            kind = StepKind.CODE_END if number == len(path.code) else StepKind.CODE
            nodes.append(Node(parent, Step(kind, body, output), 0.0, 1, path.q))
            parent = len(nodes) - 1
        step = Step(StepKind.ANSWER, f"\\boxed{{{path.answer}}}")
        terminal, visits = Terminal.ANSWERED, int(path.reward is not None)
        nodes.append(Node(parent, step, 0.0, visits, path.q * visits, terminal, path.answer, path.reward))
    return SearchTree(problem_id, "r1", index, tuple(nodes), len(paths), 10)


def problem(problem_id: str, answer: str = "42", level: int = 1) -> Problem:
    return Problem(problem_id, f"What is {problem_id}?", answer, level, "toy", "MIT")


def run(folder: Path, problems: list[Problem], trees: list[SearchTree], share: float = 0.0) -> dict[str, Any]:
    """The stage, asking math-verify for a second opinion on this share of the right answers."""
    folder.mkdir(exist_ok=True)
    write_problems(folder / "problems.parquet", problems)
    write_trees(folder / "trees", trees)
    metrics = verified(folder, share=share)
    timings = metrics.pop("timings")
    assert timings["trajectories/s"] >= 0 and "seccomp" in timings["sandbox"]
    return metrics


def verified(folder: Path, out: str = "trajectories", share: float = 0.0) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(JOURNAL.name, str(folder / "journal"))
        return verify(
            round_id="r1",
            problems=folder / "problems.parquet",
            trees=folder / "trees",
            trajectories=folder / out,
            sandbox=LIMITS,
            verify=SECTION.model_copy(update={"second_opinions": share}),
        )


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "trajectories" / name).read_text().splitlines()]


def ledger(folder: Path) -> list[dict[str, Any]]:
    return read_table(folder / "trajectories" / "ledger.parquet", LEDGER)


def verdicts(folder: Path) -> dict[str, bool]:
    found = read_trajectories(folder / "trajectories" / "trajectories.parquet")
    return {one.problem_id: one.is_correct for one in found}


# Each problem's name says what is the matter with its one solution.
TRUTHS = {"percent": r"12.5\%"}
CLAIMS = {
    "right": says("42", 1.0),
    "two steps": Way((("n = 6\nprint(n)", "6\n"), ("print(n * 7)", "42\n")), "42", 1.0),
    "wrong": says("7", -1.0),
    "misjudged": says("41", 1.0),
    "percent": says("12.5", 1.0),
    "guessed": Way((("print(41)", "41\n"),), "42", 1.0),
    "underrated": says("42.0", -1.0),
    "open": says("?", 0.0),
    "flaky": Way((("import time\nprint(time.time_ns())", "5\n"),), "42", 1.0),
    "broken": Way((("print(42)", "42\n"), ("1 / 0", "")), "42", 1.0),
    "slow": Way((("import time\ntime.sleep(30)\nprint(42)", "42\n"),), "42", 1.0),
    "unjudged": says("42", None),
}


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("verify")
    problems = [problem(name, TRUTHS.get(name, "42"), level=len(name) % 2) for name in CLAIMS]
    return folder, run(folder, problems, [tree(name, claim) for name, claim in CLAIMS.items()], share=1.0)


def test_only_what_two_looks_agree_on_is_a_trajectory(looked: tuple[Path, dict[str, Any]]) -> None:
    assert verdicts(looked[0]) == {"right": True, "two steps": True, "percent": True, "wrong": False}


@pytest.mark.parametrize(
    ("name", "claimed", "reason"),
    [
        ("misjudged", "right", "the grader now says different"),
        ("guessed", "right", "the program printed another number than the answer"),
        ("underrated", "wrong", "the grader now says equal"),
        ("open", "undecided", "the search's grader was undecided"),
        ("flaky", "right", "re-run printed something else"),
        ("broken", "right", "re-run ended in error: ZeroDivisionError: division by zero"),
        ("slow", "right", "re-run ended in timeout: "),
    ],
)
def test_a_claim_that_does_not_stand_is_listed(
    looked: tuple[Path, dict[str, Any]], name: str, claimed: str, reason: str
) -> None:
    (row,) = (row for row in ledger(looked[0]) if row["problem_id"] == name)
    assert (row["tree_index"], row["leaf"]) == (0, len(CLAIMS[name].code) + 1)
    assert (row["answer"], row["claimed"]) == (CLAIMS[name].answer, claimed)
    assert row["reason"].startswith(reason)


def test_the_counts_add_up(looked: tuple[Path, dict[str, Any]]) -> None:
    folder, metrics = looked
    names = ("num_trajectories", "num_correct", "num_disagreements", "num_undecided", "num_timeouts", "num_unsolved")
    assert [metrics[name] for name in names] == [4, 3, 5, 1, 1, 9]
    assert len(ledger(folder)) == 7


def test_coverage_is_over_all_problems(looked: tuple[Path, dict[str, Any]]) -> None:
    odd = [name for name in CLAIMS if len(name) % 2]
    assert looked[1]["coverage"] == {
        "all": 3 / 12,
        "level_0": 0.0,
        "level_1": 3 / len(odd),
    }


def test_an_unsolved_problem_is_listed_with_the_answer_that_most_gave(tmp_path: Path) -> None:
    guesses = [says("7", -1.0), says("9.0", -1.0), Way((("print(3 * 3)", "9\n"),), "9", -1.0)]
    run(tmp_path, [problem("label?", "8", 3), problem("no tree")], [tree("label?", *guesses)])
    first, second = rows(tmp_path, "unsolved.jsonl")
    assert (first["problem_id"], first["majority_answer"], first["num_solutions"]) == ("label?", "9.0", 3)
    assert first["is_stable"] and first["share"] == pytest.approx(2 / 3)
    assert (second["problem_id"], second["majority_answer"], second["is_stable"]) == ("no tree", None, False)
    text = (tmp_path / "trajectories" / "report.md").read_text()
    assert "## Labels to look at: 1 of 1" in text and "What is label?" in text


def test_trajectories_come_by_problem_tree_and_leaf(tmp_path: Path) -> None:
    problems = [problem("b"), problem("a")]
    trees = [
        tree(name, says("42", 1.0, q), says("7", -1.0), index=i) for name in "ba" for i, q in enumerate((0.1, 0.9))
    ]
    run(tmp_path, problems, trees)
    found = read_trajectories(tmp_path / "trajectories" / "trajectories.parquet")
    assert [(one.problem_id, one.tree_index, one.leaf) for one in found] == [
        (name, 0, leaf) for name in "ba" for leaf in (2, 4)
    ]


@pytest.mark.parametrize(
    ("problems", "message"),
    [
        ([], "no training problems; add a source"),
        ([problem("a")], "problem b has trees but is not among the problems, or not in their order"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(tmp_path: Path, problems: list[Problem], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, problems, [tree("b", says("42", 1.0))])
    assert not (tmp_path / "trajectories").exists()


def test_a_solution_without_an_answer_is_listed_with_the_reason(tmp_path: Path) -> None:
    lost = tree("lost", says("7", -1.0), says("42", 1.0))
    broken = replace(
        lost.nodes[2], step=Step(StepKind.ANSWER, "so \\boxed{7"), answer=None, terminal=Terminal.UNPARSABLE
    )
    metrics = run(tmp_path, [problem("lost")], [replace(lost, nodes=(*lost.nodes[:2], broken, *lost.nodes[3:]))])
    assert (metrics["num_without_answer"], metrics["num_trajectories"]) == (1, 1)
    (row,) = ledger(tmp_path)
    assert (row["kind"], row["reason"], row["leaf"]) == ("no answer", "the last box is left open", 2)
    assert (row["answer"], row["printed"]) == ("", "7")
    text = (tmp_path / "trajectories" / "report.md").read_text()
    assert "## No answer: 1 of 1" in text and "the last box is left open" in text


def look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, opinion: Verdict, num_problems: int = 1
) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """What math-verify was asked as a second grader, and the metrics; it always has this ``opinion``."""
    asked: list[tuple[str, str]] = []

    async def second(grader: Grader, gold: str, answer: str, tolerance: object) -> Ruling:
        asked.append((gold, answer))
        return Ruling(opinion, Rule.MATH_VERIFY)

    monkeypatch.setattr(Grader, "math_verify", second)
    names = [f"p{number}" for number in range(num_problems)]
    trees = [tree(name, says("42", 1.0)) for name in names]
    return asked, run(tmp_path, [problem(name) for name in names], trees, share)


def test_a_right_answer_that_math_verify_calls_different_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, metrics = look(tmp_path, monkeypatch, 1.0, Verdict.DIFFERENT)
    assert (asked, metrics["num_correct"], metrics["num_disagreements"]) == ([("42", "42")], 0, 1)
    (row,) = ledger(tmp_path)
    assert (row["kind"], row["claimed"], row["reason"]) == ("disagreement", "right", "math-verify says different")


def test_an_undecided_second_opinion_is_no_objection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(tmp_path, monkeypatch, 1.0, Verdict.UNDECIDED)[1]["num_correct"] == 1
    assert not ledger(tmp_path)


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 5, 25), (1.0, 30, 30)])
def test_second_opinions_are_a_drawn_share_and_the_same_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, least: int, most: int
) -> None:
    asked, metrics = look(tmp_path / "0", monkeypatch, share, Verdict.DIFFERENT, num_problems=30)
    assert least <= len(asked) <= most and metrics["num_correct"] == 30 - len(asked)
    if share == 0.5:
        assert look(tmp_path / "1", monkeypatch, share, Verdict.DIFFERENT, num_problems=30)[1] == metrics


# --- claims ---------------------------------------------------------------------------------------------------


def test_a_trajectory_has_the_q_of_each_of_its_steps() -> None:
    some = tree("p", Way((("a", ""), ("b", "1")), "1", 1.0))
    nodes = [replace(one, visit_count=2, value_sum=0.5 * place) for place, one in enumerate(some.nodes)]
    (claim,) = claims_of([replace(some, nodes=tuple(nodes))])
    assert claim.trajectory.step_q == (0.25, 0.5, 0.75) and claim.trajectory.mean_q == 0.5
    assert len(claim.trajectory.steps) == 3


def test_equal_solutions_of_two_trees_count_once() -> None:
    trees = [tree("p", says("42", 1.0), index=1), tree("p", says("7", -1.0), says("42", 1.0), index=0)]
    assert [(one.trajectory.tree_index, one.trajectory.leaf) for one in claims_of(trees)] == [(0, 2), (0, 4)]


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        ([0.1, 0.9, 0.5, 0.7], [-0.1, -0.9, -0.5, -0.7], [0.9, 0.7, -0.9, -0.7]),
        ([0.1], [-0.1, -0.9, -0.5, -0.7], [0.1, -0.9, -0.5, -0.7]),
        ([0.1, 0.9, 0.5, 0.7], [-0.1], [0.9, 0.5, 0.7, -0.1]),
        ([0.3], [], [0.3]),
    ],
)
def test_the_best_right_and_the_worst_wrong_share_the_places(
    right: list[float], wrong: list[float], expected: list[float]
) -> None:
    paths = [says(str(q), reward, q) for qs, reward in ((right, 1.0), (wrong, -1.0)) for q in qs]
    chosen = select_claims(claims_of([tree("p", *paths)]), 4)
    assert [one.trajectory.mean_q for one in chosen] == expected


def test_an_odd_place_is_a_right_ones_and_undecided_ones_take_none() -> None:
    paths = [says(f"{reward}/{number}", reward) for reward in (1.0, 0.0, -1.0) for number in range(3)]
    chosen = select_claims(claims_of([tree("p", *paths)]), 3)
    assert [one.trajectory.answer for one in chosen] == ["1.0/0", "1.0/1", "0.0/0", "0.0/1", "0.0/2", "-1.0/0"]


# --- samples --------------------------------------------------------------------------------------------------


def trajectory(problem_id: str, is_correct: bool, body: str = "print(1)") -> Trajectory:
    steps = (Step(StepKind.CODE_END, body, "1\n"), Step(StepKind.ANSWER, "\\boxed{1}"))
    return Trajectory(problem_id, "r1", 0, 2, steps, "1", (0.5, 0.5), 0.5, is_correct)


def test_samples_come_from_all_over_the_problems() -> None:
    problems = [problem(f"p{number}") for number in range(9)]
    found = [trajectory(one.id, True) for one in problems] + [trajectory("p8", False)]
    text = samples("r1", {one.id: one for one in problems}, lambda: iter(found))
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# Sample trajectories of r1",
        "## Correct: 3 of 9",
        *(f"### p{number}, tree 0, leaf 2" for number in (0, 3, 6)),
        *("## Wrong: 1 of 1", "### p8, tree 0, leaf 2"),
    ]
    assert "print(1)\n<end_of_code>\n<output>1<end_of_output>\n<answer>\\boxed{1}<end_of_answer>\n```" in text


def test_a_solution_can_not_end_its_block() -> None:
    text = "x = '''\n````\n# Not a heading\n'''"
    assert fenced(text) == f"`````text\n{text}\n`````"


def test_killed_after_any_shard_it_goes_on_with_the_others_and_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["right", "wrong", "underrated", "open", "unjudged", "two steps"]
    run(tmp_path, [problem(name) for name in names], [tree(name, CLAIMS[name]) for name in names])
    monkeypatch.setattr("rstar_core.curation.second_look.NUM_PER_SHARD", 2)
    asked: list[str] = []
    real = SecondLook.at_problem

    async def until_killed(self: Any, problem: Problem, claims: Any) -> Any:
        asked.append(problem.id)
        if problem.id == "unjudged" and asked.count("unjudged") == 1:
            raise KeyboardInterrupt
        return await real(self, problem, claims)

    monkeypatch.setattr(SecondLook, "at_problem", until_killed)
    with pytest.raises(KeyboardInterrupt):
        verified(tmp_path, "again")
    assert not (tmp_path / "again").exists()
    asked.clear()
    asked.append("unjudged")
    verified(tmp_path, "again")
    assert sorted(asked[1:]) == ["two steps", "unjudged"], "the others were on disk"
    assert digest(tmp_path / "again") == digest(tmp_path / "trajectories")
    assert not list((tmp_path / "journal").iterdir())
