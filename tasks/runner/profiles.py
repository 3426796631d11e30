"""``rstar profile NAME``: make params.yaml one of infra/profiles/, and lose nothing that somebody wrote."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rstar_core.errors import UserError

PARAMS, PROFILES = Path("params.yaml"), Path("infra/profiles")
DEFAULT = "default"  # what git has as params.yaml


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="rstar profile", description="Make params.yaml one of infra/profiles/.")
    parser.add_argument("name", nargs="?", help=f"one of: {', '.join(names())}; without it, says which one it is now")
    name = parser.parse_args(argv).name
    try:
        print(f"params.yaml is now {use(name)}" if name else f"params.yaml is {current() or 'none of them'}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def names() -> list[str]:
    return [DEFAULT, *sorted(path.stem for path in PROFILES.glob("*.yaml"))]


def use(name: str) -> str:
    """Replace params.yaml by the profile; its name.

    Raises:
        UserError: there is no such profile, or params.yaml has changes that would be lost.
    """
    if name not in names():
        raise UserError(f"'{name}' is no profile; there are: {', '.join(names())}")
    if PARAMS.exists() and current() is None:
        raise UserError(
            f"{PARAMS} has changes of its own; keep it under another name, {PROFILES}/mine.yaml, "
            f"or drop them: git checkout {PARAMS}"
        )
    PARAMS.write_text(text_of(name), encoding="utf-8")
    return name


def current() -> str | None:
    """The profile that params.yaml is, if any."""
    text = PARAMS.read_text(encoding="utf-8") if PARAMS.exists() else ""
    return next((name for name in names() if _text_or_none(name) == text), None)


def text_of(name: str) -> str:
    """The profile's text.

    Raises:
        UserError: it is the default, and git has none.
    """
    if name != DEFAULT:
        return (PROFILES / f"{name}.yaml").read_text(encoding="utf-8")
    shown = subprocess.run(["git", "show", f"HEAD:./{PARAMS}"], capture_output=True, text=True)
    if shown.returncode:
        raise UserError(f"git has no {PARAMS} here, so there is no default to go back to")
    return shown.stdout


def _text_or_none(name: str) -> str | None:
    try:
        return text_of(name)
    except UserError:
        return None


if __name__ == "__main__":
    sys.exit(main())
