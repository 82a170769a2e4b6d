"""One robot in one task, played in a thread of its own: told what to do, overruled, paused, set up anew.

Knows no simulator: it is given a benchmark (`suites`, `tasks`, `make`) and an agent (`act`).
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.observation_history import ObservationHistory
from inspire_vla.serving.logs import log
from inspire_vla.serving.steering import telling
from inspire_vla.serving.steering.commands import checked
from inspire_vla.spatial import relate

HISTORY = 120
"""Decisions that are remembered for the page's timeline."""
MAX_UNDECODABLE = 5
FIRST_SEED = 1_000_000
RULE = ("mode", "frame", "close_threshold_m", "grasped_word")


class SteeringSession:
    """Plays an agent in a benchmark.

    Args:
        publish: called from the session's thread with (state as a JSON-able dictionary, image (H, W, 3) uint8).
        hz: control steps a second.

    `command` takes what the page sends; see commands.py. An error is shown on the page and pauses the robot.
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
        self.error: str | None = None
        self._publish = publish
        rule = getattr(agent, "answer_rule", None) or vars(agent.config.reasoning)
        self.rule: dict[str, Any] = {name: rule[name] for name in RULE}
        suites = list(benchmark.suites())
        self.suite = suite or suites[0]
        if self.suite not in suites:
            raise InspireError(f"No suite {suite!r}.{did_you_mean(self.suite, suites)}")
        tasks = list(benchmark.tasks(self.suite))
        self.task = task or tasks[0]
        if self.task not in tasks:
            raise InspireError(f"No task {task!r} in {self.suite}.{did_you_mean(self.task, tasks)}")
        self.seed = FIRST_SEED
        self._history = ObservationHistory(getattr(agent, "n_obs_steps", 1))
        self._env: Any = None
        self._inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="session", daemon=True)
        self._clear()
        self.playing = False
        self.instruction: str | None = None
        self.held: dict[str, str] = {}

    def start(self) -> None:
        """Begin, paused at the task's start."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the environment."""
        self._inbox.put(None)
        self._thread.join(20)

    def command(self, command: Mapping[str, Any]) -> None:
        """Queue a command {"do": name, …}. Raises InspireError for an unknown or misshapen one."""
        self._inbox.put(checked(command))

    def hello(self) -> dict[str, Any]:
        """What stays the same: the policy, its words, and the tasks to choose from."""
        return telling.hello(self.agent, self.benchmark, self.rule)

    # The thread

    def _run(self) -> None:
        self._guarded(self._set_up)
        self._show()
        due = time.monotonic()
        while True:
            try:
                wait = max(0.0, due - time.monotonic()) if self.playing else None
                command = self._inbox.get(timeout=wait)
                if command is None:
                    break
                self._guarded(partial(self._obey, command))
                self._show()
                continue
            except queue.Empty:
                pass
            self._guarded(self._step)
            self._show()
            due = max(due + 1 / self.hz, time.monotonic() - 1 / self.hz)
        if self._env is not None:
            self._env.close()

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            self.playing = False
            known = isinstance(error, InspireError)
            self.error = str(error) if known else f"{type(error).__name__}: {error}"
            if not known:
                log("session failed", error=repr(error))

    def _clear(self) -> None:
        self.error = None
        self.steps = self.undecodable = 0
        self.success = self.over = False
        self.decision: Any = None
        self.infer_ms = 0.0
        self._chunk: list[np.ndarray] = []
        self._guesses: dict[str, str] = {}
        self.history: deque[list[Any]] = deque(maxlen=HISTORY)

    def _set_up(self) -> None:
        """The task from its start."""
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
        self._seen = self._history.observe(observation)
        self._decide()

    def _obey(self, command: dict[str, Any]) -> None:
        self.error = None
        match command["do"]:
            case "play":
                self.playing = command["on"] and not self.over
            case "step":
                self.playing = False
                self._step()
            case "reset":
                self._set_up()
            case "shuffle":
                self.seed += 1
                self._set_up()
            case "task":
                tasks = self.benchmark.tasks(command["suite"])
                if command["task"] not in tasks:
                    raise InspireError(f"No task {command['task']!r}.{did_you_mean(command['task'], tasks)}")
                self.suite, self.task = command["suite"], command["task"]
                self.playing, self.instruction, self.held = False, None, {}
                self._set_up()
            case "instruct":
                self.instruction = command["text"].strip()[:500] or None
                self.held = {}
                self.history.clear()
                self._decide()
            case "answer":
                if command["word"] is None:
                    self.held.pop(command["mention"], None)
                else:
                    self.held[command["mention"]] = command["word"]
                self._decide()  # at once: what is left of the chunk was meant otherwise

    def _step(self) -> None:
        if self.over or self._env is None:
            self.playing = False
            return
        if not self._chunk:
            self._decide()
        if not self._chunk:
            return
        observation, _, terminated, truncated, self._info = self._env.step(self._chunk.pop(0))
        self._seen = self._history.observe(observation)
        self.steps += 1
        self.success = bool(self._info.get("is_success", False))
        self.over = bool(terminated or truncated)
        if self.over:
            self.playing = False

    def _decide(self) -> None:
        if self._env is None or self.over:
            return
        self._chunk = []
        order = self.instruction or self._own_instruction()
        began = time.perf_counter()
        try:
            (self.decision,) = self.agent.act(
                [self._seen], [order], overrides=[self.held or None], drafts=[self._guesses or None]
            )
        except InspireError:
            self.held = {}  # so that the next try is not refused for the same word
            raise
        self.infer_ms = 1000 * (time.perf_counter() - began)
        decision, truth = self.decision, self._truth()
        self._guesses = dict(zip(decision.mentions, decision.answers, strict=True))
        entry = [
            self.steps,
            list(decision.answers),
            [truth.get(m) for m in decision.mentions],
            list(decision.overridden),
        ]
        if self.history and self.history[-1][0] == self.steps:
            self.history.pop()
        self.history.append(entry)
        if decision.actions is None:
            self.undecodable += 1
            if self.undecodable >= MAX_UNDECODABLE:
                raise InspireError(f"The model said {self.undecodable} times what stands for no action.")
            return
        self.undecodable = 0
        self._chunk = list(decision.actions[: getattr(self.agent, "n_action_steps", None)])

    def _own_instruction(self) -> str:
        return str(self._info.get("instruction", self._info.get("task", self.task)))

    def _truth(self) -> dict[str, str]:
        """{mention: true answer} for the objects the benchmark knows of."""
        if "gripper_to_object_m" not in self._info or not len(self._info["mentions"]):
            return {}
        words = relate(
            np.asarray(self._info["gripper_to_object_m"]), np.asarray(self._info["grasped"]), **self.rule
        )
        return dict(zip(self._info["mentions"], map(str, words), strict=True))

    def _show(self) -> None:
        image = np.full((256, 256, 3), 40, dtype=np.uint8)
        truth: dict[str, str] = {}

        def look() -> None:
            nonlocal image, truth
            if self._env is not None:
                image, truth = np.asarray(self._env.render()), self._truth()

        self._guarded(look)
        decision = self.decision
        self._publish(
            {
                "suite": self.suite,
                "task": self.task,
                "instruction": self.instruction or (self._own_instruction() if self._env is not None else ""),
                "own": self.instruction is None,
                "seed": self.seed - FIRST_SEED,
                "steps": self.steps,
                "playing": self.playing,
                "success": self.success,
                "over": self.over,
                "error": self.error,
                "infer_ms": round(self.infer_ms, 1),
                "forward_passes": 0 if decision is None else int(getattr(decision, "forward_passes", 0)),
                "decodable": decision is None or decision.actions is not None,
                "motion": telling.motion(self._chunk, self.rule["frame"]),
                "objects": telling.objects(decision, truth, self.rule["mode"]),
                "history": list(self.history),
            },
            image,
        )
