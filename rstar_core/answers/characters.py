r"""Unicode as LaTeX: ``√13`` is ``\sqrt{13}``, ``x²`` is ``x^{2}``, ``½`` is ``\frac{1}{2}``; any script's digits."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import partial

COMMANDS = {
    "π": "pi", "∞": "infty", "≤": "le", "⩽": "le", "≦": "le", "≥": "ge", "⩾": "ge", "≧": "ge", "≠": "ne", "×": "times",
    "·": "cdot", "⋅": "cdot", "∙": "cdot", "÷": "div", "±": "pm", "∓": "mp", "∪": "cup", "∩": "cap", "∈": "in",
    "∉": "notin", "∅": "emptyset", "ℝ": "mathbb{R}", "ℤ": "mathbb{Z}", "ℕ": "mathbb{N}", "ℚ": "mathbb{Q}",
    "ℂ": "mathbb{C}", "∖": "setminus", "≈": "approx", "≡": "equiv", "∠": "angle", "△": "triangle", "⌊": "lfloor",
    "⌋": "rfloor", "⌈": "lceil", "⌉": "rceil", "…": "ldots", "⋯": "cdots", "α": "alpha", "β": "beta", "γ": "gamma",
    "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta", "κ": "kappa", "λ": "lambda", "μ": "mu",
    "ν": "nu", "ξ": "xi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi", "ϕ": "phi", "χ": "chi", "ψ": "psi",
    "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi",
    "Ω": "Omega",
}  # fmt: skip
PLAIN = {"−": "-", "–": "-", "‐": "-", "‑": "-", "⁄": "/", "∕": "/", "′": "'", "’": "'", "∗": "*", "°": r"^{\circ}"}
RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋ₙ", "0123456789+-n", strict=True))
SPECIAL = re.compile(r"[^\x00-\x7f]")
RUNS = (
    (re.compile(f"[{''.join(RAISED)}]+"), "^", RAISED),
    (re.compile(f"[{''.join(LOWERED)}]+"), "_", LOWERED),
)
ROOT = re.compile(r"([√∛∜])\s*(\d+(?:\.\d+)?|[A-Za-z]|\((?:[^()]|\([^()]*\))*\))")
DEGREES = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}
# A backslash that a JSON reader took with the letter after it for a control character, or that was lost.
SWALLOWED = re.compile(
    r"([\a\b\t\f\r\v])(?=(?:rac|inom|oxed|egin|ext|imes|heta|ight|ho|lpha|pprox|au|an|eta|orall)(?![a-z]))"
)
DOUBLED = re.compile(r"\\\\(?=[A-Za-z])")  # of a text that was escaped twice
CONTROL = dict(zip("\a\b\t\f\r\v", "abtfrv", strict=True))
LOST = re.compile(r"(?<![A-Za-z\\])(?:[dt]?(?P<rac>rac)|(?P<name>[dt]?frac|sqrt|binom|text|mathrm))(?=\{)")


def with_backslashes(text: str) -> str:
    r"""``text`` with the backslashes that were lost: ``frac{1}{2}``, ``rac{1}{2}``, a form feed before ``rac``."""
    if r"\\" in text and r"\begin" not in text:
        text = DOUBLED.sub("\\\\", text)
    if not text.isprintable():
        text = SWALLOWED.sub(lambda match: "\\" + CONTROL[match[1]], text)
    if "{" not in text:
        return text
    return LOST.sub(lambda match: r"\frac" if match["rac"] else f"\\{match['name']}", text)


def in_latex(text: str) -> str:
    """``text`` with LaTeX in place of what is not ASCII, as far as it is known; nothing for what can't be seen."""
    if text.isascii():
        return text
    for run, mark, meanings in RUNS:
        text = run.sub(partial(_run, mark, meanings), text)
    text = ROOT.sub(_root, text)
    return SPECIAL.sub(lambda match: _plain(match.group()), text)


def _run(mark: str, meanings: Mapping[str, str], match: re.Match[str]) -> str:
    return f"{mark}{{{''.join(meanings[character] for character in match.group())}}}"


def _root(match: re.Match[str]) -> str:
    inside = match[2][1:-1] if match[2][0] == "(" else match[2]
    return f"{DEGREES[match[1]]}{{{inside}}}"


def _plain(character: str) -> str:
    if character in PLAIN:
        return PLAIN[character]
    if character in COMMANDS:
        return f"\\{COMMANDS[character]} "
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    if unicodedata.category(character) == "Cf":
        return ""
    top, slash, bottom = unicodedata.normalize("NFKC", character).partition("⁄")
    if slash and top.isdigit() and bottom.isdigit():
        return rf"\frac{{{top}}}{{{bottom}}}"
    return character
