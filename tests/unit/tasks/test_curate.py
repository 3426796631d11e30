"""What a round trains on: the best of this round, then of earlier ones, and pairs that no doubt has touched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rstar_core.config import Curate, Seed
from rstar_core.curation.mix import is_drawn
from rstar_core.errors import UserError
from rstar_core.io import (
    LEDGER,
    digest,
    read_pairs,
    read_sft_examples,
    write_pairs,
    write_problems,
    write_sft_examples,
    write_table,
    write_trajectories,
)
from rstar_core.shards import write_trees
from rstar_core.store.publishing import publish_folder
from rstar_core.types import (
    Node,
    PreferencePair,
    Problem,
    Question,
    SearchTree,
    SftExample,
    Step,
    StepKind,
    Terminal,
    Trajectory,
)
from tasks.curate import curate

SECTION = Curate(
    min_visits=1,
    top_k=2,
    num_positives=2,
    num_negatives=2,
    validation_fraction=0.3,
    demonstrations=1.0,
    keep_earlier_rounds=1.0,
)


def problem(name: str, level: int = 1) -> Problem:
    return Problem(name, f"What is {name}?", "42", level, "toy", "MIT")


def steps(name: str) -> tuple[Step, ...]:
    return Step(StepKind.CODE_END, name, "1\n"), Step(StepKind.ANSWER, name)


def tree(problem_id: str, *ways: tuple[str, float, float], index: int = 0) -> SearchTree:
    """Each way is code, answer and Q: a name, its reward by the search, its Q. A way ``fails`` has no answer."""
    nodes = [Node(-1, None, 0.0, len(ways), 0.0)]
    for name, reward, q in ways:
        code, answer = steps(name)
        if name == "fails":
            nodes.append(Node(0, code, 0.0, 1, q, Terminal.MAX_DEPTH, None, reward))
            continue
        nodes.append(Node(0, code, 0.0, 1, q))
        nodes.append(Node(len(nodes) - 1, answer, 0.0, 1, q, Terminal.ANSWERED, name, reward))
    return SearchTree(problem_id, "r1", index, tuple(nodes), len(ways), 10)


def verified(problem_id: str, name: str, mean_q: float, is_correct: bool = True, leaf: int = 2) -> Trajectory:
    return Trajectory(problem_id, "r1", 0, leaf, steps(name), name, (mean_q, mean_q), mean_q, is_correct)


def example(problem_id: str, name: str, origin: str, mean_q: float = 0.5) -> SftExample:
    return SftExample(Question(problem_id, f"What is {problem_id}?"), steps(name), origin, mean_q)


def earlier_pair(problem_id: str, key: str = "r0/0/0") -> PreferencePair:
    return PreferencePair(problem_id, key, (), steps("good")[:1], steps("bad")[:1])


@dataclass
class Inputs:
    problems: Sequence[Problem]
    trees: Sequence[SearchTree] = ()
    trajectories: Sequence[Trajectory] = ()
    doubted: Sequence[tuple[str, int, int]] = ()
    sft: Sequence[SftExample] = ()
    pairs: Sequence[PreferencePair] = ()
    section: Curate = SECTION


def run(folder: Path, inputs: Inputs, round_id: str = "r1") -> dict[str, Any]:
    """The stage, on data in the order of the problems, as other stages leave it."""
    places = {one.id: place for place, one in enumerate(inputs.problems)}
    write_problems(folder / "problems.parquet", inputs.problems)
    with publish_folder(folder / "trees") as trees:
        write_trees(trees, sorted(inputs.trees, key=lambda one: places[one.problem_id]))
    found = sorted(inputs.trajectories, key=lambda one: places[one.problem_id])
    write_trajectories(folder / "trajectories" / "trajectories.parquet", found)
    doubted = sorted(inputs.doubted, key=lambda one: places[one[0]])
    rows = [dict(zip(("problem_id", "tree_index", "leaf"), place, strict=True)) for place in doubted]
    write_table(folder / "trajectories" / "ledger.parquet", rows, LEDGER)
    write_sft_examples(folder / "earlier_sft" / "train.parquet", inputs.sft)
    pairs = sorted(inputs.pairs, key=lambda one: places[one.problem_id])
    write_pairs(folder / "earlier_pairs" / "train.parquet", pairs[::2])
    write_pairs(folder / "earlier_pairs" / "validation.parquet", pairs[1::2])
    names = ("trees", "trajectories", "earlier_sft", "earlier_pairs", "sft", "pairs")
    paths = {name: folder / name for name in names}
    problems = folder / "problems.parquet"
    return curate(round_id=round_id, problems=problems, **paths, seed=Seed(1), curate=inputs.section)


def examples(folder: Path) -> list[SftExample]:
    return read_sft_examples(folder / "sft" / "train.parquet")


def shown(found: Iterable[SftExample]) -> list[tuple[str, str, str]]:
    return [(one.question.id, one.steps[0].body, one.origin) for one in found]


def sides(folder: Path) -> tuple[list[PreferencePair], list[PreferencePair]]:
    return read_pairs(folder / "pairs" / "train.parquet"), read_pairs(folder / "pairs" / "validation.parquet")


def ranked(folder: Path) -> set[tuple[str, str, str]]:
    """(kind, chosen, rejected) of all pairs."""
    return {
        (pair.node_key.partition("/")[2], pair.chosen[0].body, pair.rejected[0].body)
        for side in sides(folder)
        for pair in side
    }


HELD_OUT = problem("d")  # its name draws the lowest number, so it is for validation where "a" and "b" are not


# --- examples -------------------------------------------------------------------------------------------------


def test_the_best_correct_solutions_of_each_problem_are_kept(tmp_path: Path) -> None:
    found = [
        *(verified("b", "low", 0.1), verified("b", "wrong", 0.95, False), verified("b", "tie2", 0.5, leaf=6)),
        *(verified("b", "tie1", 0.5, leaf=4), verified("b", "high", 0.9), verified("a", "only", 0.2)),
    ]
    metrics = run(tmp_path, Inputs([problem("b"), problem("a"), HELD_OUT], trajectories=found))
    assert shown(examples(tmp_path)) == [("b", "high", "r1"), ("b", "tie1", "r1"), ("a", "only", "r1")]
    assert examples(tmp_path)[0] == example("b", "high", "r1", 0.9)
    assert (metrics["num_sft"], metrics["num_from_round"]) == (3, 3)


def test_open_places_go_to_earlier_rounds_in_their_order(tmp_path: Path) -> None:
    earlier = [example("a", "same", "r2"), example("a", "newer", "r2", 0.1), example("a", "older", "r1", 0.9)]
    inputs = Inputs([problem("a"), HELD_OUT], trajectories=[verified("a", "same", 0.5)], sft=earlier)
    metrics = run(tmp_path, inputs, "r3")
    assert shown(examples(tmp_path)) == [("a", "same", "r3"), ("a", "newer", "r2")]
    assert (metrics["num_from_round"], metrics["num_from_earlier"]) == (1, 1)


def test_a_problem_that_this_round_has_filled_takes_nothing_from_earlier_ones(tmp_path: Path) -> None:
    found = [verified("a", "x", 0.1), verified("a", "y", 0.2)]
    run(tmp_path, Inputs([problem("a")], trajectories=found, sft=[example("a", "z", "r1", 0.9)]), "r2")
    assert shown(examples(tmp_path)) == [("a", "y", "r2"), ("a", "x", "r2")]


def test_demonstrations_come_first_and_fill_no_places(tmp_path: Path) -> None:
    earlier = [example("shown", "demo", "r0"), example("a", "demo", "r0"), example("a", "old", "r1")]
    metrics = run(tmp_path, Inputs([problem("a")], trajectories=[verified("a", "x", 0.1)], sft=earlier), "r2")
    assert [one[2] for one in shown(examples(tmp_path))] == ["r0", "r0", "r2", "r1"]
    assert metrics["num_demonstrations"] == 2


def test_what_is_kept_of_the_past_does_not_shrink_round_by_round(tmp_path: Path) -> None:
    problems = [problem(f"p{number}") for number in range(60)]
    section = SECTION.model_copy(update={"demonstrations": 0.5, "keep_earlier_rounds": 0.5})
    old = [example(one.id, "x", "r1") for one in problems]
    demonstrations = [example(f"d{number}", "x", "r0") for number in range(60)]
    pairs = [earlier_pair(one.id) for one in problems]
    first = run(tmp_path / "2", Inputs(problems, sft=demonstrations + old, pairs=pairs, section=section), "r2")
    left, kept = examples(tmp_path / "2"), [pair for side in sides(tmp_path / "2") for pair in side]
    again = run(tmp_path / "3", Inputs(problems, sft=left, pairs=kept, section=section), "r3")
    assert first == again and 20 < first["num_demonstrations"] < 40 and 10 < first["num_from_earlier"] < 30
    learnt = {pair.problem_id for pair in sides(tmp_path / "2")[0]}
    assert learnt == {one.question.id for one in left if one.origin == "r1"}


def test_data_in_another_order_than_the_problems_are_refused(tmp_path: Path) -> None:
    problems = [problem("a"), problem("b")]
    run(tmp_path, Inputs(problems))
    write_problems(tmp_path / "problems.parquet", problems)
    write_pairs(tmp_path / "earlier_pairs" / "train.parquet", [earlier_pair("b"), earlier_pair("a")])
    paths = {
        name: tmp_path / name for name in ("trees", "trajectories", "earlier_sft", "earlier_pairs", "sft", "pairs")
    }
    with pytest.raises(UserError, match=r"^problem a has pairs but is not among the problems, or not in their order"):
        curate(round_id="r2", problems=tmp_path / "problems.parquet", **paths, seed=Seed(1), curate=SECTION)


def test_a_draw_keeps_all_none_or_about_the_share() -> None:
    drawn = {share: {n for n in range(500) if is_drawn(share, 1, "x", str(n))} for share in (0.0, 0.3, 0.6, 1.0)}
    assert (len(drawn[0.0]), len(drawn[1.0])) == (0, 500)
    assert drawn[0.3] < drawn[0.6] and 120 < len(drawn[0.3]) < 180


# --- pairs ----------------------------------------------------------------------------------------------------


def test_a_tree_gives_inner_pairs_and_its_trajectories_final_ones(tmp_path: Path) -> None:
    some = tree("a", ("good", 1.0, 0.9), ("bad", -1.0, -0.9), ("fails", -1.0, -0.5))
    found = [verified("a", "good", 0.9), verified("a", "bad", -0.9, False, leaf=4)]
    metrics = run(tmp_path, Inputs([problem("a")], [some], found))
    assert ranked(tmp_path) == {("0/0", "good", "bad"), ("0/0", "good", "fails"), ("final", "good", "bad")}
    assert {pair.node_key.partition("/")[0] for side in sides(tmp_path) for pair in side} == {"r1"}
    assert (metrics["num_pairs"], metrics["num_inner_pairs"], metrics["num_final_pairs"]) == (3, 2, 1)


def test_a_verified_solution_counts_in_each_tree_that_found_it(tmp_path: Path) -> None:
    trees = [tree("a", ("good", 1.0, 0.9)), tree("a", ("bad", -1.0, -0.9), ("good", 1.0, 0.9), index=1)]
    run(tmp_path, Inputs([problem("a")], trees, [verified("a", "good", 0.9)]))
    assert ranked(tmp_path) == {("1/0", "good", "bad")}


def test_what_verification_overturned_is_wrong(tmp_path: Path) -> None:
    some = tree("a", ("good", 1.0, 0.9), ("lucky", 1.0, 0.8))
    found = [verified("a", "good", 0.9), verified("a", "lucky", 0.8, False, leaf=4)]
    run(tmp_path, Inputs([problem("a")], [some], found))
    assert ranked(tmp_path) == {("0/0", "good", "lucky"), ("final", "good", "lucky")}


def test_what_verification_left_out_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    """Called right and not kept, undecided, or called wrong and doubted: no label. Wrong beyond the cap: wrong."""
    names = (("good", 1.0, 0.9), ("capped", 1.0, 0.5), ("open", 0.0, 0.0), ("doubted", -1.0, -0.9), ("bad", -1.0, -0.5))
    inputs = Inputs([problem("a")], [tree("a", *names)], [verified("a", "good", 0.9)], doubted=[("a", 0, 8)])
    run(tmp_path, inputs)
    assert ranked(tmp_path) == {("0/0", "good", "bad")}


def test_a_doubt_holds_in_every_tree(tmp_path: Path) -> None:
    trees = [tree("a", ("doubted", -1.0, -0.9)), tree("a", ("good", 1.0, 0.9), ("doubted", -1.0, -0.9), index=1)]
    run(tmp_path, Inputs([problem("a")], trees, [verified("a", "good", 0.9)], doubted=[("a", 0, 2)]))
    assert ranked(tmp_path) == set()


def test_a_problem_stays_on_its_side_of_the_split(tmp_path: Path) -> None:
    problems = [problem(f"p{number}") for number in range(30)]
    trees = [tree(one.id, ("good", 1.0, 0.9), ("bad", -1.0, -0.9)) for one in problems[::2]]
    found = [verified(one.id, "good", 0.9) for one in problems[::2]]
    run(tmp_path / "1", Inputs(problems, trees, found, pairs=[earlier_pair(one.id) for one in problems]))
    metrics = run(tmp_path / "2", Inputs(problems, pairs=[earlier_pair(one.id) for one in problems[1:]]))
    for side, other in (("train", "validation"), ("validation", "train")):
        first = {pair.problem_id for pair in read_pairs(tmp_path / "1" / "pairs" / f"{side}.parquet")}
        later = {pair.problem_id for pair in read_pairs(tmp_path / "2" / "pairs" / f"{other}.parquet")}
        assert first and later and not first & later
    assert metrics["num_validation_pairs"] == len(sides(tmp_path / "2")[1])


def test_a_split_without_validation_pairs_moves_no_problem(tmp_path: Path) -> None:
    problems = [problem(f"p{number}") for number in range(30)]
    run(tmp_path / "1", Inputs(problems, pairs=[earlier_pair(one.id) for one in problems]))
    for place, side in enumerate(sides(tmp_path / "1")):
        run(tmp_path / "2", Inputs(problems, pairs=side[:2]))
        assert [len(its) for its in sides(tmp_path / "2")] == [2 - 2 * place, 2 * place]


def test_the_policy_learns_nothing_of_problems_that_are_for_validation(tmp_path: Path) -> None:
    problems = [problem(f"p{number}") for number in range(30)]
    found = [verified(one.id, "good", 0.9) for one in problems[::2]]
    earlier = [example(one.id, "old", "r1") for one in problems]
    run(tmp_path, Inputs(problems, (), found, sft=earlier, pairs=[earlier_pair(one.id) for one in problems]), "r2")
    learnt = {one.question.id for one in examples(tmp_path)}
    train, validation = ({pair.problem_id for pair in side} for side in sides(tmp_path))
    assert learnt == train and validation and not learnt & validation


def test_a_round_that_found_nothing_has_empty_files(tmp_path: Path) -> None:
    metrics = run(tmp_path, Inputs([problem("a")]))
    assert examples(tmp_path) == [] and sides(tmp_path) == ([], [])
    assert {name: value for name, value in metrics.items() if value} == {"num_hard": 1}


# --- difficulty and cards -------------------------------------------------------------------------------------


def test_difficulty_counts_answers_that_have_a_verdict(tmp_path: Path) -> None:
    ways = {
        "easy": [("good", 1.0, 0.9), ("capped", 1.0, 0.5), ("open", 0.0, 0.0), ("fails", -1.0, -1.0)],
        "medium": [("good", 1.0, 0.9), ("bad", -1.0, -0.9)],
        "hard": [("bad", -1.0, -0.9), ("lucky", 1.0, 0.9)],
    }
    problems = [problem(name) for name in (*ways, "no tree")]
    trees = [tree(name, *its) for name, its in ways.items()]
    found = [verified("easy", "good", 0.9), verified("medium", "good", 0.9)]
    metrics = run(tmp_path, Inputs(problems, trees, found))
    assert [metrics[f"num_{name}"] for name in ways] == [1, 1, 2]


@pytest.fixture
def cards(tmp_path: Path) -> dict[str, str]:
    problems = [problem("a", 1), problem("b", 2), problem("c", 2)]
    some = tree("b", ("good", 1.0, 0.9), ("bad", -1.0, -1.5))
    found = [verified("b", "good", 0.9), verified("b", "bad", -1.5, False, leaf=4)]
    old = [example("shown", "demo", "r0"), example("b", "old", "r1", 1.0)]
    run(tmp_path, Inputs(problems, [some], found, sft=old, pairs=[earlier_pair("a", "r1/0/0")]), "r10")
    texts = {name: (tmp_path / name / "card.md").read_text() for name in ("sft", "pairs")}
    return {name: re.sub(" +", " ", text) for name, text in texts.items()}  # columns are aligned by spaces


def test_the_sft_card_counts_what_is_there(cards: dict[str, str], tmp_path: Path) -> None:
    lines = cards["sft"].splitlines()
    assert lines[0] == "# SFT examples of r10"
    assert "| r0 | 1 |\n| r1 | 1 |\n| r10 | 1 |" in cards["sft"]
    assert {"| 1 | 1 | 0 | 0 |", "| 2 | 2 | 1 | 2 |", "| toy (MIT) | 3 | 1 | 2 |"} <= set(lines)
    assert {"| 1 | 0 | 0 | 1 |", "| 2 | 0 | 1 | 1 |"} <= set(lines), "difficulty by level"
    assert f"| +0.75 to +1.00 | 2 | {'█' * 40} |" in lines and "| +0.50 to +0.75 | 0 | |" in lines
    assert f"| {tmp_path}/trees | {digest(tmp_path / 'trees')} |" in lines


def test_the_pairs_card_counts_what_is_there(cards: dict[str, str], tmp_path: Path) -> None:
    lines = cards["pairs"].splitlines()
    assert "| r1 | 1 |\n| r10 | 2 |" in cards["pairs"]
    assert {"| 1 | 1 | 1 | 1 |", "| 2 | 2 | 1 | 2 |"} <= set(lines)
    assert {f"| -1.00 to -0.75 | 0 | 1 | {'█' * 40} |", f"| +0.75 to +1.00 | 1 | 0 | {'█' * 40} |"} <= set(lines)
    train, validation = sides(tmp_path)
    assert lines[2].startswith(f"{len(train) + len(validation)} pairs.")


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    some = [tree(name, ("good", 1.0, 0.9), ("bad", -1.0, -0.9)) for name in "ab"]
    inputs = Inputs([problem("b"), problem("a")], some, [verified("a", "good", 0.9), verified("b", "good", 0.9)])
    made = []
    for _ in range(2):
        run(tmp_path, inputs)
        made.append((digest(tmp_path / "sft"), digest(tmp_path / "pairs")))
    assert made[0] == made[1]
