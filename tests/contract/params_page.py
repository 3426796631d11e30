"""docs/params.md, made of the descriptions in rstar_core/config.py.

``python -m tests.contract.params_page`` writes it; tests/contract/test_docs.py holds that it is as written.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rstar_core.config import Params

PAGE = Path(__file__).parents[2] / "docs/params.md"
INTRODUCTION = """# params.yaml

Every scientific knob, made from the descriptions in `rstar_core/config.py` by `python -m tests.contract.params_page`.
What belongs to a machine (ports, threads, memory) is in the environment ([operations](operations.md)).

- Every key is needed, unless a default stands here. An unknown key, one that is there twice, a wrong type and an
  impossible combination are refused in one line before anything runs.
- A knob that varies by round stands under `rounds`, and nowhere else.
- A change makes those stages stale that read the section: `dvc status` names them, `make evolve` runs them again.
- `make profile PROFILE=name` replaces the file by `infra/profiles/name.yaml`; `rstar profile
  default` brings the default back.
"""


def page() -> str:
    """The whole page, as Markdown: a section of params.yaml with all places where it stands, and its keys."""
    places: dict[type[BaseModel], list[str]] = {}
    for model, place in _sections(Params, ""):
        places.setdefault(model, [])
        if place not in places[model]:
            places[model].append(place)
    return "\n".join([INTRODUCTION, *(_section(model, names) for model, names in places.items())]).rstrip() + "\n"


def _sections(model: type[BaseModel], place: str) -> Iterator[tuple[type[BaseModel], str]]:
    """``model`` and the sections below it, each with where it stands, depth first."""
    yield model, place
    for key, field in _fields(model):
        models = _models(field.annotation)
        below = f"{place.partition(' ')[0]}.{key}".lstrip(".") + (
            "." + "<name>" if get_origin(field.annotation) is dict else ""
        )
        for one in models:
            yield from _sections(one, f"{below} ({_kind(one)})" if len(models) > 1 else below)


def _section(model: type[BaseModel], places: list[str]) -> str:
    rows = [_row(key, field) for key, field in _fields(model) if not (_models(field.annotation) or _is_kind(field))]
    heading = ", ".join(places)
    about = f"{_plain(model.__doc__)}\n\n" if heading and model.__doc__ else ""
    table = "\n".join(["| key | values | |", "|---|---|---|", *rows]) + "\n" if rows else ""
    return f"## {heading or 'At the top'}\n\n{about}{table}" if table or about else ""


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a value may be, or hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _is_kind(field: FieldInfo) -> bool:
    """Whether the field only says which of several sections this is."""
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


def _kind(model: type[BaseModel]) -> str:
    """How params.yaml says that a section is this one of several: ``kind: file``."""
    return next(f"{key}: {get_args(field.annotation)[0]}" for key, field in _fields(model) if _is_kind(field))


def _row(key: str, field: FieldInfo) -> str:
    values = _values(field.annotation, field.metadata)
    default = "" if field.is_required() else f" Default: {_literal(field.get_default())}."
    return f"| `{key}` | {values} | {_plain(field.description or '')}{default} |"


def _values(annotation: Any, metadata: typing.Sequence[Any] = ()) -> str:
    """``whole number, at least 1`` and the like."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return _values(arguments[0], [part for item in arguments[1:] for part in getattr(item, "metadata", [item])])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return " or ".join("null" if one is type(None) else _values(one) for one in arguments)
    if origin is tuple:
        return f"list of {_values(arguments[0])}"
    if origin is dict:
        return f"{_values(arguments[0])}: {_values(arguments[1])}"
    name = {int: "whole number", float: "number", str: "text", bool: "`true`, `false`"}[annotation]
    bounds = [
        f"{words} {getattr(part, sign):g}"
        for part in metadata
        for sign, words in (("ge", "at least"), ("gt", "above"), ("le", "at most"))
        if getattr(part, sign, None) is not None
    ]
    return ", ".join([name, *bounds])


def _literal(value: Any) -> str:
    return "null" if value is None else f"`{value}`"


def _plain(docstring: str) -> str:
    """One line of Markdown."""
    return " ".join(docstring.split()).replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
