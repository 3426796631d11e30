"""Preference pairs -> the round's process preference model, and what its accuracy has to be held against."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from rstar_core.config import Round, Seed, TrainPpm
from rstar_core.io import PAIRS, num_rows, read_problems, stream_pairs, write_curve
from rstar_core.journal.checkpoints import checkpoint_folder
from rstar_core.journal.key import journal_key
from rstar_core.machine.threads import keep_threads_awake
from rstar_core.machine.variables import TRAINER
from rstar_core.policy.model import best_device, load_model, load_tokenizer
from rstar_core.ppm.likelihood import log_probabilities
from rstar_core.ppm.model import new_ppm, save_ppm, write_null_ppm
from rstar_core.ppm.rendering import EncodedNode, encode_nodes
from rstar_core.store.publishing import publish_folder
from rstar_core.training import preferences
from rstar_core.training.on_disk import StoredNodes
from rstar_core.training.preferences import PairAccuracy, PpmReport, num_pairs
from rstar_core.training.sft import check_left_out
from rstar_core.types import PreferencePair
from tasks.runner.processes import beside


def train_ppm(
    *,
    round_id: str,
    problems: Path,
    policy: Path,
    pairs: Path,
    ppm: Path,
    curve: Path,
    seed: Seed,
    train_ppm: TrainPpm,
    round: Round,
) -> dict[str, Any]:
    """Train the round's PPM from the round's policy.

    ``pairs`` holds ``train.parquet`` and ``validation.parquet``. Where ``round.has_ppm`` is not set, and without
    training pairs, the round gets a null PPM.
    Metrics: ``ppm_accuracy``, the share of validation pairs ranked right, in all and by kind: ``_step`` pairs share a
    prefix, ``_final`` ones are whole solutions. Beside it, on the same pairs and by the same kinds:
    ``ppm_accuracy_shuffled``, of a PPM that was trained on shuffled labels, and ``policy_accuracy``, of the policy's
    likelihood as a ranker. Of more than some thousand validation nodes, some thousand from all over are taken.
    ``ppm_accuracy_training`` is of some pairs that it was trained on. All are null where there are no pairs.
    ``num_train_pairs``, ``num_validation_pairs``, ``num_left_out`` (pairs with an overlong text, in neither of both),
    ``num_tokens``, ``final_loss`` (as last logged: a mean over up to 5 steps of both losses, the next-token loss by its
    weight).

    Raises:
        UserError: an input is missing or unreadable, no pair fits ``max_length``, or too many do not.
    """
    inputs = Inputs(round_id, problems, policy, pairs, seed, train_ppm)
    num_train, num_validation = (num_rows(pairs / f"{name}.parquet", PAIRS) for name in ("train", "validation"))
    if not round.has_ppm:
        return _no_ppm(ppm, curve, num_validation)
    if not num_train:
        print(f"{round_id}: no preference pairs to train on, so the round has no PPM", file=sys.stderr)
        return _no_ppm(ppm, curve, num_validation)
    keep_threads_awake()
    with control(inputs) as its_control, checkpoint_folder(inputs.key("train_ppm")) as scratch:
        nodes, all_validation = inputs.nodes("train", scratch), inputs.nodes("validation", scratch)
        num_left_out = num_train + num_validation - num_pairs(nodes) - num_pairs(all_validation)
        if nodes:
            check_left_out(num_left_out, num_train + num_validation, train_ppm.training)
        validation = some_of(all_validation, _NUM_EXAMINED)
        tokenizer, model = load_tokenizer(policy), inputs.new_ppm()
        report = preferences.train_ppm(model, tokenizer, nodes, validation, train_ppm, seed, scratch)
        on_training = preferences.pair_accuracy(model, tokenizer.pad_token_id, some_of(nodes, _NUM_LOOKED_AT))
        ranker = policys_accuracy(inputs, validation)
        shuffled = its_control()
        with publish_folder(ppm) as folder:
            save_ppm(model, tokenizer, folder)
        write_curve(curve, report.training.curve)
    counts = {"num_validation_pairs": num_pairs(validation), "num_left_out": num_left_out}
    return {**_metrics(report, on_training, ranker, shuffled), **counts}


NOTHING = PairAccuracy(None, None, None)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a PPM depends on: all that another process needs to train one too."""

    round_id: str
    problems: Path
    policy: Path
    pairs: Path
    seed: Seed
    params: TrainPpm

    def key(self, what: str) -> Any:
        params = {"seed": self.seed, "train_ppm": self.params}
        return journal_key(what, self.round_id, (self.problems, self.policy, self.pairs), params)

    def nodes(self, name: str, scratch: Path) -> StoredNodes:
        """Those of ``train`` or ``validation``, encoded and in ``scratch``."""
        return StoredNodes(scratch / f"{name}.arrow", self._encoded(stream_pairs(self.pairs / f"{name}.parquet")))

    def _encoded(self, pairs: Iterable[PreferencePair]) -> Iterator[EncodedNode]:
        tokenizer, max_length = load_tokenizer(self.policy), self.params.training.max_length
        questions = {problem.id: problem.question for problem in read_problems(self.problems)}
        for _, its in groupby(pairs, lambda pair: pair.problem_id):
            yield from encode_nodes(tokenizer, questions, list(its), max_length)

    def new_ppm(self) -> Any:
        params = self.params
        return new_ppm(self.policy, "auto", self.seed, params.extra_layers, params.frozen_layers)


