"""Requests that arrive together are decided together, by one worker thread, so that the event loop never waits.

While the worker decides one batch the next one gathers by itself. A batch that fails is decided one by one, so that
a request which cannot be worked with costs nobody else their answer.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.serving.observations import Request


@dataclass(frozen=True)
class Outcome:
    """A decision with what it took: time waited and time decided (ms), and how many shared the batch."""

    decision: Any
    queue_ms: float
    infer_ms: float
    batch: int


@dataclass
class _Waiting:
    request: Request
    guesses: dict[str, str] | None
    since: float
    future: asyncio.Future[Outcome]


class Batcher:
    """Hands requests to an agent in batches of at most `max_batch`.

    `window_s`: how long the first of a batch waits for company, when there is reason to expect any (see `expected`).
    `on_batch(size, seconds)` is called after each pass through the agent.
    """

    def __init__(
        self,
        agent: Any,
        *,
        max_batch: int = 16,
        window_s: float = 0.003,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        self.agent, self.max_batch, self.window_s = agent, max_batch, window_s
        self.expected: Callable[[], int] = lambda: 1
        self._on_batch = on_batch
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="agent")
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Requests not yet begun."""
        return self._queue.qsize()

    def start(self) -> None:
        """Begin to serve; called inside the event loop."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop after the batch in progress; whoever still waits is cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while not self._queue.empty():
            self._queue.get_nowait().future.cancel()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)

    async def decide(self, request: Request, guesses: dict[str, str] | None) -> Outcome:
        """Wait for the agent's decision. Raises what the agent raised; a cancelled wait is not begun any more."""
        future = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Waiting(request, guesses, time.perf_counter(), future))
        return await future

    async def call(self, function: Callable[[], Any]) -> Any:
        """Run a function where the agent runs, after the batch in progress: warm-up, loading."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def _run(self) -> None:
        while True:
            batch = [await self._queue.get()]
            if self.window_s > 0 and self._queue.qsize() + 1 < min(self.expected(), self.max_batch):
                await asyncio.sleep(self.window_s)
            while len(batch) < self.max_batch and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            batch = [waiting for waiting in batch if not waiting.future.done()]  # gone meanwhile
            if batch:
                await self._decide(batch)

    async def _decide(self, batch: Sequence[_Waiting]) -> None:
        groups = [list(batch)]
        while groups:
            group = groups.pop()
            began = time.perf_counter()
            try:
                decisions = await self.call(partial(self._act, group))
            except asyncio.CancelledError:
                for waiting in batch:
                    waiting.future.cancel()
                raise
            except Exception as error:
                if len(group) > 1:
                    groups.extend([waiting] for waiting in group)
                elif not group[0].future.done():
                    group[0].future.set_exception(error)
                continue
            took = time.perf_counter() - began
            if self._on_batch is not None:
                self._on_batch(len(group), took)
            for waiting, decision in zip(group, decisions, strict=True):
                if not waiting.future.done():
                    queued = 1000 * (began - waiting.since)
                    waiting.future.set_result(Outcome(decision, queued, 1000 * took, len(group)))

    def _act(self, group: Sequence[_Waiting]) -> Sequence[Any]:
        forced = [waiting.request.overrides or None for waiting in group]
        decisions = self.agent.act(
            [waiting.request.observation for waiting in group],
            [waiting.request.instruction for waiting in group],
            overrides=forced if any(forced) else None,
            drafts=[waiting.guesses for waiting in group],
        )
        if len(decisions) != len(group):
            raise InspireError(f"Asked for {len(group)} decisions, the agent returned {len(decisions)}.")
        return decisions
