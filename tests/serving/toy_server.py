"""Test helpers: a server in a thread, and an agent whose actions are computed from the observation."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.instruction import find_mentions, mentions_of, override_for
from inspire_vla.serving.client import Reply
from inspire_vla.serving.server import PolicyServer, ServerSettings

WORDS = ("right", "left", "up", "down", "front", "back", "grasped")


class ToyAgent:
    """Actions hold [mean of each image], [state] and [length of the instruction]. Records batch sizes and drafts."""

    def __init__(self, cameras: tuple[str, ...] = ("image",), size: int = 16, delay_s: float = 0.0) -> None:
        shape = SimpleNamespace(shape=(3, size, size))
        self.delay_s = delay_s
        self.n_action_steps = 2
        self.batches: list[int] = []
        self.drafts: list[Any] = []
        self.config = SimpleNamespace(
            image_features={f"observation.images.{camera}": shape for camera in cameras},
            robot_state_feature=SimpleNamespace(shape=(8,)),
            action_feature=SimpleNamespace(shape=(7,)),
            chunk_size=4,
            n_action_steps=2,
            n_obs_steps=1,
            reasoning=SimpleNamespace(
                enabled=True,
                mode="direction",
                frame="robot",
                close_threshold_m=None,
                grasped_word=True,
                max_objects=2,
                separate_questions=False,
            ),
        )

    def act(self, observations, instructions, overrides=None, drafts=None, mentions=None):
        self.batches.append(len(observations))
        self.drafts.append(drafts)
        time.sleep(self.delay_s)
        overrides = overrides or [None] * len(observations)
        asked = mentions or [None] * len(observations)
        return [self._decide(*row) for row in zip(observations, instructions, overrides, asked, strict=True)]

    def _decide(self, observation, instruction, overrides, asked):
        if instruction == "crash":
            raise RuntimeError("secret path")
        mentions = find_mentions(instruction) if asked is None else mentions_of(override_for(asked))
        mentions = mentions[: self.config.reasoning.max_objects]
        overrides = overrides or {}
        for mention, word in overrides.items():
            if mention not in mentions or word not in WORDS:
                raise InspireError(f"{word!r} of {mention!r} is no answer.")
        answers = tuple(overrides.get(mention, "left") for mention in mentions)
        overridden = tuple(mention in overrides for mention in mentions)
        images = [float(p.mean()) for p in observation["pixels"].values()]
        actions = np.zeros((4, 7), np.float32)
        actions[0, : len(images)] = images
        actions[1] = observation["agent_pos"][:7]
        actions[2, 0] = len(instruction)
        undecodable = instruction == "pick up the undecodable cube"
        return Reply(
            None if undecodable else actions,
            mentions,
            answers,
            (0.75,) * len(answers),
            overridden,
            (False,) * len(answers),
            forward_passes=1,
        )


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for another thread."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.005)


def serve(agent: Any = None, **settings: Any) -> "Running":
    """Start a policy server on a free port."""
    return Running(PolicyServer(agent or ToyAgent(), ServerSettings(**{"port": 0, **settings})))


class Running:
    """A server in a thread with its own event loop."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.call(self.server.start())
        self.port = self.server.port

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.thread.is_alive():
            self.call(self.server.stop())
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(10)


def observation(value: int = 7, prompt: str = "pick up the red cube", size: int = 16, **more: Any) -> dict:
    return {
        "observation/image": np.full((size, size, 3), value, dtype=np.uint8),
        "observation/state": np.arange(8, dtype=np.float64),
        "prompt": prompt,
        **more,
    }


@contextmanager
def timed(limit_s: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < limit_s
