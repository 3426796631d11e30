"""Rates hold to the end: what takes long does not come last."""

from __future__ import annotations

from rstar_core.progress import in_mixed_order


def test_a_mixed_order_has_all_items_and_is_the_same_each_time() -> None:
    mixed = in_mixed_order(range(600))
    assert sorted(mixed) == list(range(600)) and mixed == in_mixed_order(range(600))


def test_each_sixth_of_a_mixed_order_has_items_of_all_levels() -> None:
    levels = in_mixed_order([level for level in range(6) for _ in range(100)])
    assert all(set(levels[start : start + 100]) == set(range(6)) for start in range(0, 600, 100))
