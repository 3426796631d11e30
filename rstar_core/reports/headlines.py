"""What a stage found, in one line: the first thing that whoever waits for it wants to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# In the order of importance; what a stage did not measure is left out.
SHOWN = {
    "ingest": ("num_demonstrations", "num_train", "num_benchmark", "num_bad", "num_ungradable", "num_duplicates"),
    "bootstrap": ("num_sft", "num_left_out_demonstrations", "num_parameters", "final_loss", "written_apart"),
    "synthesize": ("coverage", "num_trees", "num_failed", "num_too_long", "num_tokens"),
    "verify": ("coverage", "num_trajectories", "num_correct", "num_disagreements", "num_undecided"),
    "curate": ("num_sft", "num_pairs", "num_easy", "num_medium", "num_hard"),
    "train_policy": ("num_sft", "num_left_out", "final_loss"),
    "train_ppm": ("num_train_pairs", "ppm_accuracy", "ppm_accuracy_shuffled", "policy_accuracy", "final_loss"),
    "evaluate": ("policy_pass@1", "system@N", "maj@K", "pass@N", "ppm_accuracy_benchmark"),
}
FAULTS = (  # said only where there are any
    "num_bad", "num_ungradable", "num_duplicates", "num_left_out", "num_left_out_demonstrations", "num_failed",
    "num_too_long", "num_disagreements", "num_undecided",
)  # fmt: skip
_NAMES = {
    "num_train": "training problems",
    "num_benchmark": "held-out problems",
    "num_bad": "bad rows",
    "num_sft": "SFT examples",
    "num_left_out_demonstrations": "demonstrations left out",
    "num_train_pairs": "pairs",
    "num_failed": "given up",
    "num_parameters": "weights",
    "policy_pass@1": "greedy",
    "ppm_accuracy": "PPM",
    "ppm_accuracy_shuffled": "of shuffled labels",
    "policy_accuracy": "policy's likelihood",
    "ppm_accuracy_benchmark": "PPM on held-out problems",
    "written_apart": "written word for word of those kept apart",
    "final_loss": "loss",
}


def headline(stage: str, metrics: Mapping[str, Any]) -> str:
    """``coverage 93.3 %, 1,509 trajectories, 1,204 correct``; empty for a stage without any."""
    measured = (name for name in SHOWN.get(stage, ()) if metrics.get(name) is not None)
    return ", ".join(_said(name, metrics[name]) for name in measured if metrics[name] or name not in FAULTS)


def _said(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        value = value["all"]
    if name.startswith("num_"):
        return f"{value:,} {_NAMES.get(name, name.removeprefix('num_').replace('_', ' '))}"
    shown = f"{value:.3f}" if name == "final_loss" else f"{100 * value:.1f} %"
    return f"{_NAMES.get(name, name)} {shown}"
