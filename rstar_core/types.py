"""The vocabulary of the system: problems, steps, trees, trajectories and preference pairs.

Everything here is frozen, plain and picklable-free: standard library only, so that any room may import it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

LARGE = "large"  # marks a field whose numbers may need more than 32 bits


@dataclass(frozen=True, slots=True)
class Question:
    """What a search may see of a problem. There is no answer field: test-time search takes this type."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem with its ground-truth answer.

    ``id`` is a content hash of the text (see ``rstar_core.problems.identity``), ``level`` is 0 when the source
    states none, ``answer`` is LaTeX or plain text as the source wrote it. ``tolerance`` is how far a right number may
    be from it, as a decimal or a fraction; empty where the problem states no precision.
    """

    id: str
    text: str
    answer: str
    level: int
    source: str
    license: str
    tolerance: str = ""

    @property
    def allowed(self) -> Fraction | None:
        """``tolerance`` as a number."""
        return Fraction(self.tolerance) if self.tolerance else None

    @property
    def question(self) -> Question:
        return Question(self.id, self.text)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A problem with a worked program: ``code_steps`` are the bodies of its code steps, in order."""

    problem: Problem
    code_steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrueStates:
    """The oracle of a generated problem: what ``probe``, a line of code, prints after each step of a right program.

    For judging and for looking, never for training: only ``evaluate`` and ``rstar show`` read it.
    """

    problem_id: str
    probe: str
    values: tuple[str, ...]


class StepKind(StrEnum):
    """Which marker closes the step (spec section 1)."""

    CODE = "code"  # <end_of_step>
    CODE_END = "code_end"  # <end_of_code>: the program is complete, its output follows
    ANSWER = "answer"  # <end_of_answer>


@dataclass(frozen=True, slots=True)
class Step:
    """One step: ``body`` is code with its comments, or the answer's text; no markers inside.

    ``output`` is what the executor printed for this step's code (never written by the model).
    """

    kind: StepKind
    body: str
    output: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One sampled continuation: raw text up to and including its stop marker, if it reached one.

    ``token_ids`` and the ``logprobs`` of these tokens are empty where an engine does not tell them.
    """

    text: str
    num_tokens: int
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()


class Terminal(StrEnum):
    """Why a node ends a rollout. Every reason but ANSWERED is worth -1 and is backed up (paper 3.2).

    TOO_LONG: the text so far leaves the policy no room for a step. GIVEN_UP is a root's alone: the search itself failed
    again and again, and its tree has nothing else.
    """

    ANSWERED = "answered"
    MAX_DEPTH = "max_depth"
    CODE_ERROR = "code_error"
    UNPARSABLE = "unparsable"
    NO_VALID_CANDIDATE = "no_valid_candidate"
    TOO_LONG = "too_long"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a finished search tree: the step that leads to it, and what the rollouts said of it.

    ``parent`` is an index into the tree's nodes; the root has parent -1 and no step. ``initial_value`` is q(s)^0, the
    guide's score; ``value_sum`` is q(s), which starts there. A terminal has a reason and, where it is ANSWERED, an
    answer; a terminal that was reached has its ``reward``: +1 right, -1 wrong, 0 where the grader could not tell, or
    the guide's score at test time. ``num_samples``: how many of the sampled candidates had this very text.
    """

    parent: int
    step: Step | None
    initial_value: float
    visit_count: int
    value_sum: float
    terminal: Terminal | None = None
    answer: str | None = None
    reward: float | None = None
    num_samples: int = 1

    @property
    def q_value(self) -> float:
        """Q(s) = q(s) / N(s) (paper 3.2); the guide's score for a node that no rollout has visited."""
        return self.value_sum / self.visit_count if self.visit_count else self.initial_value


