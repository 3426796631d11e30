"""A second look at what searches claim: the program run anew, the answer graded anew (spec section 2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar, Protocol

from rstar_core.answers.classes import answer_classes
from rstar_core.answers.equivalence import Grader, Rule, Ruling, Verdict, cheap_ruling, ruling_from_row
from rstar_core.answers.warm import GraderSandbox
from rstar_core.config import SandboxLimits, Verify
from rstar_core.curation.claims import Claim, Finding, Kind, claims_of, select_claims, without_answer
from rstar_core.curation.suspects import Suspect, suspect
from rstar_core.journal import Journal
from rstar_core.journal.sharded import by_shard
from rstar_core.metrics import majority_vote
from rstar_core.progress import Progress
from rstar_core.sandbox.base import Sandbox, Status
from rstar_core.sandbox.load import open_sandbox
from rstar_core.seeds import derived_seed
from rstar_core.types import Problem, SearchTree, StepKind, Trajectory

NUM_PER_SHARD = 128  # problems; a stage that is killed looks again at these at most
MAX_STEPS = 64  # of a program, for what a re-run may print: more than any search goes down


def whole_programs(step: SandboxLimits, verify: Verify) -> SandboxLimits:
    """The limits of a re-run: a program may use and print what its steps might together."""
    seconds = {"wall_seconds": verify.wall_seconds, "cpu_seconds": verify.cpu_seconds}
    return step.model_copy(update={**seconds, "max_output_chars": MAX_STEPS * step.max_output_chars})


@dataclass(frozen=True, slots=True)
class Looked:
    """What a second look at the searches for one problem says.

    ``findings`` are of selected claims, ``answerless`` of solutions without an answer, both by tree and leaf;
    ``voted`` is what all claims say together, where none is right. ``level`` is the isolation that programs ran under.
    """

    problem: Problem
    findings: list[Finding]
    answerless: list[Finding]
    voted: Suspect | None
    level: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """What the searches for one problem say themselves; ``chosen`` are the claims that get a second look."""

    problem: Problem
    claims: list[Claim]
    chosen: list[Claim]
    answerless: list[Finding]


class Looker(Protocol):
    """Who looks: this machine, or the nodes of a cluster."""

    @property
    def level(self) -> str:
        """See ``Sandbox.level``."""
        ...

    @property
    def num_at_once(self) -> int:
        """Shards of problems that keep it busy."""
        ...

    async def look(self, shard: Sequence[Claimed]) -> list[dict[str, Any]]:
        """For each problem the findings on the chosen claims and, where none is right, what all claims vote for, as
        plain JSON.
        """
        ...


async def look_again(
    what: str,
    num_problems: int,
    grown: Iterable[tuple[Problem, Sequence[SearchTree]]],
    section: Verify,
    looker: Looker,
    journal: Journal,
) -> AsyncIterator[Looked]:
    """Every problem in turn, with ``grown`` its trees. ``journal`` keeps what was found, by shards of problems; no more
    trees are in memory than those that the looker is at.
    """
    progress = Progress(what, num_problems, "problems")
    its_claims = (_claimed(problem, trees, section) for problem, trees in grown)
    rows = by_shard(journal, its_claims, NUM_PER_SHARD, looker.look, lambda: looker.num_at_once)
    async for one, row in rows:
        found = zip(one.chosen, row["findings"], strict=True)
        findings = [finding_from_row(claim, its) for claim, its in found]
        voted = Suspect(**row["voted"]) if row["voted"] else None
        yield Looked(one.problem, findings, one.answerless, voted, looker.level)
        progress.advance()


@asynccontextmanager
async def open_looker(limits: SandboxLimits, section: Verify) -> AsyncIterator[SecondLook]:
    """This machine's looker; programs have ``limits``."""
    async with open_sandbox(limits) as box, GraderSandbox() as graders:
        yield SecondLook(box, limits, Grader(graders), section.second_opinions)


def _claimed(problem: Problem, trees: Sequence[SearchTree], section: Verify) -> Claimed:
    claims = claims_of(trees)
    chosen = select_claims(claims, section.max_trajectories_per_problem)
    return Claimed(problem, claims, chosen, without_answer(trees))


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
class SecondLook:
    """A sandbox and a grader; it implements ``Looker``."""

    sandbox: Sandbox
    limits: SandboxLimits
    grader: Grader
    second_opinions: float

    num_at_once: ClassVar[int] = 1  # a shard's programs fill the sandbox

    @property
    def level(self) -> str:
        return self.sandbox.level

    async def look(self, shard: Sequence[Claimed]) -> list[dict[str, Any]]:
        return await asyncio.gather(*(self._record(one) for one in shard))

    async def _record(self, one: Claimed) -> dict[str, Any]:
        findings = await self.at_problem(one.problem, one.chosen)
        is_solved = any(one.verdict is Verdict.EQUAL for one in findings)
        voted = None if is_solved else asdict(await self.at_votes(one.problem, one.claims))
        return {"findings": [row_from_finding(one) for one in findings], "voted": voted}

    async def at_problem(self, problem: Problem, claims: Sequence[Claim]) -> list[Finding]:
        """One claim after the other: most have the same answer, which the grader then judges once."""
        return [await self._at_claim(problem, claim) for claim in claims]

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


def believed(findings: Iterable[Finding]) -> Iterator[Trajectory]:
    """The trajectories that are right or wrong beyond doubt."""
    return (
        replace(one.claim.trajectory, is_correct=one.verdict is Verdict.EQUAL)
        for one in findings
        if one.verdict in (Verdict.EQUAL, Verdict.DIFFERENT)
    )
