"""What goes wrong in a demonstration on purpose, so that the data shows how to go on from there.

The disturbed action is executed and the clean one recorded (DART, Laskey et al. 2017). Noise alone shows how to come
back from millimetres. What undoes a policy is larger: fingers that shut on nothing, a thing that is dropped.
"""

import numpy as np

_STEPS = {"shove": (2, 4), "fumble": (3, 5)}
"""How long a perturbation lasts, in control steps, both ends included."""
_SHOVE = 0.6
"""Length of a shove, in units of the action: 24 mm a step."""


class Disturbance:
    """Disturbs the actions of one episode, one after the other.

    Args:
        generator: all chance comes from here.
        noise: standard deviation of Gaussian noise on the three translations of every action, in units of it.
        perturbations: probability, at each step at which none is going on, that one begins: for some steps the hand is
            shoved to the side, or the gripper does the opposite of what it is told.
    """

    def __init__(self, generator: np.random.Generator, *, noise: float, perturbations: float) -> None:
        self._generator, self._noise, self._perturbations = generator, noise, perturbations
        self._left = 0
        self._shove: np.ndarray = np.zeros(2, dtype=np.float32)
        self._fumbles = False

    def __call__(self, action: np.ndarray) -> np.ndarray:
        """What is executed instead of `action`, float32 (7,) in [-1, 1]."""
        executed = action.copy()
        if self._perturbations and not self._left and self._generator.random() < self._perturbations:
            self._begin()
        if self._left:
            self._left -= 1
            executed[:2] += self._shove
            executed[6] *= -1.0 if self._fumbles else 1.0
        if self._noise:
            executed[:3] += self._generator.normal(0.0, self._noise, 3).astype(np.float32)
        return executed.clip(-1.0, 1.0)

    def _begin(self) -> None:
        self._fumbles = bool(self._generator.random() < 0.5)
        shortest, longest = _STEPS["fumble" if self._fumbles else "shove"]
        self._left = int(self._generator.integers(shortest, longest, endpoint=True))
        angle = self._generator.uniform(-np.pi, np.pi)
        size = 0.0 if self._fumbles else _SHOVE
        self._shove = np.array([size * np.cos(angle), size * np.sin(angle)], dtype=np.float32)
