"""Whether a round is one to build on. Pure functions of its row in ``summary.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from rstar_core.config import Gate, Round
from rstar_core.errors import UserError

GREEDY, SYSTEM = "policy_pass@1", "system@N"


def stop_at_gate(rows: Sequence[dict[str, Any]], gate: Gate, rounds: Mapping[str, Round]) -> None:
    """Raises UserError when the last of ``rows`` is no round to build on: see ``Gate``, or nothing was found in it.

    Its PPM counts only where one will be guided by it. Of a first round's few pairs it learns little, and the control
    of so few is a matter of luck.
    """
    last = rows[-1]
    faults = [fall(rows, gate.max_drop), emptiness(last)]
    if has_a_use_for_its_ppm(last["round_id"], rounds):
        faults.append(chance(last, gate.min_ppm_margin))
    for fault in filter(None, faults):
        raise UserError(f"the gate of {last['round_id']} is shut: {fault}; no later round goes on")


def has_a_use_for_its_ppm(round_id: str, rounds: Mapping[str, Round]) -> bool:
    """Whether a round built on it searches by its PPM. Where none is built on it, whoever takes its models does."""
    builders = [its for its in rounds.values() if its.from_ == round_id]
    return not builders or any(its.guide == "ppm" for its in builders)


def fall(rounds: Sequence[dict[str, Any]], max_drop: float) -> str:
    """How the last round's greedy or System 2 accuracy fell by more than ``max_drop``; empty where it did not.

    System 2's counts where both rounds have measured it on all held-out problems: on a part of them, one round's differ
    from another's by more than that often enough.
    """
    for before, after in pairwise(rounds[-2:]):
        for metric in (GREEDY, SYSTEM) if all(map(is_whole, (before, after))) else (GREEDY,):
            old, new = accuracy(before, metric), accuracy(after, metric)
            if old is not None and new is not None and not old - new <= max_drop:  # a NaN falls, too
                return f"{metric} fell from {old:.3f} to {new:.3f}, by more than gate.max_drop = {max_drop}"
    return ""


def is_whole(row: dict[str, Any]) -> bool:
    return bool(row.get("num_system_problems") == row.get("num_held_out"))


def emptiness(row: dict[str, Any]) -> str:
    """What the round should have found and did not."""
    counts = {"num_trajectories": "trajectories", "num_pairs": "preference pairs"}
    return next((f"it has no {name}" for key, name in counts.items() if row.get(key) == 0), "")


def chance(row: dict[str, Any], min_margin: float) -> str:
    """That the PPM ranks pairs no better than one that was trained on shuffled labels."""
    learnt, control = row.get("ppm_accuracy"), row.get("ppm_accuracy_shuffled")
    if learnt is None or control is None or learnt - control > min_margin:
        return ""
    return (
        f"the PPM ranks {learnt:.3f} of the pairs right, one of shuffled labels {control:.3f}; the difference must be "
        f"above gate.min_ppm_margin = {min_margin}"
    )


def accuracy(row: dict[str, Any], metric: str) -> float | None:
    levels: dict[str, float] | None = row.get(metric)
    return levels["all"] if levels else None
