"""What a search asks of its models. Any engine (scripted, local, remote) meets these two protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from rstar_core.config import Search
from rstar_core.types import Candidate, Question, Step

SCORE_DIGITS = 3  # engines round a PPM's scores to so many decimals: what batching changes lies below


class PolicyEngine(Protocol):
    """The policy model: proposes next steps."""

    async def propose(
        self, question: Question, prefix: Sequence[Step], *, num_candidates: int, seed: int
    ) -> list[Candidate]:
        """Sample ``num_candidates`` continuations of ``prefix``, each up to one step. ``seed`` fixes the sample.

        None where the text so far leaves no room for a whole step.
        """
        ...


class RewardEngine(Protocol):
    """The guide: the value that a step starts with, q(s)^0 (paper 3.2)."""

    async def score(self, question: Question, prefix: Sequence[Step], steps: Sequence[Step]) -> list[float]:
        """One score in [-1, 1] for each alternative next step after ``prefix``."""
        ...


class ZeroReward:
    """The terminal guide of rounds 1 and 2: q(s)^0 = 0 for every step."""

    async def score(self, question: Question, prefix: Sequence[Step], steps: Sequence[Step]) -> list[float]:
        return [0.0] * len(steps)


def num_waiting(policy: PolicyEngine) -> int:
    """Requests that the engine has no room for yet, lately; 0 where it does not tell (``num_waiting``)."""
    return int(getattr(policy, "num_waiting", 0))


class Models(Protocol):
    """A round's models, from which engines are made: first these, then the context is entered, then they are used."""

    def policy(self, temperature: float, top_p: float, max_step_tokens: int) -> PolicyEngine:
        """The policy with this sampling; temperature 0 is greedy."""
        ...

    def sampler(self, search: Search) -> PolicyEngine:
        """The policy as a search samples from it."""
        ...

    def guide(self, kind: Literal["terminal", "ppm"], ppm: Path) -> RewardEngine:
        """The guide of a search; ``terminal`` needs no PPM.

        Raises:
            UserError: ``ppm`` is asked for and the folder says that its round has none.
        """
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """``temperature`` 0 is greedy. A candidate ends at a stop token or after ``max_tokens``."""

    temperature: float
    top_p: float
    max_tokens: int
