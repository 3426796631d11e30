"""``policy.json``: what a policy folder is, for whoever is about to sample from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rstar_core.errors import UserError
from rstar_core.io import read_json, write_json

Prompt = Literal["zero_shot", "two_shot"]  # the names in rstar_core.cot.prompt.PROMPTS

_FILE = "policy.json"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from: hub id or local name, and what pins it; ``sha256`` is of its weights."""

    name: str
    revision: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyCard:
    """``prompt`` is the one that the policy was made for.

    ``base`` is the model that the folder's weights were trained from; null: from scratch. A folder without weights
    has a ``reference`` instead: the model to sample from as it is.
    """

    prompt: Prompt
    base: ModelSource | None = None
    reference: ModelSource | None = None


def write_policy_card(
    folder: Path, prompt: Prompt, base: ModelSource | None = None, *, reference: ModelSource | None = None
) -> None:
    """Write the card of a folder of weights (``base``) or of a ``reference``."""
    given = {"base": base, "reference": reference}
    sources = {key: asdict(source) for key, source in given.items() if source is not None}
    write_json(folder / _FILE, {"prompt": prompt, **sources})


def read_policy_card(folder: Path) -> PolicyCard:
    """The card of a policy folder.

    Raises:
        UserError: there is none, or it is not one that ``write_policy_card`` writes.
    """
    path = folder / _FILE
    fields = read_json(path)
    try:
        return _card(**fields)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: not a policy card ({error}); run the stage that makes it again") from None


def _card(prompt: Any, base: Any = None, reference: Any = None) -> PolicyCard:
    if prompt not in get_args(Prompt):
        raise ValueError(f"prompt {prompt!r} is none of {', '.join(get_args(Prompt))}")
    if base is not None and reference is not None:
        raise ValueError("both base and reference")
    return PolicyCard(prompt, _source(base), _source(reference))


def _source(fields: Any) -> ModelSource | None:
    return None if fields is None else ModelSource(**fields)
