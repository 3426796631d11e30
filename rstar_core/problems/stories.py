"""Multi-step word problems of our own: the embedded default's training and held-out problems, levels 1 to 6.

A story is a diary of a pile: a day on which it starts and then ``level`` days with one event each, no kind twice; some
stories carry a sentence that changes nothing. Each event is one of ``EVENTS``; several kinds read alike but compute
differently ("grows to 3 times its size" and "grows by 3 times its size"), so that a wrong step runs without an error.
The program has one step per day: the day's sentence as a comment, so that a step carries what it claims, and one line.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

from rstar_core.problems.identity import problem_id
from rstar_core.types import Demonstration, Problem, TrueStates

SOURCE = "stories"
LICENSE = "MIT"
_MAX_VALUE = 2000

_NAMES = ("Mia Tom Ana Ben Eva Leo Ida Max Zoe Sam Amy Jon Kim Lea Dan Ella Finn Nora Omar Ravi").split()
_ITEMS = ("apples pears plums coins cards books shells stamps marbles pencils cookies buttons").split()
_AMOUNTS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50, 60, 70, 80, 90)
_PERCENTS = (10, 20, 25, 30, 40, 50, 60, 75, 80)

Numbers = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of operation. ``draw`` picks numbers that keep the story whole-numbered, or None if none fit.

    ``code`` is the program line; it and the phrasings take the numbers as ``{0}``, ``{1}``.
    """

    name: str
    code: str
    value: Callable[..., int]
    draw: Callable[[random.Random, int], Numbers | None]
    phrasings: tuple[str, ...]


Drawn = tuple[Event, Numbers]
PROBE = "print(n)"  # shows a program's state


@dataclass(frozen=True, slots=True)
class Story:
    """A problem, its worked program, and the true amount after each of its steps."""

    demonstration: Demonstration
    states: TrueStates


def _amount(rng: random.Random, n: int) -> Numbers:
    return (rng.choice(_AMOUNTS),)


def _part(rng: random.Random, n: int) -> Numbers | None:
    fits = [a for a in _AMOUNTS if a < n]
    return (rng.choice(fits),) if fits else None


def _factor(rng: random.Random, n: int) -> Numbers:
    return (rng.randint(2, 6),)


def _divisor(rng: random.Random, n: int) -> Numbers | None:
    fits = [k for k in range(2, 10) if n % k == 0 and n > k]
    return (rng.choice(fits),) if fits else None


def _packs(rng: random.Random, n: int) -> Numbers:
    return (rng.randint(2, 9), rng.randint(2, 10))


def _packs_out(rng: random.Random, n: int) -> Numbers | None:
    fits = [(k, a) for k in range(2, 10) for a in range(2, 11) if k * a < n]
    return rng.choice(fits) if fits else None


def _percent(rng: random.Random, n: int) -> Numbers | None:
    fits = [p for p in _PERCENTS if n * p % 100 == 0]
    return (rng.choice(fits),) if fits else None


EVENTS: tuple[Event, ...] = (
    Event(
        "gain", "n = n + {0}", lambda n, a: n + a, _amount,
        ("finds {0} more", "gets {0} from {o}", "takes in {0} extra"),
    ),
    Event(
        "lose", "n = n - {0}", lambda n, a: n - a, _part,
        ("sells {0}", "hands {0} to {o}", "throws {0} out"),
    ),
    Event(
        "multiply", "n = n * {0}", lambda n, k: n * k, _factor,
        ("has {0} times as many", "the pile grows to {0} times its size", "makes it {0} times the pile"),
    ),
    Event(
        "add_multiple", "n = n + n * {0}", lambda n, k: n + n * k, _factor,
        ("earns {0} more for each", "the pile grows by {0} times its size", "adds {0} times the pile"),
    ),
    Event(
        "keep_share", "n = n // {0}", lambda n, k: n // k, _divisor,
        ("keeps one of {0} equal shares", "shares with others, {0} people in all", "is left with one part in {0}"),
    ),
    Event(
        "give_share", "n = n - n // {0}", lambda n, k: n - n // k, _divisor,
        ("gives away one of {0} equal shares", "drops one of {0} equal shares", "parts with one part in {0}"),
    ),
    Event(
        "packs_in", "n = n + {0} * {1}", lambda n, k, a: n + k * a, _packs,
        ("buys {0} bags of {1}", "opens {0} boxes of {1}", "collects {0} trays of {1}"),
    ),
    Event(
        "packs_out", "n = n - {0} * {1}", lambda n, k, a: n - k * a, _packs_out,
        ("ships {0} bags of {1}", "returns {0} boxes of {1}", "delivers {0} trays of {1}"),
    ),
    Event(
        "percent_gain", "n = n + n * {0} // 100", lambda n, p: n + n * p // 100, _percent,
        ("gains {0} percent", "the pile swells by {0} percent", "has {0} percent more"),
    ),
    Event(
        "percent_of", "n = n * {0} // 100", lambda n, p: n * p // 100, _percent,
        ("saves {0} percent", "the pile shrinks to {0} percent", "has only {0} percent of it"),
    ),
    Event(
        "percent_loss", "n = n - n * {0} // 100", lambda n, p: n - n * p // 100, _percent,
        ("loses {0} percent", "the pile shrinks by {0} percent", "has {0} percent fewer"),
    ),
    Event(
        "together_more", "n = n + n + {0}", lambda n, a: n + n + a, _amount,
        ("gets as many again and {0} more", "doubles the pile and adds {0}", "takes the same again plus {0}"),
    ),
    Event(
        "together_fewer", "n = n + n - {0}", lambda n, a: n + n - a, _part,
        ("gets as many again but {0} fewer", "doubles the pile and spends {0}", "takes the same again minus {0}"),
    ),
)  # fmt: skip

