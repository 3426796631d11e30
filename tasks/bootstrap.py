"""Demonstrations -> r0: the policy that the first round starts from, and the base model that every round trains."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstar_core.config import Bootstrap, FewShot, Finetune, FromScratch, SandboxLimits, Seed
from rstar_core.cot.prompt import zero_shot
from rstar_core.curation.demonstrations import Checked, check_demonstrations
from rstar_core.errors import UserError
from rstar_core.io import digest, read_demonstrations, write_curve, write_pairs, write_sft_examples
from rstar_core.journal.checkpoints import checkpoint_folder
from rstar_core.journal.key import journal_key
from rstar_core.machine.threads import keep_threads_awake
from rstar_core.policy.folder import load_named, save_policy, save_reference, source_of
from rstar_core.policy.model import new_model
from rstar_core.policy.tokenizer import train_tokenizer
from rstar_core.policy.understanding import share_written
from rstar_core.ppm.model import write_null_ppm
from rstar_core.seeds import derived_seed
from rstar_core.store.publishing import publish_folder
from rstar_core.training.sft import TrainingReport, train_on_examples
from rstar_core.types import SftExample

NUM_NAMED = 3  # of the demonstrations that are left out


@dataclass(frozen=True, slots=True)
class Trained:
    """What was trained to make r0."""

    num_parameters: int
    vocab_size: int
    report: TrainingReport
    written_apart: float | None


def bootstrap(
    *,
    demonstrations: Path,
    base: Path,
    policy: Path,
    ppm: Path,
    sft: Path,
    pairs: Path,
    curve: Path,
    seed: Seed,
    bootstrap: Bootstrap,
    sandbox: SandboxLimits,
) -> dict[str, Any]:
    """Make r0, which later rounds treat like any round: a policy, a null PPM, SFT examples and no pairs.

    A demonstration counts if its program, run in the sandbox, prints the problem's answer. Recipes: ``from_scratch``
    trains a tokenizer and a model, and r0 is the base model too; ``finetune`` trains a pretrained base model;
    ``few_shot`` trains nothing: ``policy`` and ``base`` refer to models.

    A share of the demonstrations is kept apart, from this and every later training, and tells how much r0 has
    understood: ``written_apart`` is the share of them that it would write word for word.

    Metrics: ``num_sft`` examples, ``num_apart``, ``num_left_out`` of the first (longer than ``max_length``),
    ``num_left_out_demonstrations`` (program and answer disagree), ``num_parameters``, ``vocab_size``, ``num_tokens``
    over all epochs, ``final_loss`` (as last logged: a mean over up to 5 steps), ``written_apart``; null where nothing
    was trained.

    Raises:
        UserError: an input is missing or unreadable, or a recipe that trains has no example, or none that fits, or r0
            has understood less than it must (``min_written_apart``).
    """
    checked, level = asyncio.run(check_demonstrations(read_demonstrations(demonstrations), sandbox))
    report_left_out(checked)
    every = [one.example for one in checked if one.example is not None]
    apart = kept_apart(every, bootstrap, seed)
    examples = [example for example in every if example not in apart]
    keep_threads_awake()
    key = journal_key("bootstrap", "r0", (demonstrations,), {"seed": seed, "bootstrap": bootstrap, "sandbox": sandbox})
    with checkpoint_folder(key) as scratch:
        trained = make_models(bootstrap, Examples(examples, apart), seed, base, policy, scratch)
        write_curve(curve, trained.report.curve if trained else [])
    with publish_folder(sft) as folder:
        write_sft_examples(folder / "train.parquet", examples)
        (folder / "card.md").write_text(
            sft_card(checked, len(apart), {str(demonstrations): digest(demonstrations)}), "utf-8"
        )
    write_no_pairs(pairs)
    with publish_folder(ppm) as folder:
        write_null_ppm(folder)
    counts = {
        "num_sft": len(examples),
        "num_apart": len(apart),
        "num_left_out_demonstrations": len(checked) - len(every),
    }
    timings = {"tokens/s": round(trained.report.tokens_per_second, 1)} if trained else {}
    return {**counts, **_training_metrics(trained, len(examples)), "timings": {**timings, "sandbox": level}}


def _training_metrics(trained: Trained | None, num_sft: int) -> dict[str, Any]:
    if trained is None:
        names = ("num_left_out", "num_parameters", "vocab_size", "num_tokens", "final_loss", "written_apart")
        return dict.fromkeys(names)
    report = trained.report
    return {
        "num_left_out": num_sft - report.num_examples,
        "num_parameters": trained.num_parameters,
        "vocab_size": trained.vocab_size,
        "num_tokens": report.num_tokens,
        "final_loss": report.curve[-1]["loss"],
        "written_apart": trained.written_apart,
    }


def report_left_out(checked: Sequence[Checked]) -> None:
    left_out = [one for one in checked if one.example is None]
    if left_out:
        named = "; ".join(f"{one.problem.id}: {one.doubt}" for one in left_out[:NUM_NAMED])
        more = "; ..." if len(left_out) > NUM_NAMED else ""
        print(f"left out {len(left_out)} of {len(checked)} demonstrations: {named}{more}", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class Examples:
    """What a policy is trained on, and what tells whether it has understood it."""

    trained_on: Sequence[SftExample]
    apart: Sequence[SftExample]


def kept_apart(examples: Sequence[SftExample], bootstrap: Bootstrap, seed: int) -> list[SftExample]:
    """The share of ``examples`` that no training sees, drawn by problem."""
    if isinstance(bootstrap.model, FewShot):
        return []
    share = bootstrap.model.kept_apart
    return [one for one in examples if derived_seed(seed, "kept apart", one.question.id) < share * 2**63]


def make_models(
    bootstrap: Bootstrap, examples: Examples, seed: Seed, base: Path, policy: Path, scratch: Path
) -> Trained | None:
    """Publish the policy and the base model by the recipe; what was trained, if anything."""
    recipe = bootstrap.model
    if isinstance(recipe, FewShot):
        save_reference(policy, "two_shot", source_of(recipe.policy))
        save_reference(base, "zero_shot", source_of(recipe.base))
        return None
    if not examples.trained_on:
        raise UserError(
            f"bootstrap: recipe '{recipe.recipe}' needs demonstrations whose programs print their answers, and there "
            "is none; add a source with split 'demonstrations' to ingest.sources"
        )
    if isinstance(recipe, FromScratch):
        return train_from_scratch(recipe, examples, seed, base, policy, scratch)
    return finetune(recipe, examples, seed, base, policy, scratch)


def train_from_scratch(
    recipe: FromScratch, examples: Examples, seed: Seed, base: Path, policy: Path, scratch: Path
) -> Trained:
    """A tokenizer and a model for the demonstrations; the same weights are the base model of later rounds."""
    texts = (zero_shot(example.question, example.steps) for example in examples.trained_on)
    size = recipe.architecture
    tokenizer = train_tokenizer(texts, size.vocab_size, size.max_position_embeddings)
    model = new_model(size, tokenizer, seed)
    trained = train(recipe, model, tokenizer, examples, seed, scratch)
    for folder in (policy, base):
        save_policy(folder, model, tokenizer, None)
    return trained


def finetune(recipe: Finetune, examples: Examples, seed: Seed, base: Path, policy: Path, scratch: Path) -> Trained:
    """The pretrained base model, trained on the demonstrations; the base folder only refers to it."""
    model, tokenizer, source = load_named(recipe.base)
    trained = train(recipe, model, tokenizer, examples, seed, scratch)
    save_policy(policy, model, tokenizer, source)
    save_reference(base, "zero_shot", source)
    return trained


def train(
    recipe: FromScratch | Finetune, model: Any, tokenizer: Any, examples: Examples, seed: int, scratch: Path
) -> Trained:
    """Train ``model`` in place, and look how much of it was understood.

    Raises:
        UserError: less than it must be; what no round can start from is not published.
    """
    report = train_on_examples(model, tokenizer, examples.trained_on, recipe.training, seed, scratch)
    written = share_written(model, tokenizer, examples.apart)
    if written is not None and written < recipe.min_written_apart:
        raise UserError(
            f"bootstrap: r0 would write {written:.0%} word for word of the demonstrations kept apart, "
            f"less than bootstrap.model.min_written_apart, {recipe.min_written_apart:.0%}, so it has not "
            "understood the others. More demonstrations help most (num_per_level), then more epochs, then another seed"
        )
    return Trained(model.num_parameters(), len(tokenizer), report, written)


def write_no_pairs(pairs: Path) -> None:
    with publish_folder(pairs) as folder:
        for name in ("train", "validation"):
            write_pairs(folder / f"{name}.parquet", [])
        (folder / "card.md").write_text("# Preference pairs of r0\n\nNone: pairs come from search.\n", "utf-8")


def sft_card(checked: Sequence[Checked], num_apart: int, parents: Mapping[str, str]) -> str:
    """Counted facts as Markdown; ``parents`` are the sha256 of what the examples were made from, by path."""
    kept = [one.problem for one in checked if one.example is not None]
    levels = Counter(problem.level for problem in kept)
    sources = Counter(f"{problem.source} ({problem.license})" for problem in kept)
    return "\n".join(
        [
            "# SFT examples of r0",
            "",
            f"{len(kept)} demonstrations whose programs were run and print the answer; {len(checked) - len(kept)} "
            f"others were left out. {num_apart} of the {len(kept)} are kept apart and not in this set.",
            *_listed("By level", {f"level {level}": levels[level] for level in sorted(levels)}),
            *_listed("By source", dict(sorted(sources.items()))),
            *_listed("Made from (sha256)", parents),
            "",
        ]
    )


def _listed(title: str, facts: Mapping[str, object]) -> list[str]:
    return ["", f"## {title}", "", *(f"- {name}: {value}" for name, value in facts.items())]
