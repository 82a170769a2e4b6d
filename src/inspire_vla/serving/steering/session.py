"""One environment and one policy, run in a thread: commands in, view states out.

Knows no simulator. It takes a benchmark (`suites`, `tasks`, `make`) and an agent (`act`).
"""

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from inspire_vla.dialogue import AnswerRule, question
from inspire_vla.episode_conventions import (
    FIRST_SEED,
    MAX_UNDECODABLE_IN_A_ROW,
    instruction_in,
    still_action,
)
from inspire_vla.errors import InspireError, did_you_mean, reason_of
from inspire_vla.files import describe
from inspire_vla.observation_history import ObservationHistory
from inspire_vla.serving.observations import Text
from inspire_vla.serving.runtime import log
from inspire_vla.spatial import get_frame

HISTORY = 120
"""Decisions that the page's timeline shows."""
MAX_COMMANDS = 32
"""Commands that may wait for the session."""
_FROM_NEXT_START = "The episode is over, so this holds from its next start on."


@dataclass(frozen=True)
class Play:
    """Run continuously (`on`), or pause."""

    type: Literal["play"]
    on: bool


@dataclass(frozen=True)
class Simple:
    """One control step; the task from its start; the task from another initial state."""

    type: Literal["step", "reset", "next_seed"]


@dataclass(frozen=True)
class SetTask:
    """Take another task of the benchmark, paused, with the same seed. Instruction and overrides are forgotten."""

    type: Literal["set_task"]
    suite: Text
    task: Text


@dataclass(frozen=True)
class SetInstruction:
    """An empty text returns to the task's own instruction."""

    type: Literal["set_instruction"]
    text: Text


@dataclass(frozen=True)
class Override:
    """`word` None leaves the answer to the model again."""

    type: Literal["override"]
    mention: Text
    word: Text | None


Command = Play | Simple | SetTask | SetInstruction | Override
COMMANDS: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="type")])


