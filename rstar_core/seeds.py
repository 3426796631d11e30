"""Seeds by name: whoever draws at random says for what, and draws the same wherever and whenever it runs."""

from __future__ import annotations

import hashlib


def derived_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for ``names``, e.g. (round, problem, tree), under the experiment's ``seed``."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
