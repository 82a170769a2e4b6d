"""Perturbations of a scripted expert's actions, for demonstrations that show how to recover."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PerturbationSize:
    """How strong a perturbation is. Durations are the shortest and the longest, in control steps.

    push: of the end effector, sideways, in units of the action.
    """

    push: float = 0.6
    push_steps: tuple[int, int] = (2, 4)
    flip_steps: tuple[int, int] = (3, 5)


TABLETOP = PerturbationSize()
"""A push moves 24 mm per step."""
LIBERO = PerturbationSize(push=1.0, push_steps=(3, 7), flip_steps=(4, 8))
"""A push moves some 10 mm per step: LIBERO's controller follows a command slowly."""


class ActionPerturber:
    """Perturbs the executed actions of one episode, so that the demonstrations show how to recover.

    The perturbed action is executed and the clean action is recorded (DART, Laskey et al. 2017). Noise shows how to
    correct millimetres. Perturbations show how to recover from a missed grasp or a dropped object.

    Args:
        rng: source of all randomness.
        noise: standard deviation of Gaussian noise on the three translations, in units of the action.
        perturbations: probability, at each step without one, that a perturbation starts. For some steps the end
            effector is pushed sideways, or the gripper command is flipped.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        noise: float,
        perturbations: float,
        size: PerturbationSize = TABLETOP,
    ) -> None:
        self._rng, self._noise, self._perturbations, self._size = rng, noise, perturbations, size
        self._steps_left = 0
        self._push: np.ndarray = np.zeros(2, dtype=np.float32)
        self._flip_gripper = False

    def __call__(self, action: np.ndarray) -> np.ndarray:
        """Return the action to execute instead of `action`, float32 (7,) in [-1, 1]."""
        executed = action.copy()
        if self._perturbations and not self._steps_left and self._rng.random() < self._perturbations:
            self._start()
        if self._steps_left:
            self._steps_left -= 1
            executed[:2] += self._push
            executed[6] *= -1.0 if self._flip_gripper else 1.0
        if self._noise:
            executed[:3] += self._rng.normal(0.0, self._noise, 3).astype(np.float32)
        return executed.clip(-1.0, 1.0)

    def _start(self) -> None:
        self._flip_gripper = bool(self._rng.random() < 0.5)
        shortest, longest = self._size.flip_steps if self._flip_gripper else self._size.push_steps
        self._steps_left = int(self._rng.integers(shortest, longest, endpoint=True))
        angle = self._rng.uniform(-np.pi, np.pi)
        length = 0.0 if self._flip_gripper else self._size.push
        self._push = np.array([length * np.cos(angle), length * np.sin(angle)], dtype=np.float32)
