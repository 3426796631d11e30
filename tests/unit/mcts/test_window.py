"""As many searches as the engine has work for."""

from __future__ import annotations

import pytest

from rstar_core.mcts.window import Window


def full(window: Window) -> int:
    """How many may be under way."""
    return next(number for number in range(10**6) if not window.has_room(number))


def test_it_grows_while_the_engine_has_room_and_stops_at_the_most() -> None:
    window, sizes = Window(300, 10**6), []
    for _ in range(6):
        sizes.append(full(window))
        window.adapt(full(window), num_waiting=0)
    assert sizes == [64, 96, 144, 216, 300, 300]


def test_it_does_not_grow_when_it_was_not_the_limit() -> None:
    window = Window(300, 10**6)
    window.adapt(40, num_waiting=0)
    assert full(window) == 64


def test_it_holds_where_requests_wait_and_shrinks_where_many_do() -> None:
    window = Window(1000, 10**6)
    for _ in range(3):
        window.adapt(full(window), num_waiting=0)
    size = full(window)
    window.adapt(size, num_waiting=size // 4)
    assert full(window) == size
    window.adapt(size, num_waiting=size)
    assert 64 <= full(window) < size


@pytest.mark.parametrize("most", [1, 3, 64, 500])
def test_it_never_exceeds_the_most_nor_falls_to_nothing(most: int) -> None:
    window = Window(most, 10**6)
    for waiting in (0, 0, 0, 10**6, 10**6, 10**6, 0):
        window.adapt(full(window), waiting)
        assert 1 <= full(window) <= most


def test_what_all_fits_is_started_at_once() -> None:
    assert started(Window(300, 300)) == 300
    assert started(Window(300, 301)) == 64


def started(window: Window) -> int:
    """How many start before any has ended."""
    number = 0
    while number < 300 and window.has_room(number):
        window.take()
        number += 1
    return number
