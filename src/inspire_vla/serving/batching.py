"""Dynamic batching: requests that arrive together are decided in one call of the agent, in a worker thread.

The event loop never waits for the agent. While one batch runs, the next one gathers. If a batch fails, its requests are
decided one by one, so that a bad request fails alone.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from inspire_vla.errors import InspireError, counted
from inspire_vla.serving.observations import Request


@dataclass(frozen=True)
class Outcome:
    """A decision, the time it waited and took (ms), and the size of its batch."""

    decision: Any
    queue_ms: float
    infer_ms: float
    batch: int


@dataclass
class _Pending:
    request: Request
    drafts: dict[str, str] | None
    since: float
    future: asyncio.Future[Outcome]


class Batcher:
    """Passes requests to an agent in batches.

    Args:
        max_batch: most requests in one call.
        window_s: how long the first request of a batch waits for others.
        expected: how many requests could arrive together; with one, nothing waits for others.
        on_batch: called with (size, seconds) after each call of the agent.
    """

    def __init__(
        self,
        agent: Any,
        *,
        max_batch: int,
        window_s: float,
        expected: Callable[[], int],
        on_batch: Callable[[int, float], None],
    ) -> None:
        self.agent, self.max_batch, self.window_s = agent, max_batch, window_s
        self._expected, self._on_batch = expected, on_batch
        self._queue: asyncio.Queue[_Pending] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="agent")
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many requests are not yet started."""
        return self._queue.qsize()

    def start(self) -> None:
        """Start to take requests. Call it inside the event loop."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop after the batch in progress and cancel the requests that wait."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while not self._queue.empty():
            self._queue.get_nowait().future.cancel()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)

    async def decide(self, request: Request, drafts: dict[str, str] | None) -> Outcome:
        """Return the agent's decision, or raise what the agent raised. A cancelled request is not started."""
        future = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Pending(request, drafts, time.perf_counter(), future))
        return await future

    async def call(self, function: Callable[[], Any]) -> Any:
        """Run a function in the agent's thread, after the batch in progress."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def _run(self) -> None:
        while True:
            batch = [await self._queue.get()]
            if self.window_s > 0 and self._queue.qsize() + 1 < min(self._expected(), self.max_batch):
                await asyncio.sleep(self.window_s)
            while len(batch) < self.max_batch and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            batch = [pending for pending in batch if not pending.future.done()]  # the others were cancelled
            if batch:
                await self._decide(batch)

    async def _decide(self, batch: Sequence[_Pending]) -> None:
        groups = [list(batch)]
        while groups:
            group = groups.pop()
            started = time.perf_counter()
            try:
                decisions = await self.call(partial(self._act, group))
            except asyncio.CancelledError:
                for pending in batch:
                    pending.future.cancel()
                raise
            except Exception as error:
                if len(group) > 1:
                    groups.extend([pending] for pending in group)
                elif not group[0].future.done():
                    group[0].future.set_exception(error)
                continue
            seconds = time.perf_counter() - started
            self._on_batch(len(group), seconds)
            for pending, decision in zip(group, decisions, strict=True):
                if not pending.future.done():
                    queue_ms = 1000 * (started - pending.since)
                    pending.future.set_result(Outcome(decision, queue_ms, 1000 * seconds, len(group)))

    def _act(self, group: Sequence[_Pending]) -> Sequence[Any]:
        overrides = [pending.request.overrides or None for pending in group]
        mentions = [pending.request.mentions for pending in group]
        given = {} if all(row is None for row in mentions) else {"mentions": mentions}
        decisions = self.agent.act(
            [pending.request.observation for pending in group],
            [pending.request.instruction for pending in group],
            overrides=overrides if any(overrides) else None,
            drafts=[pending.drafts for pending in group],
            **given,
        )
        if len(decisions) != len(group):
            raise InspireError(
                f"The agent returned {counted(len(decisions), 'decision')} for {counted(len(group), 'observation')}."
            )
        return decisions
