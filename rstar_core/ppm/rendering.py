"""Preference pairs as token ids: what the PPM reads is what the policy read and wrote.

A step's score is read at the last token of its text. For the step that completes the program this text includes the
executor's output block: the output is known by the time a step is scored, and it is the best evidence of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rstar_core.curation.pairs import is_final
from rstar_core.errors import UserError
from rstar_core.policy.rendering import encode_example
from rstar_core.types import PreferencePair, Question, Step


@dataclass(frozen=True, slots=True)
class EncodedNode:
    """A node's pairs, ready for a forward pass: each distinct text once.

    ``rows`` are texts as token ids; ``pairs`` are (chosen, rejected) indices of ``rows``. ``is_final`` tells whole
    solutions from alternatives for one step. Nodes of one ``problem_id`` have texts that begin alike.
    """

    rows: tuple[tuple[int, ...], ...]
    pairs: tuple[tuple[int, int], ...]
    is_final: bool
    problem_id: str = ""


def encode_steps(tokenizer: Any, question: Question, steps: Sequence[Step]) -> list[int]:
    """Prompt and steps as the policy sees them; the last token is the one whose score counts. Nothing follows it."""
    ids: list[int] = encode_example(tokenizer, question, steps)["input_ids"]
    return ids


def encode_nodes(
    tokenizer: Any, questions: Mapping[str, Question], pairs: Sequence[PreferencePair], max_length: int
) -> list[EncodedNode]:
    """One training row per node, from pairs in any order, without pairs of which a text is beyond ``max_length``.

    A node is a problem, a node key and a prefix: with pairs of several rounds in one file, the key alone is no key.

    Raises:
        UserError: a pair's problem is not among ``questions``.
    """
    nodes: dict[tuple[Any, ...], list[PreferencePair]] = {}
    for pair in pairs:
        nodes.setdefault((pair.problem_id, pair.node_key, pair.prefix, is_final(pair)), []).append(pair)
    encoded = (
        _encode_node(tokenizer, _question(questions, node[0].problem_id), node, max_length) for node in nodes.values()
    )
    return [node for node in encoded if node.pairs]


def _question(questions: Mapping[str, Question], problem_id: str) -> Question:
    if problem_id not in questions:
        raise UserError(f"problem {problem_id} has preference pairs but is not among the problems; rebuild the pairs")
    return questions[problem_id]


def _encode_node(tokenizer: Any, question: Question, pairs: Sequence[PreferencePair], max_length: int) -> EncodedNode:
    prefix = pairs[0].prefix
    rows = {text: tuple(encode_steps(tokenizer, question, (*prefix, *text))) for text in _texts(pairs)}
    kept = [pair for pair in pairs if max(len(rows[pair.chosen]), len(rows[pair.rejected])) <= max_length]
    places = {text: place for place, text in enumerate(_texts(kept))}
    return EncodedNode(
        rows=tuple(rows[text] for text in places),
        pairs=tuple((places[pair.chosen], places[pair.rejected]) for pair in kept),
        is_final=is_final(pairs[0]),
        problem_id=question.id,
    )


def _texts(pairs: Sequence[PreferencePair]) -> list[tuple[Step, ...]]:
    """The distinct ones, in the order in which ``pairs`` bring them."""
    return list(dict.fromkeys(text for pair in pairs for text in (pair.chosen, pair.rejected)))
