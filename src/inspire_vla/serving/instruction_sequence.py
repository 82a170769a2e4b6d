"""Several instructions, one after the other: the model's own answers tell when the next one begins.

    tasks = InstructionSequence(*split_steps("put the red mug and the blue ball on the tray"))
    while not tasks.finished:
        decision = agent.act(observation(), tasks.instruction)      # or a client's reply
        tasks.update(decision.answers_by_mention)
        play(decision.actions)

An instruction is over when an object was "grasped" and let go again, as the answers say. Nothing of the robot has to be
known for it. The policy must have been trained with that word (`reasoning.grasped_word`, the default). Two steps in one
sentence are harder: see docs/results.md, "One step at a time".
"""

from collections.abc import Mapping
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.spatial import GRASPED


def says_grasped(reasoning: Mapping[str, Any] | None) -> bool:
    """Whether a policy says while it acts that an object is grasped, as `InstructionSequence.update` needs it.

    reasoning: from a server's metadata or `policies.describe`. None, for a server of another kind: it does not.
    """
    if not reasoning or not reasoning["enabled"] or reasoning.get("separate_questions"):
        return False
    return bool(reasoning["grasped_word"])


class InstructionSequence:
    """Says which instruction is in force.

    Args:
        instructions: in the order in which they are carried out. One without a grasp, such as "close the drawer", can
            be seen to be over only by you: call `advance`.
        held: an object counts as grasped after so many decisions in a row that say so.
        released: it counts as let go after so many decisions in a row in which nothing is grasped.

    Attributes:
        instruction: the one in force; the last one also when it is over.
        finished: whether the last one is over.

    Raises:
        InspireError: no instruction, an empty one, or numbers below 1.
    """

    def __init__(self, *instructions: str, held: int = 2, released: int = 2) -> None:
        if not instructions or not all(isinstance(text, str) and text.strip() for text in instructions):
            raise InspireError(
                f"Give at least one instruction, each a text of its own and none empty; found {list(instructions)}."
            )
        if held < 1 or released < 1:
            raise InspireError(f"held and released are 1 or more decisions; found {held} and {released}.")
        self.instructions, self.held, self.released = instructions, held, released
        self._position = 0
        self._restart()

    def _restart(self) -> None:
        self._decisions_held = self._decisions_free = 0

    @property
    def instruction(self) -> str:
        return self.instructions[min(self._position, len(self.instructions) - 1)]

    @property
    def finished(self) -> bool:
        return self._position == len(self.instructions)

    def update(self, answers: Mapping[str, str] | None = None, *, holding: bool | None = None) -> bool:
        """Take a decision. Return whether the instruction in force is over by it.

        Args:
            answers: those of a decision about the instruction in force, {mention: answer}. A reply that was still on
                its way when the instruction changed is none; a `ChunkPlayer` drops it.
            holding: whether the gripper holds something, as your robot knows it; then the answers are not read. So a
                base model, which gives none, can be used as well.

        Raises InspireError where there is neither.
        """
        if holding is None:
            if not answers:
                raise InspireError(
                    "This decision has no answers, so they cannot tell when an instruction is over. A base model gives "
                    "none. Give `holding`, whether the gripper holds something, or call `advance` yourself."
                )
            holding = GRASPED in answers.values()
        if holding:
            self._decisions_held, self._decisions_free = self._decisions_held + 1, 0
            return False
        if self._decisions_held < self.held:
            self._decisions_held = 0  # a grasp that was lost at once
            return False
        self._decisions_free += 1
        return self._decisions_free >= self.released and self.advance()

    def advance(self) -> bool:
        """End the instruction in force. Return False where all were over before."""
        if self.finished:
            return False
        self._position += 1
        self._restart()
        return True
