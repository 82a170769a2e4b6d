"""LeRobot's own `lerobot-rollout` with our policy type, on the simulated robot of tabletop_robot.py.

    python examples/lerobot_rollout.py --policy.path=runs/inspire/checkpoints/last/pretrained_model \
        --robot.type=tabletop --task="…" --duration=20

All arguments are lerobot-rollout's. An arm that LeRobot drives needs no script at all: `lerobot-rollout` finds the
policy type by itself.
"""

import sys

import tabletop_robot  # noqa: F401  (registers --robot.type=tabletop)
from lerobot.scripts.lerobot_rollout import main

if __name__ == "__main__":
    # The tabletop moves by increments, ten times a second; there is no pose to drive back to.
    sys.argv[1:1] = ["--fps=10", "--return_to_initial_position=false", "--play_sounds=false"]
    main()
