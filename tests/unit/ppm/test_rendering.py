"""What the PPM reads: the policy's own text, up to the token whose score counts, each text once."""

from __future__ import annotations

from typing import Any

import pytest

from rstar_core.cot.grammar import END_OF_ANSWER, END_OF_OUTPUT, END_OF_STEP
from rstar_core.cot.prompt import zero_shot
from rstar_core.errors import UserError
from rstar_core.policy.rendering import encode_prompt
from rstar_core.ppm.rendering import encode_nodes, encode_steps
from rstar_core.types import PreferencePair, Question, Step, StepKind

QUESTION = Question("p", "What is 2 + 3?")
FIRST = Step(StepKind.CODE, "n = 2 + 3")
LAST = Step(StepKind.CODE_END, "print(n)", "5\n")
ANSWER = Step(StepKind.ANSWER, "\\boxed{5}")
LONG = 1000


@pytest.mark.parametrize(
    ("steps", "token"),
    [((FIRST,), END_OF_STEP), ((FIRST, LAST), END_OF_OUTPUT), ((FIRST, LAST, ANSWER), END_OF_ANSWER)],
)
def test_the_last_token_closes_the_step(tokenizer: Any, steps: tuple[Step, ...], token: str) -> None:
    assert tokenizer.convert_ids_to_tokens(encode_steps(tokenizer, QUESTION, steps))[-1] == token


def test_the_text_is_the_policys_prompt_for_the_next_step(tokenizer: Any) -> None:
    for steps in ((), (FIRST,), (FIRST, LAST)):
        assert encode_steps(tokenizer, QUESTION, steps) == encode_prompt(tokenizer, zero_shot(QUESTION, steps))


def pair(chosen: str, rejected: str, key: str = "0/1", prefix: tuple[Step, ...] = (FIRST,)) -> PreferencePair:
    return PreferencePair("p", key, prefix, (Step(StepKind.CODE, chosen),), (Step(StepKind.CODE, rejected),))


def test_a_node_has_each_text_once(tokenizer: Any) -> None:
    pairs = [pair("a", "x"), pair("a", "y"), pair("b", "x"), pair("b", "y")]
    (node,) = encode_nodes(tokenizer, {"p": QUESTION}, pairs, LONG)
    assert (len(node.rows), node.pairs) == (4, ((0, 1), (0, 2), (3, 1), (3, 2)))
    assert list(node.rows[3]) == encode_steps(tokenizer, QUESTION, (FIRST, Step(StepKind.CODE, "b")))
    assert not node.is_final


def test_an_overlong_text_is_not_cut_but_takes_its_own_pairs_along(tokenizer: Any) -> None:
    long = "9" * 40
    pairs = [pair(long, "x"), pair(long, "y"), pair("b", "x"), pair("b", "y"), pair(long, "x", key="0/2")]
    (short,) = encode_nodes(tokenizer, {"p": QUESTION}, pairs[2:4], LONG)
    longest = max(map(len, short.rows))
    assert encode_nodes(tokenizer, {"p": QUESTION}, pairs, longest) == [short], "exactly the limit fits"
    assert encode_nodes(tokenizer, {"p": QUESTION}, pairs, longest - 1) == []


def test_one_key_with_two_prefixes_is_two_nodes(tokenizer: Any) -> None:
    """Trees of two rounds number their nodes alike."""
    pairs = [pair("a", "x"), pair("a", "x", prefix=(LAST,))]
    assert len(encode_nodes(tokenizer, {"p": QUESTION}, pairs, LONG)) == 2


def test_whole_solutions_are_final(tokenizer: Any) -> None:
    whole = PreferencePair("p", "final", (), (FIRST, LAST, ANSWER), (LAST, ANSWER))
    (node,) = encode_nodes(tokenizer, {"p": QUESTION}, [whole], LONG)
    assert node.is_final


def test_a_pair_without_its_problem_is_the_users_to_mend(tokenizer: Any) -> None:
    with pytest.raises(UserError, match="problem p has preference pairs"):
        encode_nodes(tokenizer, {}, [pair("a", "x")], LONG)
