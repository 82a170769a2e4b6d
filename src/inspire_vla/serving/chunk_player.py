"""Action chunks with overlap: the arm goes on with one chunk while the next is computed.

    step        0   1   2   3   4   5   6   7   8
    chunk A     a0  a1  a2  a3  (a4  a5 …)          asked at step 0
    chunk B             ask ·   ·   b2  b3  b4 …     asked at step 2, its b0 and b1 are past when it arrives

A chunk's action i belongs to the i-th step after its observation, so what is past when it arrives is left out. When
an answer takes longer than the chunk lasts, the arm waits, and that is counted.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.observation_history import ObservationHistory


class ChunkPlayer:
    """Gives one action a step.

    Args:
        infer: observation → reply with `actions` (horizon, dim) or None; runs in a thread of its own.
        n_action_steps: how many actions of a chunk to play before the next should take over, as the server's metadata
            says; None: all of them.
        ahead: how many steps before that to ask. 0 asks only when the actions are used up: no overlap.
        max_undecodable: so many answers without actions in a row raise InspireError.
        n_obs_steps: how many images of each camera the policy looks at, as the server's metadata says. What an
            observation holds of three axes is then sent with the images of the steps before.
    """

    def __init__(
        self,
        infer: Callable[[Mapping[str, Any]], Any],
        *,
        n_action_steps: int | None = None,
        ahead: int = 2,
        max_undecodable: int = 5,
        n_obs_steps: int = 1,
    ) -> None:
        if ahead < 0 or (n_action_steps is not None and not 0 <= ahead < n_action_steps):
            most = (
                "0 or more"
                if n_action_steps is None
                else f"from 0 to n_action_steps − 1 = {n_action_steps - 1}"
            )
            raise InspireError(f"ahead must be {most}, found {ahead}.")
        self._infer, self.n_action_steps, self.ahead = infer, n_action_steps, ahead
        self.max_undecodable = max_undecodable
        self._history = ObservationHistory(n_obs_steps)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="next-chunk")
        self._due: Future[Any] | None = None
        self._asked_at = 0
        self._chunk = np.zeros((0, 0), dtype=np.float32)
        self._at = 0
        self._undecodable = 0
        self.steps = self.waits = self.skipped = 0
        self.reply: Any = None

    def step(self, observation: Mapping[str, Any]) -> np.ndarray:
        """Return the action (dim,) for now. Blocks only when there is none left to play.

        Raises what `infer` raised, or InspireError after too many answers without actions.
        """
        images = {k: v for k, v in observation.items() if isinstance(v, np.ndarray) and v.ndim == 3}
        observation = {**observation, **self._history.see(images)}
        if self._due is not None and self._due.done():
            self._take()
        while self._at >= self._end():
            if self._due is None:
                self._ask(observation)
            assert self._due is not None
            if self.steps and not self._due.done():
                self.waits += 1
            self._take()
        if self._due is None and self.ahead and self._at >= self._last() - self.ahead:
            self._ask(observation)
        action = self._chunk[self._at]
        self._at += 1
        self.steps += 1
        return action

    def reset(self) -> None:
        """Forget the chunk, earlier images, and an answer that is due: the world has changed."""
        self._history.reset()
        self._undecodable = 0
        if self._due is not None:
            self._due.exception()
        self._due = None
        self._at = len(self._chunk)

    def close(self) -> None:
        """End the thread, after the answer that is due."""
        self._thread.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _last(self) -> int:
        length = len(self._chunk)
        return length if self.n_action_steps is None else min(self.n_action_steps, length)

    def _end(self) -> int:
        """Where playing stops. With overlap only where the chunk does: a late answer finds the arm still moving."""
        return len(self._chunk) if self.ahead else self._last()

    def _ask(self, observation: Mapping[str, Any]) -> None:
        self._due = self._thread.submit(self._infer, observation)
        self._asked_at = self.steps

    def _take(self) -> None:
        due, self._due = self._due, None
        assert due is not None
        self.reply = due.result()
        if self.reply.actions is None:
            self._undecodable += 1
            if self._undecodable >= self.max_undecodable:
                raise InspireError(f"{self._undecodable} answers in a row stood for no action.")
            return  # what is left of the old chunk is played, then the policy is asked again
        self._undecodable = 0
        past = self.steps - self._asked_at
        self.skipped += min(past, len(self.reply.actions))
        self._chunk, self._at = self.reply.actions, past
