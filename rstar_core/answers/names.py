r"""Which letters are a variable, which a name, and which a word.

Two letters or more in a row are a known function, a product of a few small letters (``2xy``), a name of capitals
(``2AB``), or a word that nobody can compute with. math-verify takes any of them for a product and small and capital
letters for the same: so it only gets texts in which every name is one letter of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

FUNCTIONS = frozenset(
    "sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan arccot arcsec arccsc asin acos atan ln log lg exp "
    "sqrt abs min max gcd lcm mod det deg dim ker lim sup inf floor ceil round sgn sign tr rank var cov re im arg "
    "cis erf vol area perimeter frac pi oo nan".split()
)
WORDS = frozenset(
    "is or and not no yes if of to in on at by be as am pm an the for all any its it we he so than then one two six "
    "ten per rad mm cm km kg mg ml ft yd hr day cup pie".split()
)
MAX_VARIABLES = 3  # in a row; more are a word


def is_beside(characters: str, start: int, end: int, text: str) -> bool:
    """Does one of ``characters`` stand right before ``start`` or after ``end``? Of brackets only after."""
    after, before = text[end : end + 1], text[max(0, start - 1) : start]
    return (after != "" and after in characters) or (before == " " and " " in characters)


def is_run_of_variables(letters: str, start: int, text: str) -> bool:
    """Is each of ``letters``, which stand at ``start`` in ``text``, a variable of its own?"""
    if len(letters) == 1:
        return True
    if letters.lower() in FUNCTIONS or letters.lower() in WORDS or letters.isupper():
        return False
    if len(letters) > (MAX_VARIABLES if letters.islower() else 2):
        return False
    return not is_beside(" " if len(letters) == 2 else " (", start, start + len(letters), text)


# --- for math-verify ------------------------------------------------------------------------------------------

SMALL_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi rho sigma tau phi chi psi omega".split()
)
BIG_GREEK = "Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega".split()
GREEK = frozenset(SMALL_GREEK + BIG_GREEK)
COMMANDS = frozenset(
    "frac sqrt pi sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan arccot ln log lg exp cdot times div "
    "pm mp le ge lt gt ne neq infty cup cap setminus emptyset in notin binom sum prod int lim to circ lfloor rfloor "
    "lceil rceil min max gcd begin end mathbb lvert rvert vert rightarrow".split()
)
SPARE = [rf"\{name}" for name in SMALL_GREEK if name not in ("lambda", "epsilon", "zeta", "eta")]
_INDEX = r"(?:_(?:[A-Za-z0-9]|\{[A-Za-z0-9,+-]*\}))"
TOKEN = re.compile(
    r"\\(?:begin|end)\{[A-Za-z*]+\}(?:\{[lcr|]*\})?|\\mathbb\{[A-Z]\}|\\text\{ ?(?:and|or) ?\}"
    rf"|(?P<greek>\\(?:{'|'.join(sorted(GREEK))})(?![A-Za-z]){_INDEX}?)|\\(?P<command>[A-Za-z]+)"
    rf"|\\[{{}}|\\]|(?P<run>[A-Za-z]+)(?P<index>{_INDEX}?)|(?P<other>[^A-Za-z\\])",
    re.ASCII,
)
REFUSED = re.compile(r"['\"?@#~`$;%]|\.\.|[^\x20-\x7e]")


def in_single_letters(first: str, second: str) -> tuple[str, str] | None:
    """The normalised texts with every name as one small letter, the same in both; None where a word is left."""
    texts = (first, second)
    if any(map(REFUSED.search, texts)):
        return None
    tokens = [list(_tokens(text)) for text in texts]
    kinds = [{kind for kind, _ in row} for row in tokens]
    if any("word" in some or ("=" in text and "name" not in some) for some, text in zip(kinds, texts, strict=True)):
        return None
    names = sorted({name for row in tokens for kind, name in row if kind == "name"})
    if _has_anagrams(names):
        return None
    renamed = _renamed(names)
    if renamed is None:
        return None
    return _written(tokens[0], renamed), _written(tokens[1], renamed)


def _has_anagrams(names: list[str]) -> bool:
    """AB and BA are the same segment, the same product, or neither."""
    sorts = ["".join(sorted(name)) for name in names if len(name) > 1 and name.isalpha()]
    return len(set(sorts)) < len(sorts)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """(kind, text): a name, a word, or what stays as it is."""
    end = 0
    for match in TOKEN.finditer(text):
        if match.start() != end:
            yield "word", text[end : match.start()]
        end = match.end()
        if match["greek"]:
            yield "name", match.group()
        elif match["command"]:
            yield "rest" if match["command"] in COMMANDS else "word", match.group()
        elif match["run"]:
            yield from _run(match, text)
        else:
            yield "rest", match.group()
    if end != len(text):
        yield "word", text[end:]


def _run(match: re.Match[str], text: str) -> Iterator[tuple[str, str]]:
    letters, index = match["run"], match["index"]
    if letters in ("or", "and"):
        yield "rest", match.group()
    elif is_run_of_variables(letters, match.start("run"), text):
        for letter in letters[:-1]:
            yield "name", letter
        yield "name", letters[-1] + index
    elif letters.isupper() and not is_beside(" (", match.start(), match.end(), text):
        yield "name", match.group()
    else:
        yield "word", match.group()


def _renamed(names: list[str]) -> dict[str, str] | None:
    """A small letter for each name: its own where nothing else could be meant, else one that is free."""
    own = {name for name in names if _stays(name)}
    free = iter(spare for spare in SPARE if spare not in names)
    found = {name: name for name in own}
    for name in names:
        if name in own:
            continue
        small = name.lower()
        if len(name) == 1 and small not in names and small not in found.values() and small not in "ied":
            found[name] = small
            continue
        spare = next(free, None)
        if spare is None:
            return None
        found[name] = spare
    return found


def _stays(name: str) -> bool:
    return name.islower() and (len(name) == 1 or name[1:2] == "_" or name[1:] in SMALL_GREEK)


ENDS_IN_COMMAND = re.compile(r"\\[A-Za-z]+$")


def _written(row: list[tuple[str, str]], renamed: dict[str, str]) -> str:
    text = ""
    for kind, token in row:
        token = renamed[token] if kind == "name" else token
        text += f" {token}" if token[:1].isalpha() and ENDS_IN_COMMAND.search(text) else token
    return text