_NUM_LOOKED_AT = 400  # training nodes, at most, whose accuracy is told
_NUM_EXAMINED = 4000  # validation nodes, at most: with so many, half a width of the 95 % interval is below .02


def some_of(nodes: Sequence[EncodedNode], number: int) -> Sequence[EncodedNode]:
    """At most ``number`` of them, from all over the list."""
    return nodes[:: len(nodes) // number + 1]


# --- what the accuracy is held against ------------------------------------------------------------------------


@contextmanager
def control(inputs: Inputs) -> Iterator[Callable[[], PairAccuracy]]:
    """The accuracy of a PPM trained on shuffled labels, by a process beside this one; none if there is to be none.

    Two small trainings with a thread each take no longer than one with two. A launcher's processes have the machine to
    themselves: there it comes after the other.
    """
    if not inputs.params.control:
        yield lambda: NOTHING
        return
    if TRAINER.get():
        yield partial(shuffled_accuracy, inputs)
        return
    with beside(partial(shuffled_accuracy, inputs)) as result:
        yield result


def shuffled_accuracy(inputs: Inputs) -> PairAccuracy:
    """Of a PPM that had nothing to learn: what is above it is learnt. It is trained like the round's PPM."""
    with checkpoint_folder(inputs.key("train_ppm-control")) as scratch:
        train_nodes, validation = inputs.nodes("train", scratch), inputs.nodes("validation", scratch)
        nodes = preferences.shuffled(train_nodes, inputs.params.control, inputs.seed)
        tokenizer = load_tokenizer(inputs.policy)
        return preferences.train_ppm(
            inputs.new_ppm(), tokenizer, nodes, some_of(validation, _NUM_EXAMINED), inputs.params, inputs.seed, scratch
        ).at_end


def policys_accuracy(inputs: Inputs, nodes: Sequence[EncodedNode]) -> PairAccuracy:
    """Of the likelihood that the round's policy gives to a text: how well it ranks the pairs of ``nodes``."""
    policy = load_model(inputs.policy, "float32").to(best_device()).eval()
    pad_id = load_tokenizer(inputs.policy).pad_token_id
    return preferences.ranking_accuracy(nodes, log_probabilities(policy, pad_id, nodes))


# --- metrics --------------------------------------------------------------------------------------------------


def _metrics(
    report: PpmReport,
    on_training: PairAccuracy,
    policy: PairAccuracy,
    shuffled: PairAccuracy,
) -> dict[str, Any]:
    training = report.training
    return {
        **_by_kind("ppm_accuracy", report.at_end),
        **_by_kind("ppm_accuracy_shuffled", shuffled),
        **_by_kind("policy_accuracy", policy),
        "ppm_accuracy_training": on_training.all,
        "num_train_pairs": training.num_examples,
        "final_loss": training.curve[-1]["loss"],
        "num_tokens": training.num_tokens,
        "timings": {"tokens/s": round(training.tokens_per_second, 1)},
    }


def _by_kind(name: str, accuracy: PairAccuracy) -> dict[str, float | None]:
    return {name: accuracy.all, f"{name}_step": accuracy.step, f"{name}_final": accuracy.final}


def _no_ppm(ppm: Path, curve: Path, num_validation: int) -> dict[str, Any]:
    with publish_folder(ppm) as folder:
        write_null_ppm(folder)
    write_curve(curve, [])
    accuracies = [
        name
        for what in ("ppm_accuracy", "ppm_accuracy_shuffled", "policy_accuracy")
        for name in _by_kind(what, NOTHING)
    ]
    names = (*accuracies, "ppm_accuracy_training", "final_loss")
    counts = {"num_train_pairs": 0, "num_validation_pairs": num_validation, "num_left_out": 0, "num_tokens": 0}
    return {**dict.fromkeys(names), **counts}
