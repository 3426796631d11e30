"""A seed is a matter of its names: the same on any machine, another for any other name."""

from __future__ import annotations

from collections import Counter

from rstar_core.seeds import derived_seed


def test_a_seed_is_the_same_wherever_it_is_derived() -> None:
    """Other values would change every search that was ever recorded."""
    assert derived_seed(1) == 3874038210105081456
    assert derived_seed(20260, "r1", "some-problem", 0) == 7457369358247787248


def test_every_name_and_its_place_counts() -> None:
    names = [(), ("r1",), ("r2",), ("r1", 0), ("r1", 1), (0, "r1"), ("r", 10), ("r1", 0, 0)]
    seeds = {derived_seed(seed, *its) for seed in (1, 2) for its in names}
    assert len(seeds) == 2 * len(names)


def test_a_number_is_its_digits() -> None:
    assert derived_seed(1, "p", 7) == derived_seed(1, "p", "7")


def test_seeds_are_spread_over_63_bits() -> None:
    seeds = [derived_seed(1, number) for number in range(2000)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    bits = Counter(place for seed in seeds for place in range(63) if seed >> place & 1)
    assert all(850 < bits[place] < 1150 for place in range(63))
