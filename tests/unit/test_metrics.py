"""pass@k against brute force, what a vote does with ties and samples without an answer, and shares by level."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_core import metrics
from rstar_core.metrics import bootstrap_interval, majority_vote, pass_at_k, share_by_level


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_with_a_correct_sample(case: tuple[int, int, int]) -> None:
    num_samples, num_correct, k = case
    draws = list(combinations([i < num_correct for i in range(num_samples)], k))
    assert pass_at_k(num_samples, num_correct, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_one_is_the_share_of_correct_samples() -> None:
    assert pass_at_k(4, 1, 1) == 0.25


def test_more_samples_than_there_are_is_not_a_number() -> None:
    assert math.isnan(pass_at_k(4, 2, 5))
    assert math.isnan(pass_at_k(0, 0, 1))


@pytest.mark.parametrize(("num_samples", "num_correct", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 0)])
def test_counts_that_cannot_be_are_refused(num_samples: int, num_correct: int, k: int) -> None:
    with pytest.raises(ValueError, match="no meaning"):
        pass_at_k(num_samples, num_correct, k)


def test_many_samples_neither_overflow_nor_lose_the_small_chance() -> None:
    assert pass_at_k(10_000, 1, 1) == pytest.approx(1e-4)
    assert pass_at_k(10_000, 9_000, 2_000) == 1.0


def test_the_largest_class_wins() -> None:
    assert majority_vote(["16", "12", "16"]) == "16"


def test_the_earliest_of_equals_wins() -> None:
    assert majority_vote([3, 7, 7, 3]) == 3


def test_a_sample_without_an_answer_has_no_vote() -> None:
    assert majority_vote([None, None, 5]) == 5
    assert majority_vote([None]) is None
    assert majority_vote([]) is None


def test_the_class_zero_is_an_answer() -> None:
    assert majority_vote([None, 0]) == 0


def test_a_share_counts_all_and_each_level_that_there_is() -> None:
    verdicts = [(3, True), (1, False), (3, False), (3, True), (0, True)]
    assert share_by_level(verdicts) == {"all": 3 / 5, "level_0": 1.0, "level_1": 0.0, "level_3": 2 / 3}


def test_a_share_may_be_taken_of_an_iterator_and_puts_all_first() -> None:
    assert list(share_by_level(iter([(2, True), (1, True)]))) == ["all", "level_1", "level_2"]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1))
def test_the_levels_shares_weighted_by_their_sizes_make_up_the_whole(verdicts: list[tuple[int, bool]]) -> None:
    shares = share_by_level(verdicts)
    assert shares["all"] * len(verdicts) == pytest.approx(sum(shares[f"level_{level}"] for level, _ in verdicts))


def test_there_is_no_share_of_nothing() -> None:
    with pytest.raises(ValueError, match="no share of nothing"):
        share_by_level([])


@pytest.mark.parametrize("at_once", [1, 70, 3000])
def test_an_interval_is_the_same_however_many_values_are_in_memory(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    values = [0.0, 1.0, 1.0, -1.0, 1.0, 0.5, 1.0]
    whole = bootstrap_interval(values)
    monkeypatch.setattr(metrics, "_VALUES_AT_ONCE", at_once)
    assert bootstrap_interval(values) == whole
    assert whole[0] < sum(values) / len(values) < whole[1]
