"""How many searches are under way: as many as keep the engine busy, and no more than memory bears."""

from __future__ import annotations

_START = 64


class Window:
    """Grows while the engine has room for every request, up to ``most`` trees; ``num_left`` are still to be started.

    Trees beyond what the engine needs would only push each other's prefixes out of its cache. But what all fits is
    started at once: then the longest searches do not begin last, with an idle engine beside them.
    """

    def __init__(self, most: int, num_left: int) -> None:
        self._most = most
        self._limit = min(most, _START)
        self._num_left = num_left

    def has_room(self, num_running: int) -> bool:
        return num_running < (self._most if num_running + self._num_left <= self._most else self._limit)

    def take(self) -> None:
        """One that was left is now under way, or needs no tree."""
        self._num_left -= 1

    def adapt(self, num_running: int, num_waiting: int) -> None:
        """Look at the engine, now and then: ``num_waiting`` requests are there that it has no room for."""
        if num_waiting == 0 and num_running >= self._limit:
            self._limit = min(self._most, self._limit + self._limit // 2)
        elif num_waiting > num_running // 2:
            self._limit = max(min(self._most, _START), self._limit - self._limit // 8)
