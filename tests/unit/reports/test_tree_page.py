"""A tree's page: what is lit and marked, that no text of a model runs, and that it works in a real browser."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from rstar_core.reports.tree_page import Shown, best_path, marked_by_pairs, outline, tree_page
from rstar_core.types import Node, PreferencePair, Problem, SearchTree, Step, StepKind, Terminal, TrueStates

CHROMIUM = shutil.which("chromium")
HOSTILE = "n = 1 # </script><script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">"
PROBLEM = Problem("p1", f"What is 2? {HOSTILE}", "2", 1, "made", "MIT")


def step(body: str, kind: StepKind = StepKind.CODE_END, output: str = "") -> Step:
    return Step(kind, body, output)


def leaf(parent: int, answer: str, reward: float | None, visits: int) -> Node:
    ended = step(f"\\boxed{{{answer}}}", StepKind.ANSWER)
    return Node(parent, ended, 0.0, visits, (reward or 0.0) * visits, Terminal.ANSWERED, answer, reward)


def tree(num_more: int = 0) -> SearchTree:
    """Two programs, one right and one wrong; and as many more that nobody followed."""
    nodes = [
        Node(-1, None, 0.0, 5, 1.0),
        Node(0, step(HOSTILE, output="1\n"), 0.0, 2, -2.0),
        Node(0, step("n = 2", output="2\n"), 0.0, 3, 3.0),
        leaf(1, "1", -1.0, 2),
        leaf(2, "2", 1.0, 3),
        leaf(2, "3", None, 0),
        *(Node(0, step(f"n = {number}"), 0.0, 0, 0.0) for number in range(num_more)),
    ]
    return SearchTree("p1", "r1", 0, tuple(nodes), 5, 77)


def pair(tree: SearchTree) -> PreferencePair:
    return PreferencePair("p1", "r1/0/0", (), tree.steps(2), tree.steps(1))


def test_the_best_path_leads_to_what_is_right_and_pairs_mark_their_sides() -> None:
    grown = tree()
    assert best_path(grown) == [2, 4]
    assert marked_by_pairs(grown, [pair(grown)]) == ({2}, {1})
    assert marked_by_pairs(grown, [PreferencePair("p2", "", (), grown.steps(2), grown.steps(1))]) == (set(), set())
    assert best_path(SearchTree("p1", "r1", 0, (Node(-1, None, 0.0, 0, 0.0),), 0, 0)) == []


def test_no_text_can_end_the_element_that_it_stands_in() -> None:
    page = tree_page(Shown(tree(), PROBLEM))
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert "<" not in data and json.loads(data)["nodes"][1]["body"] == HOSTILE
    assert page.count("<script") == 2 and "%(" not in page
    assert "default-src 'none'" in page and "http:" not in page and "https:" not in page


def test_the_outline_has_a_line_for_each_step_the_most_visited_first() -> None:
    lines = [line.split() for line in outline(tree())]
    assert next(line[-4:] for line in lines if line[-1] in ("right", "wrong")) == ["3", "Q", "+1.00", "right"]
    assert len(lines) == 5 and lines[0][:3] == ["n", "=", "2"]


# --- in a browser ---------------------------------------------------------------------------------------------


class Tab:
    """A page in Chromium, by its DevTools protocol; ``errors`` are what its console complains of."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._number, self.errors = socket, 0, []

    async def call(self, method: str, **params: Any) -> Any:
        self._number += 1
        await self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(await asyncio.wait_for(self._socket.recv(), 30))
            kind, told = message.get("method", ""), message.get("params", {})
            if kind == "Runtime.exceptionThrown" or told.get("entry", {}).get("level") == "error":
                self.errors.append(told)
            if message.get("id") == self._number:
                return message["result"]

    async def ask(self, expression: str) -> Any:
        return (await self.call("Runtime.evaluate", expression=expression, returnByValue=True))["result"].get("value")

    async def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key)

    async def click(self, selector: str) -> None:
        place = f"(() => {{const b = document.querySelector({selector!r}).getBoundingClientRect();"
        x, y = await self.ask(place + "return [b.x + b.width / 2, b.y + b.height / 2]})()")
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


async def look(page: Path, folder: Path) -> Tab:
    """Use the page as somebody would; asserts what must be seen."""
    from websockets.asyncio.client import connect

    flags = f"--headless --no-sandbox --disable-gpu --remote-debugging-port=0 --user-data-dir={folder}".split()
    browser = subprocess.Popen(
        [str(CHROMIUM), *flags, "--window-size=1200,700", page.as_uri()], stderr=subprocess.DEVNULL
    )
    try:
        port = folder / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not port.exists() or not port.read_text().strip():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        address = f"http://127.0.0.1:{port.read_text().split()[0]}/json/list"
        tabs = json.load(urllib.request.urlopen(address, timeout=30))
        (mine,) = [one["webSocketDebuggerUrl"] for one in tabs if one["url"].startswith("file:")]
        async with connect(mine, max_size=None) as socket:
            tab = Tab(socket)
            for domain in ("Runtime", "Log"):
                await tab.call(f"{domain}.enable")
            while await tab.ask("document.querySelectorAll('.row').length") in (None, 0):
                await asyncio.sleep(0.1)
            await use(tab)
            return tab
    finally:
        browser.kill()
        browser.wait()


async def use(tab: Tab) -> None:
    rows, here = "document.querySelectorAll('.row').length", "document.querySelector('.here .text').textContent"
    assert await tab.ask("document.title") == "r1 p1 tree 1", "no text has run"
    assert "</script>" in await tab.ask("document.getElementById('question').textContent")
    assert await tab.ask(here) == "\\boxed{2}" and await tab.ask("document.querySelectorAll('.best').length") == 2
    assert await tab.ask("document.querySelectorAll('.mark.right').length") == 2, "preferred, and right"
    await tab.click("#close")
    assert await tab.ask(rows) == 1
    await tab.press("ArrowRight")
    await tab.press("ArrowDown")
    assert await tab.ask(here) == "n = 2" and "It printed" in await tab.ask(
        "document.getElementById('detail').textContent"
    )
    assert "True value here2" in await tab.ask("document.getElementById('detail').textContent")
    started = time.monotonic()
    await tab.click("#open")
    assert await tab.ask(rows) == 1006 and time.monotonic() - started < 20
    await tab.press("/")
    assert await tab.ask("document.activeElement.id") == "search"
    box = "document.getElementById('search')"
    await tab.ask(f"{box}.value = '= 999'; {box}.dispatchEvent(new Event('input'))")
    assert await tab.ask("document.getElementById('hits').textContent") == "1 node" and await tab.ask(here) == "n = 999"
    await tab.press("Escape")
    await tab.press("b")
    assert await tab.ask(here) == "\\boxed{2}"


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_it_works_in_a_browser_without_a_complaint(tmp_path: Path) -> None:
    grown = tree(num_more=1000)
    page = tmp_path / "page.html"
    page.write_text(tree_page(Shown(grown, PROBLEM, [pair(grown)], TrueStates("p1", "print(n)", ("2",)))))
    tab = asyncio.run(look(page, tmp_path / "profile"))
    assert tab.errors == []
