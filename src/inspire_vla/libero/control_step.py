"""Robosuite's control step at less cost: each physics step is computed once. The numbers are the same, bit for bit.

robosuite:  25 × (mj_forward, controller with mj_forward, mj_step, which begins with the same once more)
here:        1 × (mj_forward, controller, mj_step), then 24 × (mj_step1, controller, mj_step2)
"""

from typing import Any

import mujoco


def compute_once(inner: Any) -> None:
    """Let the control steps of a robosuite environment compute each physics step once.

    `mj_step1` computes positions and velocities, all that a controller reads. `mj_step2` goes on from there, where
    `mj_step` would begin again. The first physics step stays whole, because robosuite then reads the wrist's forces.
    Outside of a control step `sim.forward` and `sim.step` are as ever.

    Args:
        inner: the environment. Call this before its reset, which makes the simulation that it concerns.
    """
    control_step = _ControlStep()
    step, post_action, initialize_sim = inner.step, inner._post_action, inner._initialize_sim

    def step_once(action: Any) -> Any:
        control_step.begin()
        try:
            return step(action)
        finally:
            control_step.running = False

    def post_action_after(action: Any) -> Any:
        control_step.running = False
        return post_action(action)

    def initialize_sim_once(*args: Any, **kwargs: Any) -> None:
        initialize_sim(*args, **kwargs)
        control_step.replace_physics(inner.sim)

    inner.step, inner._post_action, inner._initialize_sim = step_once, post_action_after, initialize_sim_once


class _ControlStep:
    """What robosuite's loop over physics steps has computed so far."""

    def __init__(self) -> None:
        self.running = self._first = self._computed = False

    def begin(self) -> None:
        self.running, self._first, self._computed = True, True, False

    def replace_physics(self, sim: Any) -> None:
        model, data = sim.model._model, sim.data._data
        if model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4:  # has no mj_step1 and mj_step2
            return

        def forward() -> None:
            if not self.running:
                mujoco.mj_forward(model, data)
            elif not self._computed:
                (mujoco.mj_forward if self._first else mujoco.mj_step1)(model, data)
                self._computed = True

        def step(with_udd: bool = True) -> None:
            whole = self._first or not self._computed or not self.running
            (mujoco.mj_step if whole else mujoco.mj_step2)(model, data)
            self._first = self._computed = False

        sim.forward, sim.step = forward, step