@dataclass(frozen=True, slots=True)
class Generation:
    """What the engines said at one node: all candidates, and a score for each step that was kept of them, in order."""

    node: int
    candidates: tuple[Candidate, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SearchTree:
    """One finished search. ``nodes[0]`` is the root, and a node comes after its parent.

    ``generations`` record the engines' part of it, in the order of expansion (``mcts.replay``); who reads trees for
    their nodes leaves them out.

    ``num_tokens`` counts the tokens that the policy wrote; ``tree_index`` tells the trees of one problem apart.
    """

    problem_id: str
    round_id: str
    tree_index: int
    nodes: tuple[Node, ...]
    num_rollouts: int
    num_tokens: int = field(metadata={LARGE: True})
    generations: tuple[Generation, ...] = ()

    @property
    def is_given_up(self) -> bool:
        return self.nodes[0].terminal is Terminal.GIVEN_UP

    @property
    def has_too_long(self) -> bool:
        """Whether the policy had no room for a step after some node."""
        return any(node.terminal is Terminal.TOO_LONG for node in self.nodes)

    def path(self, index: int) -> tuple[int, ...]:
        """Node indices from the root's child down to ``index``; empty for the root."""
        found: list[int] = []
        while index > 0:
            found.append(index)
            index = self.nodes[index].parent
        return tuple(reversed(found))

    def steps(self, index: int) -> tuple[Step, ...]:
        """The steps from the root to ``index``."""
        return tuple(step for step in (self.nodes[i].step for i in self.path(index)) if step is not None)


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A path of steps from the root to an answered terminal of one search tree.

    ``leaf`` is the terminal's index in that tree. ``mean_q`` is the mean Q of its nodes; ``step_q`` has one Q per
    step. ``is_correct`` is the verified verdict.
    """

    problem_id: str
    round_id: str
    tree_index: int
    leaf: int
    steps: tuple[Step, ...]
    answer: str
    step_q: tuple[float, ...]
    mean_q: float
    is_correct: bool


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A solution whose verdict is doubted; a row of ``ledger.parquet``. ``kind`` is a ``curation.claims.Kind``.

    ``claimed`` is the search's verdict: right, wrong or undecided.
    ``printed`` is the last line that the program printed, ``rule`` what the grader decided by.
    """

    problem_id: str
    tree_index: int
    leaf: int
    kind: str
    reason: str
    claimed: str
    label: str
    answer: str
    printed: str
    rule: str
    grader: str


@dataclass(frozen=True, slots=True)
class SftExample:
    """A solution that the policy is trained on. ``origin`` is the round that found it; ``r0``: a demonstration."""

    question: Question
    steps: tuple[Step, ...]
    origin: str
    mean_q: float


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two continuations to be ranked (paper 3.3).

    For an inner node both continue the same ``prefix`` by one step; for the final-answer rule both are whole
    trajectories and ``prefix`` is empty. ``node_key`` groups the up to 2x2 pairs of one node for the loss.
    """

    problem_id: str
    node_key: str
    prefix: tuple[Step, ...]
    chosen: tuple[Step, ...]
    rejected: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer to a held-out problem: an answered terminal that a search's rollouts reached.

    A tree without any has one row without an ``answer``, and ``leaf`` 0. ``method`` is greedy, flat or system.
    ``scores`` are the guide's, one for each step on the way, the last being the answer's. ``frequency`` is the product
    of the shares of the samples that each of the steps had: how often the policy alone would have written this text.
    Equal answers to one problem have one ``answer_class``. ``verdict`` on the truth is equal, different or undecided,
    and None before the answers are marked.
    """

    problem_id: str
    source: str
    level: int
    method: str
    tree_index: int
    leaf: int
    answer: str | None
    scores: tuple[float, ...]
    frequency: float
    answer_class: int | None
    verdict: str | None

    @property
    def score(self) -> float:
        """The guide's score of the whole solution; below every score where there is none."""
        return self.scores[-1] if self.scores else -2.0


DEMONSTRATION = "r0"  # the origin of an example that is a demonstration
