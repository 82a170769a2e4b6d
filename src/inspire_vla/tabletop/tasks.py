"""A task: a sentence, the scene it is said in, and the goal that makes it true."""

import re
from dataclasses import dataclass

from inspire_vla.tabletop.predicates import Goal
from inspire_vla.tabletop.scenes import Scene


@dataclass(frozen=True)
class Task:
    """One task of a suite. Adding one takes the lines of one call.

    `mentions` pairs the words that name an object, in the order the instruction says them, with the name
    of what they refer to: a thing ("red_cube"), a place ("blue_plate") or a "…_handle".
    """

    suite: str
    scene: Scene
    instruction: str
    goal: Goal
    mentions: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Unique in its suite: scene, then instruction, in file-name letters."""
        return f"{self.scene.name}__{re.sub('[^a-z0-9]+', '_', self.instruction.lower())}"

    @property
    def words(self) -> tuple[str, ...]:
        """The mentions as written."""
        return tuple(words for words, _ in self.mentions)

    @property
    def targets(self) -> tuple[str, ...]:
        """What the mentions refer to."""
        return tuple(target for _, target in self.mentions)

    @property
    def max_steps(self) -> int:
        """Control steps an episode may take: about twice what the expert needs."""
        goals = getattr(self.goal, "goals", (self.goal,))
        return 120 * len(goals)