_ASIDES = ("{o} has {0} {j}.", "A bag of {j} costs {0}.", "{o} is {0} years old.")
_QUESTIONS = ("How many {i} does {p} have now?", "How many {i} are there in the end?", "What is left with {p}?")
_STARTS = ("starts with {0}", "counts {0} of them", "there are {0}")
_INTROS = ("The diary of {p} on {i}.", "{p} collects {i}.", "{p} trades in {i}.")
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def generate_stories(levels: Sequence[int], num_per_level: int, seed: int) -> Iterator[Story]:
    """``num_per_level`` stories for each level. The same arguments give the same."""
    for level in levels:
        for index in range(num_per_level):
            yield _story(random.Random(f"{seed}/{level}/{index}"), level)


def _story(rng: random.Random, level: int) -> Story:
    person, other = rng.sample(_NAMES, 2)
    item, other_item = rng.sample(_ITEMS, 2)
    words = {"p": person, "o": other, "i": item, "j": other_item}
    first = rng.randrange(len(_DAYS))
    days = (_DAYS[first:] + _DAYS[:first])[: level + 1]
    start, events = _plot(rng, level)
    phrases = [rng.choice(_STARTS).format(start)]
    phrases += [rng.choice(event.phrasings).format(*numbers, **words) for event, numbers in events]
    sentences = [rng.choice(_INTROS).format(**words), *map("{}: {}.".format, days, phrases)]
    if rng.random() < 0.3:
        aside = rng.choice(_ASIDES).format(rng.choice(_AMOUNTS), **words)
        sentences.insert(rng.randint(1, len(sentences)), aside)
    text = " ".join([*sentences, rng.choice(_QUESTIONS).format(**words)])
    codes = [f"n = {start}", *(event.code.format(*numbers) for event, numbers in events)]
    steps = [f"# {day}: {phrase}\n{code}" for day, phrase, code in zip(days, phrases, codes, strict=True)]
    steps[-1] += "\nprint(n)"
    problem = Problem(problem_id(text), text, str(_end(start, events)), level, SOURCE, LICENSE)
    values = tuple(str(_end(start, events[:number])) for number in range(level + 1))
    return Story(Demonstration(problem, tuple(steps)), TrueStates(problem.id, PROBE, values))


def _plot(rng: random.Random, level: int) -> tuple[int, list[Drawn]]:
    """A start and ``level`` events of different kinds that fit: the amount stays whole, from 1 to ``_MAX_VALUE``."""
    while True:
        start = rng.randint(6, 99)
        events: list[Drawn] = []
        for event in rng.sample(EVENTS, len(EVENTS)):
            before = _end(start, events)
            numbers = event.draw(rng, before)
            if len(events) < level and numbers is not None and 1 <= event.value(before, *numbers) <= _MAX_VALUE:
                events.append((event, numbers))
        if len(events) == level:
            return start, events


def _end(start: int, events: Sequence[Drawn]) -> int:
    """The amount after all events."""
    return reduce(lambda n, drawn: drawn[0].value(n, *drawn[1]), events, start)
