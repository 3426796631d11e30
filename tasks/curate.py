"""A round's verified search results + earlier rounds' data -> SFT set and preference pairs (paper 3.2 and 3.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rstar_core.config import Curate, Seed
from rstar_core.curation.evidence import Difficulty, difficulty, read_evidence
from rstar_core.curation.mix import mix_examples, mix_pairs, split
from rstar_core.curation.pairs import is_final, split_by_problem
from rstar_core.io import (
    digest,
    read_pairs,
    read_problems,
    read_sft_examples,
    write_pairs,
    write_sft_examples,
)
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
    evidence = read_evidence(its_problems, trees, trajectories)
    held_out = split_by_problem((problem.id for problem in its_problems), curate.validation_fraction, seed)
    seen = [problem for problem in its_problems if problem.id not in held_out]
    examples = mix_examples(round_id, seen, evidence, read_sft_examples(earlier_sft / "train.parquet"), seed, curate)
    earlier = [pair for name in ("train", "validation") for pair in read_pairs(earlier_pairs / f"{name}.parquet")]
    train, validation = split(mix_pairs(round_id, its_problems, evidence, earlier, seed, curate), held_out)
    facts = Facts(
        round_id=round_id,
        problems=its_problems,
        trajectories=[one for its in evidence.values() for one in its.trajectories],
        difficulty={problem_id: difficulty(its) for problem_id, its in evidence.items()},
        parents={str(path): digest(path) for path in (problems, trees, trajectories, earlier_sft, earlier_pairs)},
    )
    with publish_folder(sft) as folder:
        write_sft_examples(folder / "train.parquet", examples)
        (folder / "card.md").write_text(sft_card(facts, examples), encoding="utf-8")
    with publish_folder(pairs) as folder:
        write_pairs(folder / "train.parquet", train)
        write_pairs(folder / "validation.parquet", validation)
        (folder / "card.md").write_text(pairs_card(facts, train, validation), encoding="utf-8")
    return _metrics(facts, examples, train, validation)


def _metrics(
    facts: Facts,
    examples: Sequence[SftExample],
    train: Sequence[PreferencePair],
    validation: Sequence[PreferencePair],
) -> dict[str, int]:
    origins = Counter(example.origin for example in examples)
    difficulties = Counter(facts.difficulty.values())
    num_final_pairs = sum(map(is_final, [*train, *validation]))
    return {
        "num_sft": len(examples),
        "num_demonstrations": origins[DEMONSTRATION],
        "num_from_round": origins[facts.round_id],
        "num_from_earlier": len(examples) - origins[DEMONSTRATION] - origins[facts.round_id],
        "num_pairs": len(train) + len(validation),
        "num_inner_pairs": len(train) + len(validation) - num_final_pairs,
        "num_final_pairs": num_final_pairs,
        "num_validation_pairs": len(validation),
        **{f"num_{name}": difficulties[name] for name in Difficulty},
    }
