"""Two sandboxes in one: a bare one for code that imports nothing, and one with the libraries loaded for the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rstar_core.sandbox.base import Outcome
from rstar_core.sandbox.broker import ForkSandbox


class TieredSandbox:
    """``rstar_core.sandbox.base.Sandbox`` as an async context manager.

    A fork of a process that holds sympy and numpy copies page tables and faults that most steps have no use for: code
    that nowhere says ``import`` can't reach a library, and runs in a bare process. The other sandbox starts when it is
    first needed. Both are isolated alike.
    """

    def __init__(self, bare: ForkSandbox, equipped: ForkSandbox) -> None:
        self._bare, self._equipped = bare, equipped
        self._starting = asyncio.Lock()
        self._is_equipped = False

    async def __aenter__(self) -> Self:
        await self._bare.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._bare.__aexit__(kind, error, trace)
        if self._is_equipped:
            await self._equipped.__aexit__(kind, error, trace)

    @property
    def level(self) -> str:
        """See ``Sandbox.level``."""
        return self._bare.level

    @property
    def description(self) -> str:
        """The level in words, with what is missing."""
        return self._bare.description

    async def run(self, parents: Sequence[str], code: str, problem_id: str = "") -> Outcome:
        """See ``Sandbox.run``."""
        if not any("import" in text for text in (*parents, code)):
            return await self._bare.run(parents, code, problem_id)
        async with self._starting:
            if not self._is_equipped:
                await self._equipped.__aenter__()
                self._is_equipped = True
        return await self._equipped.run(parents, code)
