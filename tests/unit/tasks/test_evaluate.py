"""Three names for three things: what each accuracy counts, by hand and by the stage on scripted engines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from rstar_core.answers.equivalence import Verdict
from rstar_core.config import Engine, Evaluate, SandboxLimits, Search, Seed
from rstar_core.engines.base import PolicyEngine, RewardEngine
from rstar_core.engines.scripted import ScriptedPolicy, ScriptedReward
from rstar_core.errors import UserError
from rstar_core.evaluation.accuracies import accuracies
from rstar_core.evaluation.answering import frequency, reached
from rstar_core.evaluation.methods import FLAT, GREEDY, SYSTEM
from rstar_core.io import PREDICTIONS, digest, read_table, write_problems, write_true_states
from rstar_core.machine.variables import CONCURRENT_TREES, SANDBOX_SERVERS
from rstar_core.ppm.model import write_null_ppm
from rstar_core.sandbox.base import Outcome
from rstar_core.sandbox.load import open_sandbox
from rstar_core.types import Candidate, Prediction, Problem, Question, SearchTree, Step
from tasks.evaluate import evaluate
from tests.unit.mcts.scripts import ToySandbox, answer, code, end, grow, priors
from tests.unit.rounds import ROUND

NEED_A_PPM = (
    *("policy_pass@1_paired", "system@N", "best@N", "majority@N", "pass@N", "maj@K", "flat_pass@K"),
    *("num_trees", "num_samples"),
)


def prediction(method: str, tree_index: int, verdict: str, **more: Any) -> Prediction:
    fields: dict[str, Any] = {
        "problem_id": "p",
        "source": "made",
        "level": 1,
        "leaf": 1,
        "answer": "x",
        "scores": (0.0,),
        "frequency": 1.0,
    }
    more = {"answer_class": tree_index, **more}
    return Prediction(**{**fields, "method": method, "tree_index": tree_index, "verdict": verdict, **more})


def of_system(*rows: tuple[str, float | None, int | None]) -> dict[str, Any]:
    """The accuracies of one problem, whose trees ended with (verdict, score, class)."""
    made = [
        prediction(SYSTEM, number, verdict, scores=(score,), answer_class=answer_class)
        if score is not None
        else prediction(SYSTEM, number, verdict, answer=None, scores=(), answer_class=None)
        for number, (verdict, score, answer_class) in enumerate(rows)
    ]
    return accuracies([prediction(GREEDY, 0, "different"), *made])


def value(metrics: dict[str, Any], name: str) -> float:
    return float(metrics[name]["all"])


def test_without_a_ppm_only_the_policy_is_measured() -> None:
    metrics = accuracies([prediction(GREEDY, 0, "equal"), prediction(GREEDY, 0, "different", problem_id="q", level=2)])
    assert metrics["policy_pass@1"] == {"all": 0.5, "level_1": 1.0, "level_2": 0.0}
    assert [metrics[name] for name in NEED_A_PPM] == [None] * len(NEED_A_PPM)
    assert set(metrics["interval"]) == {"policy_pass@1"} and metrics["curve"] == {}


def test_the_best_is_what_the_ppm_scores_best() -> None:
    assert value(of_system(("equal", 0.9, 0), ("different", 0.1, 1), ("different", 0.1, 1)), "best@N") == 1
    assert value(of_system(("equal", 0.1, 0), ("different", 0.9, 1)), "best@N") == 0


def test_the_system_votes_with_the_ppms_score_and_how_often_the_policy_wrote_it() -> None:
    assert value(of_system(("equal", 0.2, 0), ("equal", 0.2, 0), ("different", 0.9, 1)), "system@N") == 1
    assert value(of_system(("equal", -0.8, 0), ("equal", -0.8, 0), ("different", 0.9, 1)), "system@N") == 0
    rare = prediction(SYSTEM, 0, "different", scores=(0.9,), frequency=0.1)
    often = prediction(SYSTEM, 1, "equal", scores=(0.1,), frequency=0.9)
    assert value(accuracies([prediction(GREEDY, 0, "equal"), rare, often]), "system@N") == 1


def test_the_curve_takes_the_first_trees_and_the_interval_is_around_the_share() -> None:
    metrics = of_system(("different", 0.1, 0), ("equal", 0.9, 1))
    assert [metrics["curve"][number]["system@N"] for number in "12"] == [0, 1]
    assert metrics["interval"]["system@N"] == metrics["interval"]["system_minus_policy"] == [1, 1]


def test_flat_samples_vote_without_a_search() -> None:
    made = [
        prediction(FLAT, n, v, answer_class=c)
        for n, (v, c) in enumerate([("different", 0), ("equal", 1), ("equal", 1)])
    ]
    metrics = accuracies([prediction(GREEDY, 0, "different"), *made])
    assert (value(metrics, "maj@K"), value(metrics, "flat_pass@K"), metrics["num_samples"]) == (1, 1, 3)


def test_the_ppm_is_held_to_right_and_wrong_terminals_of_the_same_problem() -> None:
    first = [prediction(SYSTEM, n, v, scores=(s,)) for n, (v, s) in enumerate([("equal", 0.4), ("different", 0.1)])]
    unanswered = prediction(SYSTEM, 2, "different", answer=None, scores=(), answer_class=None)
    undecided = prediction(SYSTEM, 3, "undecided", scores=(0.9,))
    other = [
        prediction(SYSTEM, n, v, scores=(s,), problem_id="q")
        for n, (v, s) in enumerate([("equal", 0.2), ("different", 0.2), ("different", 0.9)])
    ]
    alike = [prediction(SYSTEM, n, "equal", scores=(0.0,), problem_id="r") for n in range(2)]
    asked = [prediction(GREEDY, 0, "equal", problem_id=name) for name in "pqr"]
    metrics = accuracies([*asked, *first, unanswered, undecided, *other, *alike])
    assert metrics["ppm_accuracy_benchmark"] == (1 + (0.5 + 0) / 2) / 2
    assert accuracies([asked[-1], *alike])["ppm_accuracy_benchmark"] is None


def test_the_majority_counts_equal_answers_together() -> None:
    assert value(of_system(("different", 0.9, 0), ("equal", 0.1, 1), ("equal", 0.1, 1)), "majority@N") == 1


def test_a_tree_without_an_answer_has_no_vote_and_no_score() -> None:
    rows = (("different", None, None), ("different", None, None), ("equal", -0.9, 2))
    assert value(of_system(*rows), "majority@N") == value(of_system(*rows), "system@N") == 1


def test_pass_at_n_asks_for_any() -> None:
    metrics = of_system(("different", 0.9, 0), ("different", 0.9, 0), ("equal", -1.0, 2))
    assert (value(metrics, "pass@N"), value(metrics, "best@N"), metrics["num_trees"]) == (1, 0, 3)


def test_an_undecided_answer_counts_as_wrong_and_is_counted() -> None:
    metrics = of_system(("undecided", 0.9, 0))
    assert (value(metrics, "pass@N"), metrics["num_undecided"]) == (0, 1)


def test_each_problem_counts_once_and_at_its_level() -> None:
    """However the predictions of problems and methods are mixed."""
    made = [
        prediction(SYSTEM, 0, "equal", problem_id="p", scores=(0.1,)),
        prediction(SYSTEM, 0, "different", problem_id="q", level=2, scores=(0.1,)),
        prediction(GREEDY, 0, "different", problem_id="p"),
        prediction(SYSTEM, 1, "different", problem_id="p", scores=(0.2,)),
        prediction(GREEDY, 0, "equal", problem_id="q", level=2),
        prediction(SYSTEM, 1, "equal", problem_id="q", level=2, scores=(0.2,)),
    ]
    metrics = accuracies(made)
    assert metrics["policy_pass@1"] == {"all": 0.5, "level_1": 0.0, "level_2": 1.0}
    assert metrics["best@N"] == {"all": 0.5, "level_1": 0.0, "level_2": 1.0}
    assert metrics["majority@N"] == {"all": 0.5, "level_1": 1.0, "level_2": 0.0}
    assert metrics["pass@N"] == {"all": 1.0, "level_1": 1.0, "level_2": 1.0}
    assert (metrics["num_problems"], metrics["num_trees"], metrics["num_undecided"]) == (2, 2, 0)


def test_the_first_of_equals_is_taken() -> None:
    rows = ("equal", 0.5, 0), ("different", 0.5, 1)
    for name in ("system@N", "majority@N"):
        assert (value(of_system(*rows), name), value(of_system(*rows[::-1]), name)) == (1, 0)


def test_no_answer_at_all_is_wrong() -> None:
    metrics = of_system(("different", None, None), ("different", None, None))
    assert [value(metrics, name) for name in ("system@N", "majority@N", "pass@N")] == [0, 0, 0]


@pytest.fixture
def tree() -> SearchTree:
    """Two answers, of which the guide prefers the second."""
    script = {
        ("q",): [end("print(4)"), end("print(5)")],
        ("q", "print(4)"): [answer("4")],
        ("q", "print(5)"): [answer("5")],
    }

    async def guides_score(answer: str, score: float) -> float:
        return score

    guide = priors({"\\boxed{4}": 0.2, "\\boxed{5}": 0.4})
    return grow(script, guide=guide, judge=guides_score).freeze("q", "r1", 0)


def answers(tree: SearchTree) -> list[str | None]:
    return [tree.nodes[leaf].answer for leaf in reached(tree)]


def test_all_that_rollouts_reached_are_answers(tree: SearchTree) -> None:
    assert sorted(map(str, answers(tree))) == ["4", "5"]


def test_a_tree_of_failures_has_no_answer() -> None:
    assert answers(grow({("q",): [code("raise ValueError")]}).freeze("q", "r1", 0)) == []


def test_a_terminals_frequency_is_the_product_of_its_steps_shares() -> None:
    script = {
        ("q",): [end("a"), end("a"), end("a"), end("b")],
        ("q", "a"): [answer("4"), answer("5"), answer("5"), answer("5")],
        ("q", "b"): [answer("6")] * 4,
    }
    tree = grow(script, num_candidates=4, num_rollouts=8).freeze("q", "r1", 0)
    found = {tree.nodes[leaf].answer: frequency(tree, leaf) for leaf in reached(tree)}
    assert found == {"4": 3 / 16, "5": 9 / 16, "6": 1 / 4}


def test_an_answer_that_no_rollout_reached_is_not_the_trees() -> None:
    script = {("q",): [end("a")], ("q", "a"): [answer("4"), answer("5")]}

    async def guides_score(answer: str, score: float) -> float:
        return score

    guide = priors({"\\boxed{4}": -0.4, "\\boxed{5}": -0.2})
    tree = grow(script, guide=guide, judge=guides_score, num_rollouts=1).freeze("q", "r1", 0)
    assert answers(tree) == ["5"]


# --- the stage ------------------------------------------------------------------------------------------------

ENGINE = Engine(kind="local", dtype="float32")
SEARCH = Search(
    uct_c=2.0,
    max_depth=4,
    max_step_tokens=8,
    temperature=0.9,
    top_p=0.8,
    num_parallel_leaves=1,
    settled_after=None,
    record_generations=False,
)
LIMITS = SandboxLimits(wall_seconds=5.0, cpu_seconds=3, memory_mib=512, max_output_chars=200)
EVALUATE = Evaluate(num_trees=4, num_candidates=1, num_rollouts=1, temperature=0.6, max_problems=None, num_judged=9)
PROBLEMS = [
    Problem("half", "What is 1 / 2?", "1/2", 1, "made", "MIT"),
    Problem("four", "What is 2 + 2?", "4", 1, "made", "MIT"),
    Problem("nine", "What is 3 * 3?", "9", 2, "made", "MIT"),
    Problem("none", "What is 0 * 3?", "0", 2, "made", "MIT"),
]
ANSWERS = {  # of each problem's trees, one by one
    "half": ("3", "0.5", "1/2", "7"),  # the two that are equal are right, the PPM prefers another
    "four": ("5", "4", "5", "5"),  # the PPM prefers the one that is right
    "nine": ("8", "8", "9.0", "8"),  # right, but neither best nor most
    "none": ("", "", "1", ""),  # programs that fail, and one that is wrong
}
FLAT_ANSWERS = {"half": ("0.5",) * 4, "four": ("4", "5", "5", "5"), "nine": ("8",) * 4, "none": ("",) * 4}
SCORES = {"3": 0.9, "4": 0.8, "8": 0.2}


class OneByOne:
    """The n-th tree of a problem answers what stands n-th under its id; an empty answer is code that fails."""

    def __init__(self, answers: Mapping[str, Sequence[str]]) -> None:
        self.left = {name: iter(its) for name, its in answers.items()}
        self.asked: list[tuple[Question, tuple[Step, ...]]] = []
        self.num_candidates: set[int] = set()

    async def propose(
        self, question: Question, prefix: Sequence[Step], *, num_candidates: int, seed: int
    ) -> list[Candidate]:
        self.asked.append((question, tuple(prefix)))
        self.num_candidates.add(num_candidates)
        if prefix:
            return [Candidate(answer(prefix[0].output.strip()), 5)]
        value = next(self.left[question.id])
        return [Candidate(end(f"print({value!r})" if value else "raise ValueError"), 7)]


class Models:
    """What ``load_policy`` returns, with scripts for models."""

    def __init__(self, alone: OneByOne, system: OneByOne, guide: RewardEngine) -> None:
        self.alone, self.system, self.its_guide = alone, system, guide

    def policy(self, temperature: float, top_p: float, max_step_tokens: int) -> PolicyEngine:
        if temperature == 0.0:
            assert (top_p, max_step_tokens) == (1.0, 8), "greedy"
            return self.alone
        assert (temperature, top_p, max_step_tokens) == (EVALUATE.temperature, SEARCH.top_p, SEARCH.max_step_tokens)
        return self.system

    def sampler(self, search: Search) -> PolicyEngine:
        raise AssertionError("a test-time search has its own temperature")

    def guide(self, kind: str, ppm: Path) -> RewardEngine:
        assert (kind, ppm) == ("ppm", Path("ppm"))
        return self.its_guide

    async def __aenter__(self) -> Models:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass


def score(question: Question, prefix: Sequence[Step], step: Step) -> float:
    return SCORES.get(prefix[0].output.strip(), 0.1) if prefix else 0.0


def models() -> Models:
    alone = OneByOne({problem.id: ["0.5"] for problem in PROBLEMS})
    sampled = OneByOne({name: FLAT_ANSWERS[name] + its for name, its in ANSWERS.items()})  # in the methods' order
    return Models(alone, sampled, ScriptedReward(score))


class ToyBox(ToySandbox):
    """In the place of ``open_sandbox``: ``print('x')`` prints x. ``opened`` are those that there were."""

    opened: list[ToyBox] = []

    level = "toy"

    def __init__(self, limits: SandboxLimits) -> None:
        super().__init__()
        self.opened.append(self)

    async def run(self, parents: Sequence[str], code: str, problem_id: str = "") -> Outcome:
        return await super().run(parents, code.replace("'", ""))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CONCURRENT_TREES.name, "1")  # the models' scripts are in the order of the trees
    monkeypatch.setattr("tasks.evaluate.open_sandbox", ToyBox)
    monkeypatch.setattr("tasks.evaluate.GraderSandbox", lambda: ToyBox(LIMITS))
    write_problems("problems.parquet", PROBLEMS)
    write_true_states("oracle.parquet", [])
    for name in ("policy", "ppm"):
        Path(name).mkdir()
    yield tmp_path
    ToyBox.opened.clear()


@pytest.fixture
def stage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(
        models: Models, predictions: str = "predictions.parquet", num_system_problems: int | None = None, **changes: Any
    ) -> dict[str, Any]:
        monkeypatch.setattr("tasks.evaluate.load_policy", lambda *_: models)
        return evaluate(
            round_id="r3",
            benchmark=Path("problems.parquet"),
            policy=Path("policy"),
            ppm=Path("ppm"),
            oracle=Path("oracle.parquet"),
            predictions=Path(predictions),
            findings=Path("findings.jsonl"),
            seed=Seed(1),
            engine=ENGINE,
            search=SEARCH,
            sandbox=LIMITS,
            evaluate=EVALUATE.model_copy(update=changes),
            round=ROUND.model_copy(update={"num_system_problems": num_system_problems}),
        )

    return run


def test_each_accuracy_is_what_its_name_says(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.evaluate.open_sandbox", open_sandbox)
    monkeypatch.setenv(SANDBOX_SERVERS.name, "1")
    metrics = stage(models())
    assert metrics.pop("timings")["tokens/s"] > 0
    assert set(metrics.pop("interval")) == {*metrics} & set(NEED_A_PPM) - {"num_trees", "num_samples"} | {
        "policy_pass@1",
        "system_minus_policy",
    }
    assert list(metrics.pop("curve")) == ["1", "2", "3", "4"]
    (made,) = metrics.pop("sources").values()
    assert made == {name: metrics[name] for name in made} and set(made) == {name for name in metrics if "@" in name}
    by_oracle = (
        "pair_label_noise",
        "pair_chosen_right",
        "pair_rejected_wrong",
        "right_with_wrong_step",
        "ppm_step_accuracy",
    )
    assert [metrics.pop(name) for name in by_oracle] == [None] * 5, "there is none"
    assert metrics == {
        "policy_pass@1": {"all": 0.25, "level_1": 0.5, "level_2": 0.0},
        "policy_pass@1_paired": {"all": 0.25, "level_1": 0.5, "level_2": 0.0},
        "system@N": {"all": 0.25, "level_1": 0.5, "level_2": 0.0},
        "best@N": {"all": 0.25, "level_1": 0.5, "level_2": 0.0},
        "majority@N": {"all": 0.25, "level_1": 0.5, "level_2": 0.0},
        "pass@N": {"all": 0.75, "level_1": 1.0, "level_2": 0.5},
        "maj@K": {"all": 0.25, "level_1": 0.5, "level_2": 0.0},
        "flat_pass@K": {"all": 0.5, "level_1": 1.0, "level_2": 0.0},
        "ppm_accuracy_benchmark": (1 / 4 + 1 + 0) / 3,  # half, four, nine
        "num_problems": 4,
        "num_system_problems": 4,
        "num_trees": 4,
        "num_samples": 4,
        "num_judged_pairs": 0,
        "num_undecided": 0,
        "num_failed": 0,
        "num_too_long": 0,
        "num_tokens": 36 * 7 + 29 * 5,
        "num_tokens_greedy": 4 * 12,
        "num_tokens_flat": 16 * 7 + 12 * 5,
        "num_tokens_system": 16 * 7 + 13 * 5,
    }
    rows = {(row["problem_id"], row["tree_index"]): row for row in predictions() if row["method"] == SYSTEM}
    right = [place for place, row in rows.items() if row["verdict"] == "equal"]
    assert right == [("half", 1), ("half", 2), ("four", 1), ("nine", 2)]
    assert [rows["half", tree]["answer_class"] for tree in range(4)] == [0, 1, 1, 3]
    assert [rows["none", tree]["answer_class"] for tree in range(4)] == [None, None, 2, None]
    assert [rows["half", tree]["scores"][-1] for tree in range(4)] == [0.9, 0.1, 0.1, 0.1]
    assert rows["none", 0]["answer"] is None and rows["none", 0]["scores"] == []
    assert not list(Path("journal").iterdir())


def predictions(path: str = "predictions.parquet") -> list[dict[str, Any]]:
    return read_table(path, PREDICTIONS)


def test_best_and_majority_differ_where_the_ppm_and_the_votes_do(stage: Any) -> None:
    for problem, best, majority in ((PROBLEMS[0], 0, 1), (PROBLEMS[1], 1, 0)):
        write_problems("problems.parquet", [problem])
        metrics = stage(models())
        assert (value(metrics, "best@N"), value(metrics, "majority@N")) == (best, majority)


def test_a_round_without_a_ppm_is_examined_greedily_alone(stage: Any) -> None:
    write_null_ppm("ppm")
    made = models()
    metrics = stage(made)
    assert made.system.asked == []
    assert metrics["policy_pass@1"] == {"all": 0.25, "level_1": 0.5, "level_2": 0.0}
    assert [metrics[name] for name in NEED_A_PPM] == [None] * len(NEED_A_PPM)
    assert {(row["method"], row["tree_index"]) for row in predictions()} == {(GREEDY, 0)}


def test_greedy_is_one_candidate_and_one_rollout(stage: Any) -> None:
    made = models()
    stage(made, num_candidates=3, num_rollouts=1, num_trees=2)
    assert len(made.alone.asked) == 2 * len(PROBLEMS)
    assert (made.alone.num_candidates, made.system.num_candidates) == ({1}, {1, 3}), "a flat sample is one, too"


def test_of_each_source_no_more_problems_than_the_params_say(stage: Any) -> None:
    write_problems("problems.parquet", [*PROBLEMS[:2], *(replace(one, source="other") for one in PROBLEMS[2:])])
    metrics = stage(models(), max_problems=1)
    asked = [row["problem_id"] for row in predictions() if row["method"] == GREEDY]
    assert metrics["num_problems"] == len(asked) == 2
    assert len({*asked} & {"half", "four"}) == len({*asked} & {"nine", "none"}) == 1
    assert [row["source"] for row in predictions() if row["method"] == GREEDY] == ["made", "other"]
    assert set(metrics["sources"]) == {"made", "other"} and metrics["sources"]["other"]["pass@N"]["all"] in (0, 1)
    write_problems("problems.parquet", PROBLEMS)
    assert stage(models(), max_problems=3)["num_problems"] == 3


def test_the_system_answers_a_drawn_part_which_a_larger_part_holds_and_greedy_is_paired_with_it(stage: Any) -> None:
    drawn = []
    for number in range(4):
        made = models()
        metrics = stage(made, num_system_problems=number)
        assert (metrics["num_problems"], metrics["num_system_problems"]) == (4, number)
        rows = predictions()
        drawn.append({row["problem_id"] for row in rows if row["method"] == SYSTEM})
        assert drawn[-1] == {row["problem_id"] for row in rows if row["method"] == FLAT}
        assert {question.id for question, _ in made.system.asked} == drawn[-1]
        right = [
            row["verdict"] == "equal" for row in rows if row["method"] == GREEDY and row["problem_id"] in drawn[-1]
        ]
        assert not right or value(metrics, "policy_pass@1_paired") == sum(right) / number
        assert metrics["policy_pass@1"]["all"] == 0.25
    assert drawn[0] == set() and drawn[0] < drawn[1] < drawn[2] < drawn[3]


def test_an_undecided_answer_is_wrong_and_counted(stage: Any) -> None:
    """The toy sandbox does no mathematics, so the grader can't tell x from a number."""
    made = Models(OneByOne({"four": ["x"]}), OneByOne({"four": ["4", "4", "x", "4"]}), ScriptedReward(score))
    write_problems("problems.parquet", [PROBLEMS[1]])
    metrics = stage(made, num_trees=2)
    assert metrics["num_undecided"] == 2
    assert (value(metrics, "policy_pass@1"), value(metrics, "pass@N")) == (0, 1)
    verdicts = [row["verdict"] for row in predictions() if row["method"] != FLAT]
    assert verdicts == [Verdict.UNDECIDED, Verdict.UNDECIDED, Verdict.EQUAL]


