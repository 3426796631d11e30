"""Search trees -> trajectories whose verdict stood a second look, and a ledger of those whose verdict did not."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import Any

from rstar_core.answers.classes import answer_classes
from rstar_core.answers.equivalence import GRADER_VERSION, Grader, Rule, Ruling, Verdict, cheap_ruling, ruling_from_row
from rstar_core.answers.extract import extract
from rstar_core.answers.warm import GraderSandbox
from rstar_core.config import SandboxLimits, Verify
from rstar_core.cot.grammar import render_step
from rstar_core.curation.ledger import Entry, Kind, Suspect, ranked, report, suspect
from rstar_core.errors import UserError
from rstar_core.io import LEDGER, read_problems, write_table, write_trajectories
from rstar_core.journal import Journal, open_journal
from rstar_core.journal.key import journal_key
from rstar_core.journal.sharded import by_shard
from rstar_core.metrics import majority_vote, share_by_level
from rstar_core.progress import Progress
from rstar_core.publishing import publish, publish_folder
from rstar_core.reports.markdown import fenced
from rstar_core.sandbox.base import Sandbox, Status
from rstar_core.sandbox.load import open_sandbox
from rstar_core.seeds import derived_seed
from rstar_core.shards import stream_trees
from rstar_core.types import Problem, SearchTree, Step, StepKind, Terminal, Trajectory

NUM_SAMPLES = 3
WRONG = -1.0  # the reward
NUM_PER_SHARD = 128  # problems; a stage that is killed looks again at these at most
MAX_STEPS = 64  # of a program, for what a re-run may print: more than any search goes down


@dataclass(frozen=True, slots=True)
class Claim:
    """A solution with the search's verdict: ``reward`` is +1 right, -1 wrong, 0 where its grader could not tell."""

    trajectory: Trajectory
    reward: float


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim after the second look.

    ``verdict`` is None where nothing is to be believed. ``doubt`` says what speaks against the claim; it is empty
    where nothing does, and ``kind`` is None then. ``ruling`` is the grader's, where it was asked.
    """

    claim: Claim
    verdict: Verdict | None
    kind: Kind | None = None
    doubt: str = ""
    ruling: Ruling | None = None


def verify(
    *, round_id: str, problems: Path, trees: Path, trajectories: Path, sandbox: SandboxLimits, verify: Verify
) -> dict[str, Any]:
    """Look again at what the search found, and keep the solutions whose verdict can be believed.

    A solution that the search calls right is run again as one program and must print what it printed; where its last
    line and the answer are plain numbers, they must be the same. Its answer is compared with the truth again, and for
    a drawn share math-verify alone is asked too, which must not say different. The answer of one that the search
    calls wrong is compared once more. What is undecided, or contradicts itself, is neither right nor wrong: it is in
    ``ledger.parquet`` only, and so are solutions that end without an answer, with the reason. Beside it in
    ``trajectories``: ``trajectories.parquet`` by problem, tree and leaf; ``unsolved.jsonl``, the problems whose label
    may be the mistake, the most suspicious first; ``report.md`` and ``samples.md`` for people. Killed and
    started again, the stage goes on with the problems it had not looked at.

    Metrics: ``coverage`` (share of all problems with a verified correct trajectory, by ``all`` and ``level_<n>``),
    ``num_trajectories``, ``num_correct``, ``num_disagreements``, ``num_undecided``, ``num_timeouts``,
    ``num_without_answer``, ``num_unsolved`` and ``num_suspect_labels``.

    Raises:
        UserError: an input is missing or empty, or a tree's problem is not among the problems.
    """
    its_problems = read_problems(problems)
    if not its_problems:
        raise UserError(f"{problems}: no training problems; add a source with split 'train' to ingest.sources")
    grown = trees_by_problem(its_problems, stream_trees(trees))
    claims = {problem_id: claims_of(its) for problem_id, its in grown.items()}
    answerless = [one for its in grown.values() for one in without_answer(its)]
    limits = whole_programs(sandbox, verify)
    params = {"sandbox": sandbox, "verify": verify, "GRADER_VERSION": GRADER_VERSION}
    with closing(open_journal(journal_key("verify", round_id, (problems, trees), params))) as journal:
        started = time.monotonic()
        findings, voted, level = asyncio.run(look_again(round_id, its_problems, claims, limits, verify, journal))
        seconds = time.monotonic() - started
        kept = believed(findings)
        solved = {trajectory.problem_id for trajectory in kept if trajectory.is_correct}
        by_id = {problem.id: problem for problem in its_problems}
        doubted = [one for one in [*findings, *answerless] if one.kind]
        entries = [entry(by_id[one.claim.trajectory.problem_id], one) for one in doubted]
        suspects = ranked([one for one in voted if one.problem_id not in solved])
        counts = _counts(doubted, kept, suspects)
        with publish_folder(trajectories) as folder:
            write_trajectories(folder / "trajectories.parquet", kept)
            write_table(folder / "ledger.parquet", entries, LEDGER)
            _write_lines(folder / "unsolved.jsonl", map(asdict, suspects))
            (folder / "report.md").write_text(report(round_id, counts, entries, suspects, by_id), encoding="utf-8")
            (folder / "samples.md").write_text(samples(round_id, its_problems, kept), encoding="utf-8")
        journal.discard()
    return {
        "coverage": share_by_level((problem.level, problem.id in solved) for problem in its_problems),
        **counts,
        "timings": {"trajectories/s": round(len(findings) / seconds, 1), "sandbox": level},
    }


def whole_programs(step: SandboxLimits, verify: Verify) -> SandboxLimits:
    """The limits of a re-run: a program may use and print what its steps might together."""
    seconds = {"wall_seconds": verify.wall_seconds, "cpu_seconds": verify.cpu_seconds}
    return step.model_copy(update={**seconds, "max_output_chars": MAX_STEPS * step.max_output_chars})


def _counts(doubted: Sequence[Finding], kept: Sequence[Trajectory], suspects: Sequence[Suspect]) -> dict[str, int]:
    kinds = Counter(one.kind for one in doubted)
    return {
        "num_trajectories": len(kept),
        "num_correct": sum(trajectory.is_correct for trajectory in kept),
        "num_disagreements": kinds[Kind.DISAGREEMENT],
        "num_undecided": kinds[Kind.UNDECIDED],
        "num_timeouts": kinds[Kind.TIMEOUT],
        "num_without_answer": kinds[Kind.NO_ANSWER],
        "num_unsolved": len(suspects),
        "num_suspect_labels": sum(one.is_stable for one in suspects),
    }


# --- claims ---------------------------------------------------------------------------------------------------


def trees_by_problem(problems: Sequence[Problem], trees: Iterable[SearchTree]) -> dict[str, list[SearchTree]]:
    """The trees of every problem, in their order; empty where it has none."""
    grouped: dict[str, list[SearchTree]] = {problem.id: [] for problem in problems}
    for tree in trees:
        if tree.problem_id not in grouped:
            raise UserError(f"problem {tree.problem_id} has a tree but is not among the problems; rebuild the trees")
        grouped[tree.problem_id].append(tree)
    return {problem_id: sorted(its, key=lambda tree: tree.tree_index) for problem_id, its in grouped.items()}


def claims_of(trees: Iterable[SearchTree]) -> list[Claim]:
    """Every answer that one problem's searches judged, by tree and leaf; the first of each step sequence."""
    found: dict[tuple[Step, ...], Claim] = {}
    for tree in sorted(trees, key=lambda tree: tree.tree_index):
        for leaf, node in enumerate(tree.nodes):
            if node.terminal is Terminal.ANSWERED and node.reward is not None:
                claim = Claim(_trajectory(tree, leaf, node.answer or ""), node.reward)
                found.setdefault(claim.trajectory.steps, claim)
    return list(found.values())


