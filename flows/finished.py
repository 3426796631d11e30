"""Rounds of which nothing is left to run: what remains takes seconds, and no Prefect."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from flows.dvc_process import push
from flows.graph import Stage, unchanged
from flows.healing import heal
from flows.lock import alone
from tasks.runner.tracking import catch_up


def is_finished(find: Callable[[], Sequence[Stage]]) -> bool:
    """Whether DVC would run none of the stages that ``find`` finds, when DVC's files are mended. If so, MLflow and the
    remote have got what they may have lacked.

    Raises:
        UserError: another evolution runs here.
    """
    with alone():
        heal()
        stages = find()
        kept = unchanged(stages)
        if len(kept) < len(stages):
            return False
        print(f"{len(stages)} stages, all of them up to date", file=sys.stderr)
        with ThreadPoolExecutor(1) as worker:
            pushed = worker.submit(push, {})
            catch_up(kept)
        if complaint := pushed.result():
            print(complaint, file=sys.stderr)
    return True
