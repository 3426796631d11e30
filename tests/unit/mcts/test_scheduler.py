"""Many searches: all of them, no more at once than allowed, none twice, and no one left behind by an error."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rstar_core.engines.base import ZeroReward
from rstar_core.engines.scripted import ScriptedPolicy
from rstar_core.errors import UserError
from rstar_core.mcts.recording import MAX_ATTEMPTS, attempt_key, given_up
from rstar_core.mcts.scheduler import Job, as_completed, grow_trees, in_mixed_order
from rstar_core.mcts.search import Budget, Parts
from rstar_core.mcts.window import Window
from rstar_core.types import Candidate, Question, SearchTree, Step
from tests.unit.journals import journal_at
from tests.unit.mcts.scripts import BUDGET, ToySandbox, answer, end, grow, truth


class Crew:
    """Coroutines that count themselves."""

    def __init__(self) -> None:
        self.running = self.most = self.started = 0
        self.cancelled: list[int] = []

    async def work(self, number: int, turns: int) -> int:
        """Its number, after so many turns of the loop; a negative number is an error."""
        self.started += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        finally:
            self.running -= 1
        if number < 0:
            raise ZeroDivisionError(number)
        return number


async def collected(crew: Crew, work: Sequence[tuple[int, int]], max_running: int) -> list[int]:
    return [number async for number in as_completed((crew.work(*one) for one in work), Window(max_running, 99))]


# --- as_completed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_running", [1, 3, 99])
def test_all_results_come_and_no_more_run_than_may(max_running: int) -> None:
    crew = Crew()
    work = [(number, 1 + number * 7 % 11) for number in range(40)]
    assert sorted(asyncio.run(collected(crew, work, max_running))) == list(range(40))
    assert crew.most == min(max_running, 40)
    assert crew.cancelled == []


def test_who_is_ready_first_comes_first() -> None:
    assert asyncio.run(collected(Crew(), [(0, 30), (1, 20), (2, 10)], 3)) == [2, 1, 0]


def test_one_after_another_keeps_the_order() -> None:
    assert asyncio.run(collected(Crew(), [(0, 30), (1, 1), (2, 10)], 1)) == [0, 1, 2]


def test_nobody_waits_for_the_slowest() -> None:
    assert asyncio.run(collected(Crew(), [(0, 500), *((number, 2) for number in range(1, 20))], 2))[-1] == 0


def test_no_work_has_no_results() -> None:
    assert asyncio.run(collected(Crew(), [], 3)) == []


@pytest.mark.parametrize("max_running", [2, 3, 99])
def test_the_first_error_ends_the_others(max_running: int) -> None:
    crew = Crew()

    async def work() -> None:
        with pytest.raises(ZeroDivisionError, match="-1"):
            await collected(crew, [(0, 900), (-1, 5), (2, 900), (3, 900)], max_running)
        await asyncio.sleep(0)
        assert crew.running == 0
        assert 0 in crew.cancelled and len(crew.cancelled) == crew.started - 1

    asyncio.run(work())
    assert crew.started == min(max_running, 4)


# --- grow_trees -----------------------------------------------------------------------------------------------


class Counting(ScriptedPolicy):
    """Answers 5 to everything, after a few turns that differ by question; ``asked`` are the questions it saw."""

    def __init__(self) -> None:
        super().__init__(say)
        self.asked: list[str] = []

    async def propose(
        self, question: Question, prefix: Sequence[Step], *, num_candidates: int, seed: int
    ) -> list[Candidate]:
        self.asked += [] if prefix else [question.id]
        for _ in range(10 - int(question.id)):
            await asyncio.sleep(0)
        return await super().propose(question, prefix, num_candidates=num_candidates, seed=seed)


class FirstIsLate(Counting):
    """The first search waits until the fourth has begun, which of three at once is when another has ended."""

    async def propose(self, question: Question, prefix: Sequence[Step], **more: Any) -> list[Candidate]:
        async with asyncio.timeout(30):
            while question.id == "0" and "3" not in self.asked:
                await asyncio.sleep(0.001)
        return await super().propose(question, prefix, **more)


def say(question: Question, prefix: Sequence[Step]) -> list[str]:
    return [answer("5"), answer("6")] if prefix else [end("print(5)"), end("print(6)")]


def jobs(policy: ScriptedPolicy, count: int) -> list[Job]:
    parts = Parts(policy, ZeroReward(), ToySandbox(), truth("5"))
    questions = [Question(str(number), f"question {number}") for number in range(count)]
    return [Job(f"job {one.id}", one, "r1", 2, parts, Budget(**BUDGET), seed=int(one.id)) for one in questions]


def grown(policy: ScriptedPolicy, path: Path, count: int, max_running: int = 3) -> list[SearchTree]:
    with closing(journal_at(path)) as journal:
        return asyncio.run(grow_trees("grow", jobs(policy, count), journal, max_running))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "work.bin"


def test_trees_come_in_the_order_of_the_jobs_and_are_those_of_a_single_search(path: Path) -> None:
    expected = [
        grow(say, question=job.question, seed=job.seed).freeze(job.question.id, "r1", 2)
        for job in jobs(ScriptedPolicy(say), 6)
    ]
    assert grown(FirstIsLate(), path, 6) == expected
    places = [journal_at(path)._places[f"job {number}"][1].offset for number in range(6)]
    assert places != sorted(places), "they came in another order"


def test_journaled_trees_are_not_grown_again(path: Path) -> None:
    first, second = Counting(), Counting()
    before = grown(first, path, 4)
    after = grown(second, path, 6)
    assert (set(first.asked), set(second.asked)) == ({"0", "1", "2", "3"}, {"4", "5"})
    assert after[:4] == before and [tree.problem_id for tree in after] == list("012345")


class Failing(Counting):
    """Fails so many times at each of some questions."""

    def __init__(self, questions: str, times: int = 99) -> None:
        super().__init__()
        self.left = dict.fromkeys(questions, times)

    async def propose(self, question: Question, prefix: Sequence[Step], **more: Any) -> list[Candidate]:
        candidates = await super().propose(question, prefix, **more)
        if self.left.get(question.id, 0):
            self.left[question.id] -= 1
            raise ZeroDivisionError("poison")
        return candidates


def test_a_tree_is_journaled_before_the_next_error(path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        grown(Failing("45"), path, 6, max_running=1)
    journal = journal_at(path)
    assert [f"job {number}" in journal for number in range(6)] == [True, True, True, True, False, False]
    assert not any(attempt_key(f"job {number}", 1) in journal for number in (4, 5)), "it is not their doing"


def test_a_search_that_fails_is_tried_again_and_its_tree_is_as_if_nothing_had_happened(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert grown(Failing("3", times=MAX_ATTEMPTS - 1), path, 6) == grown(Counting(), tmp_path / "other", 6)
    said = [line for line in capsys.readouterr().err.splitlines() if "attempt" in line]
    assert [line.partition(" (")[0] for line in said] == [
        "tree job 3: attempt 1 of 3: ZeroDivisionError: poison",
        "tree job 3: attempt 2 of 3: ZeroDivisionError: poison",
    ]
    assert all(line.endswith("tried again") for line in said)


def test_a_search_that_fails_too_often_is_given_up_and_costs_no_other(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = Failing("3")
    trees = grown(policy, path, 6)
    assert [tree.is_given_up for tree in trees] == [number == 3 for number in range(6)]
    assert trees[3] == given_up("3", "r1", 2) and trees[3].num_rollouts == 0
    assert policy.asked.count("3") == MAX_ATTEMPTS
    assert "attempt 3 of 3: ZeroDivisionError: poison" in (said := capsys.readouterr().err) and "given up" in said
    assert "in propose" in next(journal_at(path).read([attempt_key("job 3", 1)]))["error"]


def test_attempts_of_all_runs_count(path: Path) -> None:
    class Stopped(Failing):
        """The second attempt never ends: the process is stopped."""

        async def propose(self, question: Question, prefix: Sequence[Step], **more: Any) -> list[Candidate]:
            if question.id == "3" and self.asked.count("3") == 1 and not prefix:
                raise KeyboardInterrupt
            return await super().propose(question, prefix, **more)

    with pytest.raises(KeyboardInterrupt):
        grown(Stopped("3"), path, 6)
    again = Failing("3")
    assert grown(again, path, 6)[3].is_given_up
    assert again.asked == ["3"] * (MAX_ATTEMPTS - 1), "the first was before, and nothing else was left"


@pytest.mark.parametrize(("count", "questions"), [(1, "0"), (2, "01"), (9, "18")])
def test_where_all_or_many_fail_the_error_is_raised(path: Path, count: int, questions: str) -> None:
    with pytest.raises(ZeroDivisionError, match="poison"):
        grown(Failing(questions), path, count)
    assert not any(attempt_key(f"job {number}", 1) in journal_at(path) for number in range(count))


def test_what_the_user_can_mend_is_no_attempt(path: Path) -> None:
    class Away(Counting):
        async def propose(self, question: Question, prefix: Sequence[Step], **more: Any) -> list[Candidate]:
            raise UserError("server: away; start it")

    with pytest.raises(UserError, match="away"):
        grown(Away(), path, 200)
    assert len(journal_at(path)) == 0


def test_a_journaled_tree_is_the_tree(path: Path) -> None:
    (tree,) = grown(Counting(), path, 1)
    (row,) = journal_at(path).read(["job 0"])
    assert tree == grown(Counting(), path, 1)[0]
    assert tree.num_tokens == row["tree"]["num_tokens"] > 0
    assert row["sandbox"] == "toy"


def test_no_jobs_have_no_trees(path: Path) -> None:
    assert grown(Counting(), path, 0) == []


def test_two_workers_share_the_trees_and_grow_none_twice(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rstar_core.mcts.scheduler._WAIT_SECONDS", 0.01)
    workers: list[Counting] = []

    class Patient(Counting):
        """Searches on when each worker has something to search."""

        async def propose(self, question: Question, prefix: Sequence[Step], **more: Any) -> list[Candidate]:
            self.asked += [] if prefix else [question.id]
            while not all(worker.asked for worker in workers):
                await asyncio.sleep(0.001)
            return await ScriptedPolicy.propose(self, question, prefix, **more)

    workers += [Patient(), Patient()]
    one, two = workers

    async def both() -> tuple[list[SearchTree], list[SearchTree]]:
        with closing(journal_at(path)) as first, closing(journal_at(path)) as second:
            work = [grow_trees("grow", jobs(policy, 6), its, 2) for policy, its in ((one, first), (two, second))]
            trees = await asyncio.gather(*work)
            return trees[0], trees[1]

    first, second = asyncio.run(both())
    assert first == second and len(first) == 6
    assert sorted(one.asked + two.asked) == list("012345"), "each was grown by one of them"


def test_a_mixed_order_has_all_items_and_is_the_same_each_time() -> None:
    mixed = in_mixed_order(range(600))
    assert sorted(mixed) == list(range(600)) and mixed == in_mixed_order(range(600))


def test_each_sixth_of_a_mixed_order_has_items_of_all_levels() -> None:
    levels = in_mixed_order([level for level in range(6) for _ in range(100)])
    assert all(set(levels[start : start + 100]) == set(range(6)) for start in range(0, 600, 100))
