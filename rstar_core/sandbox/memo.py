"""What ran once is not run again: trees of one problem, and samples of one step, repeat each other."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from rstar_core.sandbox.base import Outcome, Sandbox, Status

MAX_OUTCOMES = 1 << 14
_OWN_DOING = (Status.OK, Status.ERROR)  # what the code did; the rest may be the machine's


class RememberingSandbox:
    """``rstar_core.sandbox.base.Sandbox`` that gives equal runs one outcome; the latest ``MAX_OUTCOMES`` are known.

    Equal runs at the same time share one process. A run that the machine may have ended is tried again.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._known: OrderedDict[tuple[str, ...], asyncio.Task[Outcome]] = OrderedDict()

    @property
    def level(self) -> str:
        """See ``Sandbox.level``."""
        return self._sandbox.level

    async def run(self, parents: Sequence[str], code: str, problem_id: str = "") -> Outcome:
        """See ``Sandbox.run``."""
        key = (*parents, code)
        task = self._known.get(key)
        if task is None:
            task = self._known[key] = asyncio.ensure_future(self._sandbox.run(parents, code, problem_id))
            if len(self._known) > MAX_OUTCOMES:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        try:
            outcome = await asyncio.shield(task)
        except BaseException:
            self._known.pop(key, None)
            raise
        if outcome.status not in _OWN_DOING:
            self._known.pop(key, None)
        return outcome