def without_answer(trees: Iterable[SearchTree]) -> list[Finding]:
    """Every last step of one problem's searches that gives no answer, with the reason."""
    found: dict[tuple[Step, ...], Finding] = {}
    for tree in trees:
        for leaf, node in enumerate(tree.nodes):
            if node.step and node.step.kind is StepKind.ANSWER and node.answer is None:
                claim = Claim(_trajectory(tree, leaf, ""), WRONG)
                finding = Finding(claim, None, Kind.NO_ANSWER, str(extract(node.step.body).missing))
                found.setdefault(claim.trajectory.steps, finding)
    return list(found.values())


def _trajectory(tree: SearchTree, leaf: int, answer: str) -> Trajectory:
    """The path to ``leaf``, which nobody has verified yet."""
    step_q = tuple(tree.nodes[index].q_value for index in tree.path(leaf))
    return Trajectory(
        problem_id=tree.problem_id,
        round_id=tree.round_id,
        tree_index=tree.tree_index,
        leaf=leaf,
        steps=tree.steps(leaf),
        answer=answer,
        step_q=step_q,
        mean_q=fmean(step_q),
        is_correct=False,
    )


def select_claims(claims: Sequence[Claim], max_trajectories: int) -> list[Claim]:
    """The claims on one problem that get a second look, by tree and leaf.

    Right ones with the highest mean Q and wrong ones with the lowest, half of the places each; places that one side
    leaves empty go to the other. Undecided claims take no place: they are all listed and never kept.
    """
    right = sorted((claim for claim in claims if claim.reward > 0), key=lambda claim: -claim.trajectory.mean_q)
    wrong = sorted((claim for claim in claims if claim.reward < 0), key=lambda claim: claim.trajectory.mean_q)
    right = right[: max_trajectories - min(max_trajectories // 2, len(wrong))]
    wrong = wrong[: max_trajectories - len(right)]
    undecided = [claim for claim in claims if claim.reward == 0]
    return sorted([*right, *wrong, *undecided], key=lambda claim: (claim.trajectory.tree_index, claim.trajectory.leaf))


# --- second look ----------------------------------------------------------------------------------------------


async def look_again(
    round_id: str,
    problems: Sequence[Problem],
    claims: Mapping[str, Sequence[Claim]],
    limits: SandboxLimits,
    section: Verify,
    journal: Journal,
) -> tuple[list[Finding], list[Suspect], str]:
    """A finding for each selected claim, by problem, tree and leaf; what all claims on each unsolved problem vote for;
    and the isolation that programs ran under. ``journal`` keeps both, by shards of problems.
    """
    chosen = {one.id: select_claims(claims[one.id], section.max_trajectories_per_problem) for one in problems}
    progress = Progress(f"verify {round_id}", sum(map(len, chosen.values())), "trajectories")
    findings: list[Finding] = []
    voted: list[Suspect] = []
    async with open_sandbox(limits) as box, GraderSandbox() as graders:
        look = _SecondLook(box, limits, Grader(graders), progress, section.second_opinions)

        async def work(shard: Sequence[Problem]) -> list[dict[str, Any]]:
            return await asyncio.gather(*(look.record(one, claims[one.id], chosen[one.id]) for one in shard))

        async for problem, row in by_shard(journal, problems, NUM_PER_SHARD, work):
            pairs = zip(chosen[problem.id], row["findings"], strict=True)
            findings += [finding_from_row(claim, its) for claim, its in pairs]
            voted += [Suspect(**row["voted"])] if row["voted"] else []
    return findings, voted, box.level


def row_from_finding(finding: Finding) -> dict[str, Any]:
    """Without the claim, which follows from the trees."""
    ruling = asdict(finding.ruling) if finding.ruling else None
    return {"verdict": finding.verdict, "kind": finding.kind, "doubt": finding.doubt, "ruling": ruling}


def finding_from_row(claim: Claim, row: Mapping[str, Any]) -> Finding:
    """The finding on ``claim`` that ``row_from_finding`` turned into ``row``."""
    verdict, kind, ruling = row["verdict"], row["kind"], row["ruling"]
    return Finding(
        claim,
        None if verdict is None else Verdict(verdict),
        None if kind is None else Kind(kind),
        row["doubt"],
        None if ruling is None else ruling_from_row(ruling),
    )


@dataclass(frozen=True, slots=True)
class _SecondLook:
    sandbox: Sandbox
    limits: SandboxLimits
    grader: Grader
    progress: Progress
    second_opinions: float

    async def record(self, problem: Problem, claims: Sequence[Claim], chosen: Sequence[Claim]) -> dict[str, Any]:
        """The findings on ``chosen`` and, where none is right, what all ``claims`` vote for, as plain JSON."""
        findings = await self.at_problem(problem, chosen)
        is_solved = any(one.verdict is Verdict.EQUAL for one in findings)
        voted = None if is_solved else asdict(await self.at_votes(problem, claims))
        return {"findings": [row_from_finding(one) for one in findings], "voted": voted}

    async def at_problem(self, problem: Problem, claims: Sequence[Claim]) -> list[Finding]:
        """One claim after the other: most have the same answer, which the grader then judges once."""
        found = []
        for claim in claims:
            found.append(await self._at_claim(problem, claim))
            self.progress.advance()
        return found

    async def at_votes(self, problem: Problem, claims: Sequence[Claim]) -> Suspect:
        answers = [claim.trajectory.answer for claim in claims]
        classes = await answer_classes(answers, self.grader)
        return suspect(problem, answers, classes, majority_vote(classes))

    async def _at_claim(self, problem: Problem, claim: Claim) -> Finding:
        ruling = await self.grader.ruling(problem.answer, claim.trajectory.answer, problem.allowed)
        if claim.reward == 0 or ruling.verdict is Verdict.UNDECIDED:
            kind = Kind.TIMEOUT if ruling.rule is Rule.TIMEOUT else Kind.UNDECIDED
            return Finding(claim, Verdict.UNDECIDED, kind, _when_undecided(claim), ruling)
        if claim.reward < 0:
            if ruling.verdict is Verdict.DIFFERENT:
                return Finding(claim, Verdict.DIFFERENT, ruling=ruling)
            return Finding(claim, None, Kind.DISAGREEMENT, "the grader now says equal", ruling)
        if ruling.verdict is Verdict.DIFFERENT:
            return Finding(claim, None, Kind.DISAGREEMENT, "the grader now says different", ruling)
        return await self._at_right(problem, claim, ruling)

    async def _at_right(self, problem: Problem, claim: Claim, ruling: Ruling) -> Finding:
        kind, doubt = await self._run_again(problem, claim.trajectory)
        if kind is None and self._is_drawn(problem, claim):
            second = await self.grader.math_verify(problem.answer, claim.trajectory.answer, problem.allowed)
            if second.verdict is Verdict.DIFFERENT:
                kind, doubt = Kind.DISAGREEMENT, "math-verify says different"
        return Finding(claim, Verdict.EQUAL if kind is None else None, kind, doubt, ruling)

    def _is_drawn(self, problem: Problem, claim: Claim) -> bool:
        """By problem and answer, so that equal answers share one luck."""
        return derived_seed(0, "second opinion", problem.id, claim.trajectory.answer) < self.second_opinions * 2**63

    async def _run_again(self, problem: Problem, trajectory: Trajectory) -> tuple[Kind | None, str]:
        """What the whole program's run says against the runs of its steps, or against the answer."""
        code = [step for step in trajectory.steps if step.kind is not StepKind.ANSWER]
        outcome = await self.sandbox.run([], "\n".join(step.body for step in code), problem.id)
        if outcome.status is not Status.OK:
            is_late = outcome.status is Status.TIMEOUT or outcome.cpu_seconds >= self.limits.cpu_seconds
            kind = Kind.TIMEOUT if is_late else Kind.DISAGREEMENT
            return kind, f"re-run ended in {outcome.status}: {outcome.error}"
        if outcome.stdout != "".join(step.output for step in code):
            return Kind.DISAGREEMENT, "re-run printed something else"
        if _contradicts(printed(trajectory), trajectory.answer, problem.allowed):
            return Kind.DISAGREEMENT, "the program printed another number than the answer"
        return None, ""


def _when_undecided(claim: Claim) -> str:
    return "the search's grader was undecided" if claim.reward == 0 else "the grader is undecided now"


def printed(trajectory: Trajectory) -> str:
    """The last line that the program printed; empty if it printed none."""
    lines = "".join(step.output for step in trajectory.steps).split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _contradicts(line: str, answer: str, tolerance: Fraction | None) -> bool:
    """Only plain numbers can: a program may print more, or something else, than what it answers."""
    ruling = cheap_ruling(line, answer, tolerance)
    return ruling is not None and ruling.rule is Rule.NUMBER and ruling.verdict is Verdict.DIFFERENT


def believed(findings: Iterable[Finding]) -> list[Trajectory]:
    """The trajectories that are right or wrong beyond doubt."""
    return [
        replace(one.claim.trajectory, is_correct=one.verdict is Verdict.EQUAL)
        for one in findings
        if one.verdict in (Verdict.EQUAL, Verdict.DIFFERENT)
    ]


# --- for people -----------------------------------------------------------------------------------------------


def entry(problem: Problem, finding: Finding) -> Entry:
    """The ledger's row of a finding with a doubt."""
    trajectory, reward, ruling = finding.claim.trajectory, finding.claim.reward, finding.ruling
    return Entry(
        problem_id=trajectory.problem_id,
        tree_index=trajectory.tree_index,
        leaf=trajectory.leaf,
        kind=finding.kind or Kind.DISAGREEMENT,
        reason=finding.doubt,
        claimed="right" if reward > 0 else "wrong" if reward < 0 else "undecided",
        label=problem.answer,
        answer=trajectory.answer,
        printed=printed(trajectory),
        rule=ruling.rule if ruling else "",
        grader=ruling.version if ruling else GRADER_VERSION,
    )


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with publish(path, "w") as handle:
        handle.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def samples(round_id: str, problems: Iterable[Problem], trajectories: Sequence[Trajectory]) -> str:
    """A few correct and a few wrong trajectories as Markdown, from all over the problems."""
    by_id = {problem.id: problem for problem in problems}
    parts = [f"# Sample trajectories of {round_id}"]
    for title, is_correct in (("Correct", True), ("Wrong", False)):
        its = [trajectory for trajectory in trajectories if trajectory.is_correct is is_correct]
        parts.append(f"## {title}: {min(NUM_SAMPLES, len(its))} of {len(its)}")
        parts += [_sample(by_id[one.problem_id], one) for one in spread(its, NUM_SAMPLES)]
    return "\n\n".join(parts) + "\n"


def spread(items: Sequence[Trajectory], count: int) -> list[Trajectory]:
    """``count`` items at equal distances, the first among them; all where there are no more."""
    count = min(count, len(items))
    return [items[place * len(items) // count] for place in range(count)]


def _sample(problem: Problem, trajectory: Trajectory) -> str:
    place = f"### {problem.id}, tree {trajectory.tree_index}, leaf {trajectory.leaf}"
    facts = f"Level {problem.level}, mean Q {trajectory.mean_q:.3f}, label {problem.answer}:"
    return "\n\n".join([place, facts, fenced(problem.text), fenced("".join(map(render_step, trajectory.steps)))])
