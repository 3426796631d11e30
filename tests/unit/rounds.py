"""The smallest round, for tests of stages that are given one."""

from rstar_core.config import Round

ROUND = Round.model_validate(
    {
        **{"from": "r0", "guide": "terminal", "num_candidates": 1, "num_rollouts": 1, "num_trees": 1},
        **{"extra_rollouts": 0, "mixed_rollouts": 0, "has_ppm": True, "num_system_problems": None},
    }
)
