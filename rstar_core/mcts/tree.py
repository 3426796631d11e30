"""The search tree: an arena of nodes addressed by index, so that it freezes into a record as it stands."""

from __future__ import annotations

from dataclasses import dataclass, field

from rstar_core.types import Generation, Node, SearchTree, Step, Terminal

ROOT = 0


@dataclass(slots=True)
class LiveNode:
    """A node that still changes; ``rstar_core.types.Node`` says what its fields mean."""

    parent: int
    step: Step | None
    initial_value: float = 0.0
    num_samples: int = 1
    visit_count: int = 0
    value_sum: float = 0.0
    terminal: Terminal | None = None
    answer: str | None = None
    reward: float | None = None
    num_under_way: int = 0  # rollouts that went through here and are not backed up yet
    children: list[int] = field(default_factory=list)


class Tree:
    """Nodes in the order of their making: a child comes after its parent."""

    def __init__(self) -> None:
        self.nodes = [LiveNode(parent=-1, step=None)]
        self.num_rollouts = 0
        self.num_tokens = 0
        self.generations: list[Generation] = []  # in the order of expansion

    def __getitem__(self, index: int) -> LiveNode:
        return self.nodes[index]

    def add(self, parent: int, step: Step, initial_value: float, num_samples: int) -> int:
        """A new child; q(s)^0 is the guide's score (paper 3.2)."""
        index = len(self.nodes)
        self.nodes.append(LiveNode(parent, step, initial_value, num_samples, value_sum=initial_value))
        self.nodes[parent].children.append(index)
        return index

    def path(self, index: int) -> list[int]:
        """Indices from the root to ``index``, both included."""
        found = [index]
        while index != ROOT:
            index = self.nodes[index].parent
            found.append(index)
        return found[::-1]

    def prefix(self, index: int) -> tuple[Step, ...]:
        """The steps from the root to ``index``."""
        return tuple(step for step in (self.nodes[i].step for i in self.path(index)) if step is not None)

    def freeze(self, problem_id: str, round_id: str, tree_index: int) -> SearchTree:
        nodes = tuple(
            Node(
                parent=node.parent,
                step=node.step,
                initial_value=node.initial_value,
                visit_count=node.visit_count,
                value_sum=node.value_sum,
                terminal=node.terminal,
                answer=node.answer,
                reward=node.reward,
                num_samples=node.num_samples,
            )
            for node in self.nodes
        )
        return SearchTree(
            problem_id, round_id, tree_index, nodes, self.num_rollouts, self.num_tokens, tuple(self.generations)
        )