def test_no_search_is_told_the_truth(stage: Any) -> None:
    """Neither policy nor PPM nor program: they see questions, steps and what programs printed."""
    truth = "271828"
    scored: list[tuple[Any, ...]] = []

    def watching(question: Question, prefix: Sequence[Step], step: Step) -> float:
        scored.append((question, tuple(prefix), step))
        return 0.1

    made = Models(OneByOne({"four": ["3"]}), OneByOne({"four": ["7", "8", "5", "6"]}), ScriptedReward(watching))
    write_problems("problems.parquet", [Problem("four", "What is it?", truth, 1, "made", "MIT")])
    stage(made, num_trees=2)
    seen = [*made.alone.asked, *made.system.asked, *scored]
    assert len(seen) == 14
    assert all(type(question) is Question and not hasattr(question, "answer") for question, *_ in seen)
    box, _judges, _graders = ToyBox.opened
    assert len(box.runs) == 5
    assert truth not in repr((seen, box.runs))


@pytest.mark.slow
def test_a_stage_killed_anywhere_ends_as_if_nothing_had_happened(stage: Any) -> None:
    class Mortal(ScriptedPolicy):
        lives = 999

        async def propose(self, *args: Any, **kwargs: Any) -> list[Candidate]:
            Mortal.lives -= 1
            if Mortal.lives < 0:
                raise KeyboardInterrupt
            return await super().propose(*args, **kwargs)

    def say(question: Question, prefix: Sequence[Step]) -> list[str]:
        return [answer(value) for value in "489"] if prefix else [end("print('4')"), code("n = 1")]

    made = Models(Mortal(say), Mortal(say, is_drawn=True), ScriptedReward(score))
    whole = stage(made, "whole.parquet")
    for lives in range(0, 999 - Mortal.lives, 5):
        Mortal.lives = lives
        with pytest.raises(KeyboardInterrupt):
            stage(made, "again.parquet")
        assert not Path("again.parquet").exists()
        Mortal.lives = 999
        assert {**stage(made, "again.parquet"), "timings": None} == {**whole, "timings": None}
        assert digest("again.parquet") == digest("whole.parquet")
        Path("again.parquet").unlink()


def test_no_problems_is_one_clear_line(stage: Any) -> None:
    write_problems("problems.parquet", [])
    with pytest.raises(
        UserError, match=r"problems\.parquet: no held-out problems; add a source with split 'benchmark'"
    ):
        stage(models())
    assert not Path("predictions.parquet").exists()
