"""What looks wrong with a problem that comes in all the same: each doubt is a line for the report. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rstar_core.answers.characters import LOST, SWALLOWED, with_backslashes
from rstar_core.answers.extract import BOXES, WORDS
from rstar_core.cot.grammar import MARKERS

# A sloppy writer of JSON leaves one backslash before a command: \frac is read as a form feed and "rac".
_LOST = {"\f": r"\f", "\b": r"\b", "\t": r"\t", "\r": r"\r", "\v": r"\v", "\n": r"\n"}
_LOST_COMMAND = re.compile(
    r"[\f\b\v]|\t(?=(?:heta|imes|ext|an|au|riangle|frac)\b|ext\{)|\r(?=(?:ight|ho|angle)\b)"
    r"|\n(?=(?:u|eq|e|abla|ot|otin|ewline|mid|parallel)(?![a-z]))"
)
_OTHER_CONTROL = re.compile(r"[\x00-\x07\x0e-\x1f\x7f]")
_ANSWER_IS = re.compile(r"\banswer(?: is|:)\s*\$?", re.I)
_GOES_ON = re.compile(r"\w|\.\d")
_FIGURE = re.compile(
    r"\[asy\]|(?:figure|diagram|picture|graph) (?:below|above|shown)|shown (?:below|above|in the (?:figure|diagram))",
    re.IGNORECASE,
)
_BOX = re.compile(r"\\boxed\s*(\{?)")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?|-?\.\d+")
_TAIL = re.compile(r"(?:heta|imes|eta|rac|ext|ho|ight|lpha|u|eq|abla)\b.{0,40}")
_MAX_WORDS = 5  # of an answer: "3 hours and 20 minutes" has fewer, a sentence more
_NUM_AROUND = 12


_PROOF = re.compile(r"^\W*(?:prove|show|verify|demonstrate|justify)\b(?! (?:me|us|your work|all))", re.I)
_NO_PROBLEM = re.compile(
    r"^\W*(?:re-?write|translate|summari[sz]e|proofread|paraphrase|rephrase|continue|copy|repeat|format) "
    r"(?:the |this |these |that |my |your |it\b)", re.I
)  # fmt: skip
_ROUNDED = re.compile(r"\b(?:round|nearest|decimal places?|significant (?:figures|digits))", re.I)
_COUNTED = re.compile(r"\bhow many\b", re.I)
_BELOW_ZERO = re.compile(r"^-\s*\d")
_MAY_BE_NEGATIVE = re.compile(r"\b(?:degrees?|temperature|below|negative|integers?|change|units?)\b", re.I)
_OPTION = re.compile(r"(?:^|[\s(])\(?[A-E][).:]", re.M)
_DIGITS_BEYOND = re.compile(r"\.\d{6,}")


def doubts(text: str, answer: str, solution: str) -> list[str]:
    """What a person should look at, each by one short reason; ``solution`` may be empty."""
    return [*_of_text(text, answer), *_of_answer(answer), *_of_solution(solution, answer)]


def _of_text(text: str, answer: str) -> Iterator[str]:
    if lost := _LOST_COMMAND.search(text):
        read = ascii(text[lost.start() : lost.start() + _NUM_AROUND])
        meant = _LOST[lost.group()] + text[lost.end() : lost.end() + _NUM_AROUND - 1].partition("\n")[0]
        yield f"a lost backslash: {read} may be {meant}"
    if _OTHER_CONTROL.search(text):
        yield "a control character in the text"
    if _FIGURE.search(text):
        yield "a figure that is not here"
    if _tells(text, answer):
        yield "the text tells the answer"
    if len(re.findall(r"\w+", text)) < 2:
        yield "hardly a text"
    if any(marker in text for marker in MARKERS):
        yield "a marker of our solutions in the text"
    if _PROOF.search(text):
        yield "a proof task"
    if _NO_PROBLEM.search(text):
        yield "an instruction, no problem"
    if re.fullmatch("[A-E]", answer) and not _OPTION.search(text):
        yield "a letter for an answer, and no options in the text"
    if _COUNTED.search(text) and _BELOW_ZERO.match(answer) and not _MAY_BE_NEGATIVE.search(text):
        yield "a negative count"
    if _ROUNDED.search(text) and _DIGITS_BEYOND.search(answer):
        yield "a rounded value is asked for, and the answer has many places"


def _tells(text: str, answer: str) -> bool:
    """Does "the answer is", or the like, and the answer itself stand in ``text``?"""
    ends = [match.end() for match in _ANSWER_IS.finditer(text)]
    said = [end for end in ends if text[end : end + len(answer)].casefold() == answer.casefold()]
    return any(not _GOES_ON.match(text, end + len(answer)) for end in said)


def _of_answer(answer: str) -> Iterator[str]:
    if lost := SWALLOWED.search(answer):
        yield f"a lost backslash in the answer: {answer[lost.start() : lost.start() + _NUM_AROUND]!a}"
    elif LOST.search(answer):
        yield f"a lost backslash in the answer: {answer[:_NUM_AROUND]!a} may be {with_backslashes(answer)}"
    elif _TAIL.fullmatch(answer):
        yield f"a lost backslash in the answer: {answer!a}"
    boxes = _BOX.findall(answer)
    if len(boxes) > 1:
        yield "several boxes in the answer"
    if "" in boxes:
        yield "a box without braces in the answer"
    if len(WORDS.findall(answer)) > _MAX_WORDS:
        yield "prose in the answer"


def _of_solution(solution: str, answer: str) -> Iterator[str]:
    """The last line of one with calculator annotations (GSM8K) should come to the answer; proofs end otherwise."""
    if len(set(BOXES.findall(solution))) > 1:
        yield "several boxes in the solution"
    if "<<" not in solution:
        return
    last = solution.strip().rpartition("\n")[2]
    numbers = {_plain(number) for number in _NUMBER.findall(last)}
    if numbers and _NUMBER.fullmatch(answer) and _plain(answer) not in numbers:
        yield "the solution ends in another value"


def _plain(number: str) -> str:
    bare = number.replace(",", "")
    return (bare.rstrip("0").rstrip(".") if "." in bare else bare).removeprefix("0") or "0"