class SteeringSession:
    """Runs an agent in a benchmark. Optional attributes of the benchmark, shown on the page: `note`, a sentence;
    `has_cartesian_actions` False, so that actions are not described as directions; `camera_faces_robot` False, so that
    no direction is drawn as an arrow in the image. The `info` of its environments may hold "episode", a number.

    Args:
        publish: called from the session's thread with (view state as a JSON-able dictionary, image (H, W, 3) uint8).
        hz: control steps a second.

    An error is shown on the page and pauses the session. After tokens that stand for no action the arm holds still for
    a step, and the agent is asked again with the next image. `MAX_UNDECODABLE_IN_A_ROW` of them are an error.
    """

    def __init__(
        self,
        agent: Any,
        benchmark: Any,
        publish: Callable[[dict[str, Any], np.ndarray], None],
        *,
        suite: str | None = None,
        task: str | None = None,
        hz: float = 10.0,
    ) -> None:
        self.agent, self.benchmark, self.hz = agent, benchmark, hz
        self._cartesian = bool(getattr(benchmark, "has_cartesian_actions", True))
        self._publish = publish
        self.rule = AnswerRule.of(agent)
        suites = list(benchmark.suites())
        self.suite = suite or suites[0]
        if self.suite not in suites:
            raise InspireError(f"No suite {suite!r}.{did_you_mean(self.suite, suites)}")
        tasks = list(benchmark.tasks(self.suite))
        self.task = task or tasks[0]
        if self.task not in tasks:
            raise InspireError(f"No task {task!r} in {self.suite}.{did_you_mean(self.task, tasks)}")
        self.seed = FIRST_SEED
        self.playing = self._stopping = False
        self.error: str | None
        self.instruction: str | None = None
        self.overrides: dict[str, str] = {}
        self._history = ObservationHistory(getattr(agent, "n_obs_steps", 1))
        self._env: Any = None
        self._commands: queue.Queue[Command | None] = queue.Queue(MAX_COMMANDS)
        self._thread = threading.Thread(target=self._run, name="session", daemon=True)
        self._clear()

    def start(self) -> None:
        """Start, paused at the task's initial state."""
        self._thread.start()

    def stop(self) -> None:
        """End the session and its thread; waits 20 s at most."""
        self._stopping = True
        with contextlib.suppress(queue.Full):
            self._commands.put_nowait(None)  # wakes the thread
        self._thread.join(20)

    def command(self, message: str | bytes) -> None:
        """Queue a command in JSON. Raises InspireError if it fits no command, or if too many wait."""
        try:
            command = COMMANDS.validate_json(message, strict=True)
        except ValidationError as error:
            raise InspireError(f"The command {describe(error)}") from None
        try:
            self._commands.put_nowait(command)
        except queue.Full:
            raise InspireError(f"{MAX_COMMANDS} commands wait already. Try again in a moment.") from None

    def metadata(self) -> dict[str, Any]:
        """Return what does not change: the policy, its answer words, and the suites with their tasks."""
        frame = get_frame(self.rule.frame)
        facing = getattr(self.benchmark, "camera_faces_robot", True)
        instructions = getattr(self.benchmark, "instructions", None)
        return {
            "type": "metadata",
            "policy": str(getattr(self.agent, "name", None) or "policy"),
            "reasoning": bool(getattr(self.agent, "reasoning_enabled", True)),
            "words": list(self.rule.words()),
            "note": str(getattr(self.benchmark, "note", "")),
            # as the directions appear in an image whose camera faces the robot; empty for another camera
            "arrows": dict(zip((*frame.x, *frame.y, *frame.z), "↑↓←→▼▲", strict=True)) if facing else {},
            "suites": {
                suite: instructions(suite)
                if instructions
                else {task: task for task in self.benchmark.tasks(suite)}
                for suite in self.benchmark.suites()
            },
        }

    # The session's thread

    def _run(self) -> None:
        self._guarded(self._set_up)
        self._show()
        due = time.monotonic()
        while not self._stopping:
            try:
                wait = max(0.0, due - time.monotonic()) if self.playing else None
                command = self._commands.get(timeout=wait)
                if command is None:
                    continue
                self._guarded(partial(self._execute, command))
            except queue.Empty:
                self._guarded(self._step)
                due = max(due + 1 / self.hz, time.monotonic() - 1 / self.hz)
            self._show()
        if self._env is not None:
            self._env.close()

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            self.playing = False
            known = isinstance(error, InspireError)
            self.error = (
                str(error) if known else f"{type(error).__name__}: {reason_of(error, with_file=True)}"
            )
            if not known:
                log("session failed", error=repr(error))

    def _clear(self) -> None:
        self.error = None
        self.steps = self.undecodable = 0
        self.success = self.over = False
        self.decision: Any = None
        self.infer_ms = 0.0
        self._chunk: list[np.ndarray] = []
        self._last_action: np.ndarray | None = None
        self._drafts: dict[str, str] = {}
        self.timeline: deque[list[Any]] = deque(maxlen=HISTORY)

    def _set_up(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None
        self._clear()
        env = self.benchmark.make(self.suite, self.task)
        try:
            observation, info = env.reset(seed=self.seed)
        except BaseException:
            env.close()
            raise
        self._env, self._info = env, info
        self._history.reset()
        self._observation = self._history.stack_observation(observation)
        self._decide()

    def _execute(self, command: Command) -> None:
        self.error, self.undecodable = None, 0
        match command:
            case Play(on=on):
                self.playing = on and not self.over
            case Simple("step"):
                self.playing = False
                self._step()
            case Simple(type):
                self.seed += type == "next_seed"
                self._set_up()
            case SetTask(suite=suite, task=task):
                tasks = self.benchmark.tasks(suite)
                if task not in tasks:
                    raise InspireError(f"No task {task!r}.{did_you_mean(task, tasks)}")
                self.suite, self.task = suite, task
                self.playing, self.instruction, self.overrides = False, None, {}
                self._set_up()
            case SetInstruction(text=text):
                self.instruction = text or None
                self._forget_answers()
                self._decide()
            case Override(mention=mention, word=word):
                self._override(mention, word)

    def _override(self, mention: str, word: str | None) -> None:
        """Set an answer, and decide at once: the rest of the chunk was decided without it.

        Raises InspireError for an answer that cannot be set; the others stay as they were.
        """
        before = dict(self.overrides)
        if word is None:
            self.overrides.pop(mention, None)
        else:
            mentions = () if self.decision is None else self.decision.mentions
            for given, possible in ((mention, mentions), (word, self.rule.words())):
                if given not in possible:
                    raise InspireError(f"{given!r} cannot be set here.{did_you_mean(given, possible)}")
            self.overrides[mention] = word
        if self.over:
            raise InspireError(_FROM_NEXT_START)
        try:
            self._decide()
        except Exception:
            self.overrides = before
            raise

    def _forget_answers(self) -> None:
        """For a new instruction: answers, overrides and the chunk are about the objects of the one before."""
        self.overrides, self.decision, self._chunk = {}, None, []
        self.timeline.clear()

    def _step(self) -> None:
        if self.over or self._env is None:
            self.playing = False
            return
        if not self._chunk:
            self._decide()
        if self.undecodable >= MAX_UNDECODABLE_IN_A_ROW:
            raise InspireError(
                f"The model's tokens stood for no action {self.undecodable} times in a row, so the arm holds still. "
                "Play tries again; another instruction, an answer or a new start may help."
            )
        before = self._task_instruction()
        self._last_action = self._chunk.pop(0)
        observation, _, terminated, truncated, self._info = self._env.step(self._last_action)
        self._observation = self._history.stack_observation(observation)
        self.steps += 1
        self.success = bool(self._info.get("is_success", False))
        self.over = bool(terminated or truncated)
        self.playing = self.playing and not self.over
        if self.instruction is None and self._task_instruction() != before:
            self._forget_answers()

    def _decide(self) -> None:
        if self._env is None:
            return
        if self.over:
            raise InspireError(_FROM_NEXT_START)
        self._chunk = []
        started = time.perf_counter()
        (self.decision,) = self.agent.act(
            [self._observation],
            [self.instruction or self._task_instruction()],
            overrides=[self.overrides or None],
            drafts=[self._drafts or None],
        )
        self.infer_ms = 1000 * (time.perf_counter() - started)
        decision, truth = self.decision, self._truth()
        self._drafts = dict(zip(decision.mentions, decision.answers, strict=True))
        truths = [truth.get(mention) for mention in decision.mentions]
        if self.timeline and self.timeline[-1][0] == self.steps:
            self.timeline.pop()
        self.timeline.append([self.steps, list(decision.answers), truths, list(decision.overridden)])
        if decision.actions is None:
            self.undecodable += 1
            self._chunk = [still_action(self._env, self._last_action)]
            return
        self.undecodable = 0
        self._chunk = list(decision.actions[: getattr(self.agent, "n_action_steps", None)])

    def _task_instruction(self) -> str:
        return instruction_in(self._info, self.task)

    def _truth(self) -> dict[str, str]:
        """Return {mention: true answer} for the objects that the benchmark knows."""
        return self.rule.truth(self._info)

    def _show(self) -> None:
        image = np.full((256, 256, 3), 40, dtype=np.uint8)
        truth: dict[str, str] = {}

        def render() -> None:
            nonlocal image, truth
            if self._env is not None:
                image, truth = _as_image(self._env.render()), self._truth()

        self._guarded(render)
        self._publish(self._view_state(truth), image)

    def _view_state(self, truth: Mapping[str, str]) -> dict[str, Any]:
        decision = self.decision
        instruction = self.instruction or (self._task_instruction() if self._env is not None else "")
        return {
            "type": "state",
            "suite": self.suite,
            "task": self.task,
            "instruction": instruction,
            "is_task_instruction": self.instruction is None,
            "seed": self.seed - FIRST_SEED,
            "episode": self._info.get("episode") if self._env is not None else None,
            "steps": self.steps,
            "playing": self.playing,
            "success": self.success,
            "over": self.over,
            "error": self.error,
            "infer_ms": round(self.infer_ms, 1),
            "forward_passes": int(getattr(decision, "forward_passes", 0)),
            "decodable": decision is None or decision.actions is not None,
            "motion": describe_motion(self._chunk, self.rule.frame) if self._cartesian else [],
            "objects": describe_objects(decision, truth, self.rule.mode),
            "timeline": list(self.timeline),
        }


def _as_image(rendered: Any) -> np.ndarray:
    """What an environment rendered. Raises InspireError where the page cannot show it."""
    image = np.asarray(rendered)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        kind = "nothing" if rendered is None else f"{image.dtype} {image.shape}"
        raise InspireError(f"The environment must render an image (H, W, 3) of uint8; found {kind}.")
    return image


def describe_objects(decision: Any, truth: Mapping[str, str], mode: str) -> list[dict[str, Any]]:
    """Return a row per object: question, answer, confidence, whether overridden, and the truth if known."""
    if decision is None:
        return []
    rows = zip(decision.mentions, decision.answers, decision.confidences, decision.overridden, strict=True)
    return [
        {
            "mention": mention,
            "question": question(mention, mode),
            "answer": answer,
            "confidence": round(float(confidence), 4),
            "overridden": bool(overridden),
            "truth": truth.get(mention),
        }
        for mention, answer, confidence, overridden in rows
    ]


def describe_motion(chunk: Sequence[np.ndarray], frame_name: str) -> list[str]:
    """Return the rest of a chunk in words: the main directions of its displacement, and the gripper at its end.

    Args:
        chunk: actions (action_dim,) in LIBERO's convention: first displacements along x, y and z in the robot's base
            frame, 1 being the largest of a step; last the gripper, closed if positive. Nothing is said of shorter ones.
        frame_name: one of `FRAMES`, whose words are used.
    """
    if not chunk or len(chunk[0]) < 4:
        return []
    frame = get_frame(frame_name)
    total = np.sum(chunk, axis=0)
    threshold = max(0.4 * float(np.abs(total[:3]).max()), 0.15 * len(chunk))
    words = [
        pair[int(along > 0)]
        for pair, along in zip((frame.x, frame.y, frame.z), total[:3], strict=True)
        if abs(along) >= threshold
    ]
    return [*(words or ["stays"]), "gripper closed" if float(chunk[-1][-1]) > 0 else "gripper open"]
