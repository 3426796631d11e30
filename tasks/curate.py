"""A round's verified search results + earlier rounds' data -> SFT set and preference pairs (paper 3.2 and 3.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from rstar_core.config import Curate, Seed
from rstar_core.curation.evidence import Difficulty, difficulty, stream_evidence
from rstar_core.curation.mix import best_examples, demonstrations, new_pairs, stream_earlier
from rstar_core.curation.pairs import split_by_problem
from rstar_core.io import PAIRS, SFT_EXAMPLES, digest, read_problems, table_writer
from rstar_core.reports.cards import Facts, pairs_card, sft_card
from rstar_core.store.publishing import publish_folder
from rstar_core.types import DEMONSTRATION, PreferencePair, SftExample


def curate(
    *,
    round_id: str,
    problems: Path,
    trees: Path,
    trajectories: Path,
    earlier_sft: Path,
    earlier_pairs: Path,
    sft: Path,
    pairs: Path,
    seed: Seed,
    curate: Curate,
) -> dict[str, Any]:
    """Make the data that the round's policy and PPM are trained on, each set with a card.

    ``sft/train.parquet``: demonstrations (origin ``r0``), then for each problem its ``top_k`` verified correct
    solutions by mean Q; earlier rounds' fill what this round leaves open. ``pairs/train.parquet`` and
    ``pairs/validation.parquet``: the round's pairs and earlier ones. Which problems are for validation is drawn among
    all of them, with pairs or without, so that a problem is on the same side in every round. The policy learns nothing
    of these either: a PPM begins as the policy, and would know their solutions.
    What is kept of demonstrations and earlier rounds is drawn by problem, with the same luck in every round. It runs no
    code and no model, a matter of seconds, so it starts anew after an interruption.

    Metrics: ``num_sft`` = ``num_demonstrations`` + ``num_from_round`` + ``num_from_earlier``; ``num_pairs`` =
    ``num_inner_pairs`` + ``num_final_pairs``, ``num_validation_pairs`` of them; ``num_easy``, ``num_medium`` and
    ``num_hard`` problems.

    Raises:
        UserError: an input is missing or unreadable.
    """
    its_problems = read_problems(problems)
    held_out = split_by_problem((problem.id for problem in its_problems), curate.validation_fraction, seed)
    inputs = (problems, trees, trajectories, earlier_sft, earlier_pairs)
    facts = Facts(round_id, its_problems, {str(path): digest(path) for path in inputs})
    with publish_folder(sft) as sft_folder, publish_folder(pairs) as pairs_folder:
        with _Sets.opened(sft_folder, pairs_folder, facts) as sets:
            for example in demonstrations(earlier_sft, seed, curate):
                sets.add_example(example)
            evidence = stream_evidence(its_problems, trees, trajectories)
            earlier = stream_earlier(its_problems, earlier_sft, earlier_pairs, seed, curate)
            for (problem, its), older in zip(evidence, earlier, strict=True):
                facts.difficulty[problem.id] = difficulty(its)
                facts.add_trajectories(its.trajectories)
                if problem.id not in held_out:
                    for example in best_examples(round_id, problem, its.trajectories, older.examples, curate.top_k):
                        sets.add_example(example)
                for pair in (*new_pairs(round_id, its, curate), *older.pairs):
                    sets.add_pair(pair, is_validation=problem.id in held_out)
        (sft_folder / "card.md").write_text(sft_card(facts), encoding="utf-8")
        (pairs_folder / "card.md").write_text(pairs_card(facts), encoding="utf-8")
    return _metrics(facts)


@dataclass(frozen=True, slots=True)
class _Sets:
    """The files that are being written, and the facts that are counted on the way."""

    facts: Facts
    write_example: Callable[[SftExample], None]
    write_train: Callable[[PreferencePair], None]
    write_validation: Callable[[PreferencePair], None]

    @classmethod
    @contextmanager
    def opened(cls, sft: Path, pairs: Path, facts: Facts) -> Iterator[Self]:
        with (
            table_writer(sft / "train.parquet", SFT_EXAMPLES) as example,
            table_writer(pairs / "train.parquet", PAIRS) as train,
            table_writer(pairs / "validation.parquet", PAIRS) as validation,
        ):
            yield cls(facts, example, train, validation)

    def add_example(self, example: SftExample) -> None:
        self.write_example(example)
        self.facts.examples.add(example)

    def add_pair(self, pair: PreferencePair, is_validation: bool) -> None:
        write, facts = (
            (self.write_validation, self.facts.validation) if is_validation else (self.write_train, self.facts.train)
        )
        write(pair)
        facts.add(pair)


def _metrics(facts: Facts) -> dict[str, int]:
    origins, difficulties = facts.examples.by_origin, Counter(facts.difficulty.values())
    num_pairs = facts.train.total + facts.validation.total
    num_final_pairs = facts.train.num_final + facts.validation.num_final
    return {
        "num_sft": facts.examples.total,
        "num_demonstrations": origins[DEMONSTRATION],
        "num_from_round": origins[facts.round_id],
        "num_from_earlier": facts.examples.total - origins[DEMONSTRATION] - origins[facts.round_id],
        "num_pairs": num_pairs,
        "num_inner_pairs": num_pairs - num_final_pairs,
        "num_final_pairs": num_final_pairs,
        "num_validation_pairs": facts.validation.total,
        **{f"num_{name}": difficulties[name] for name in Difficulty},
    }
