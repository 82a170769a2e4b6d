"""Asynchronous action chunking: the robot plays one chunk while the next is computed.

    step        0   1   2   3   4   5   6   7   8
    chunk A     a0  a1  a2  a3  (a4  a5 …)          requested at step 0
    chunk B             ·   ·   b2  b3  b4 …        requested at step 2; b0 and b1 are past when it arrives

Action i of a chunk belongs to the i-th step after its observation, so actions that are past are skipped. If no action
is left before the next chunk arrives, the robot waits, and the wait is counted.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from typing import Any, Self

import numpy as np

from inspire_vla.episode_conventions import MAX_UNDECODABLE_IN_A_ROW
from inspire_vla.errors import InspireError
from inspire_vla.observation_history import ObservationHistory


class ChunkPlayer:
    """Returns one action per control step.

    Args:
        infer: observation → reply with `actions` (horizon, dim), or without any: None, or a horizon of 0; runs in a
            thread.
        n_action_steps: how many actions of a chunk to play before the next one takes over, from the server's metadata;
            None for all.
        ahead: how many steps earlier to request the next chunk. 0 requests it only when no action is left. None: two,
            or one where a chunk has two actions, or none where it has one.
        max_undecodable: this many replies in a row without actions raise InspireError.
        hold: observation → action (dim,) that keeps the robot still, such as the last one where actions are absolute
            joint positions. It is played where no action is left after a reply without actions. Then the policy is
            asked again with the next observation. None: it is asked again with the same one.
        n_obs_steps: how many images of each camera the policy takes, from the server's metadata. Arrays with three axes
            in an observation are images; they are sent with those of the steps before.

    Attributes:
        steps, waits, skipped: counts of actions played, of waits for a chunk, and of actions past on arrival.
        reply: the last reply.
    """

    def __init__(
        self,
        infer: Callable[[Mapping[str, Any]], Any],
        *,
        n_action_steps: int | None = None,
        ahead: int | None = None,
        max_undecodable: int = MAX_UNDECODABLE_IN_A_ROW,
        hold: Callable[[Mapping[str, Any]], np.ndarray] | None = None,
        n_obs_steps: int = 1,
    ) -> None:
        if ahead is None:
            ahead = 2 if n_action_steps is None else max(0, min(2, n_action_steps - 1))
        if ahead < 0 or (n_action_steps is not None and not 0 <= ahead < n_action_steps):
            possible = (
                "0 or more"
                if n_action_steps is None
                else f"from 0 to n_action_steps − 1 = {n_action_steps - 1}"
            )
            raise InspireError(f"ahead must be {possible}, found {ahead}.")
        self._infer, self.n_action_steps, self.ahead = infer, n_action_steps, ahead
        self.max_undecodable, self.hold = max_undecodable, hold
        self._history = ObservationHistory(n_obs_steps)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="next-chunk")
        self._pending: Future[Any] | None = None
        self._requested_at = 0
        self._chunk = np.zeros((0, 0), dtype=np.float32)
        self._index = 0
        self._undecodable = 0
        self._instruction: dict[str, Any] = {}  # the last `prompt` and `instruction`
        self.steps = self.waits = self.skipped = 0
        self.reply: Any = None

    def step(self, observation: Mapping[str, Any]) -> np.ndarray:
        """Return the action (dim,) for this step. Blocks only if no action is left.

        Another `prompt` or `instruction` than before drops what was decided for the old one.

        Raises what `infer` raised, or InspireError after too many replies without actions.
        """
        self._follow_instruction(observation)
        images = {k: v for k, v in observation.items() if isinstance(v, np.ndarray) and v.ndim == 3}
        with_history = {**observation, **self._history.stack(images)}
        if self._pending is not None and self._pending.done():
            self._take_chunk()
        while self._index >= self._end():
            if self._pending is None:
                self._request(with_history)
            assert self._pending is not None
            if self.steps and not self._pending.done():
                self.waits += 1
            self._take_chunk()
            if self.hold is not None and self._undecodable:
                self.steps += 1
                return self.hold(observation)
        if self._pending is None and self.ahead and self._index >= self._last() - self.ahead:
            self._request(with_history)
        action = self._chunk[self._index]
        self._index += 1
        self.steps += 1
        return action

    def reset(self) -> None:
        """Drop the chunk, the earlier images and a pending reply, for a new episode."""
        self._history.reset()
        self.drop_chunk()

    def drop_chunk(self) -> None:
        """Drop the chunk and a pending reply, for a new instruction: both are of the old one. Waits for that reply."""
        self._undecodable = 0
        if self._pending is not None:
            self._pending.exception()
        self._pending = None
        self._index = len(self._chunk)

    def close(self) -> None:
        """End the thread, after a pending reply."""
        self._thread.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow_instruction(self, observation: Mapping[str, Any]) -> None:
        given = {name: observation[name] for name in ("prompt", "instruction") if name in observation}
        if any(name in self._instruction and self._instruction[name] != given[name] for name in given):
            self.drop_chunk()
        self._instruction |= given

    def _last(self) -> int:
        length = len(self._chunk)
        return length if self.n_action_steps is None else min(self.n_action_steps, length)

    def _end(self) -> int:
        """Return where the chunk ends. With overlap all of it may be played, so that a late reply causes no wait."""
        return len(self._chunk) if self.ahead else self._last()

    def _request(self, observation: Mapping[str, Any]) -> None:
        """Ask in the thread, with a copy: the robot goes on and may write the next step into the same arrays."""
        self._pending = self._thread.submit(self._infer, deepcopy(dict(observation)))
        self._requested_at = self.steps

    def _take_chunk(self) -> None:
        pending, self._pending = self._pending, None
        assert pending is not None
        self.reply = pending.result()
        if self.reply.actions is None or not len(self.reply.actions):
            self._undecodable += 1
            if self._undecodable >= self.max_undecodable:
                raise InspireError(f"{self._undecodable} replies in a row had no actions.")
            return  # the rest of the old chunk is played before the next request
        self._undecodable = 0
        past = self.steps - self._requested_at
        self.skipped += min(past, len(self.reply.actions))
        self._chunk, self._index = self.reply.actions, past
