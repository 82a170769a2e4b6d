"""Episodes over the workers of a Ray cluster, as workers.py plays them in processes of this machine."""

import glob
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError, reason_of
from inspire_vla.evaluation.episode import EpisodeJob
from inspire_vla.evaluation.records import EpisodeRecord
from inspire_vla.evaluation.workers import Message, Share, Worker, split_jobs
from inspire_vla.files import atomic_path

_POLL_S = 0.5
"""How long the parent waits for a message before it looks for workers that have died."""


@dataclass(frozen=True)
class RayCluster:
    """A Ray cluster to play on. This package, the simulator and the checkpoint must be on each of its machines.

    Attributes:
        address: of a running cluster ("auto", "host:port", "ray://…"), or "local" to start one here.
        gpus: share of a GPU that each worker takes.
    """

    address: str = "auto"
    gpus: float = 0.0


def on_ray(
    worker: Worker, jobs: list[EpisodeJob], count: int, cluster: RayCluster
) -> Iterator[EpisodeRecord]:
    """Play jobs in `count` workers of a Ray cluster; yield records as they arrive. Videos are sent as bytes.

    Raises:
        InspireError: Ray is not installed, the cluster does not answer, a worker cannot make its agent or benchmark.
    """
    with _connected(cluster) as ray:
        from ray.util.queue import Empty, Queue

        queue = Queue()
        play = ray.remote(num_cpus=1, num_gpus=cluster.gpus, max_retries=0)(_serve_ray)
        numbers = itertools.count()
        running: dict[int, tuple[Any, Share]] = {}

        def launch(share: Sequence[EpisodeJob]) -> None:
            number = next(numbers)
            running[number] = play.remote(queue, number, worker, list(share)), Share.of(share)

        for part in split_jobs(jobs, count):
            launch(part)
        ended: set[int] = set()
        try:
            while running:
                try:
                    number, kind, value = queue.get(timeout=_POLL_S)
                except Empty:
                    for number in [n for n, (task, _) in running.items() if ray.wait([task], timeout=0)[0]]:
                        if number not in ended:  # its last messages may just have arrived: read once more
                            ended.add(number)
                            continue
                        task, share = running.pop(number)
                        yield from share.record_worker_death(
                            worker.settings.policy,
                            _reason_of_death(ray, task),
                            "Run with --workers 1 and without --ray to see why.",
                        )
                        if share.waiting:
                            launch(list(share.waiting.values()))
                    continue
                share = running[number][1]
                if kind == "video":
                    _keep(worker.folder, *value)
                else:
                    yield from share.receive(kind, value)
                if share.done:
                    del running[number]
        finally:
            for task, _ in running.values():
                ray.cancel(task, force=True)
            queue.shutdown(force=True)


@contextmanager
def _connected(cluster: RayCluster) -> Iterator[Any]:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise InspireError(
            "Ray is not installed: pip install -c constraints.txt -e '.[ray]', here and on every machine."
        ) from error
    mine = not ray.is_initialized()
    if mine:
        local = {"address": "local", "include_dashboard": False}
        arguments = local if cluster.address == "local" else {"address": cluster.address}
        try:
            ray.init(**arguments, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InspireError(
                f"No Ray cluster answers at {cluster.address!r}: {reason_of(error)}. `ray start --head` starts one; "
                "`--ray local` needs none."
            ) from error
    try:
        yield ray
    finally:
        if mine:
            ray.shutdown()


def _serve_ray(queue: Any, number: int, worker: Worker, jobs: list[EpisodeJob]) -> None:
    """Play jobs in a worker of the cluster."""
    with tempfile.TemporaryDirectory(prefix="inspire_videos_") as folder:

        def send(message: Message) -> None:
            kind, value = message
            if kind == "record" and value.video:
                video = Path(folder) / value.video
                for file in video.parent.glob(f"{glob.escape(video.stem)}.*"):  # with its actions and states
                    queue.put((number, "video", (str(file.relative_to(folder)), file.read_bytes())))
            queue.put((number, kind, value))

        replace(worker, folder=Path(folder)).serve(send, jobs)


def _keep(folder: Path, name: str, data: bytes) -> None:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InspireError(f"A worker names a video outside the run: {name!r}.")
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def _reason_of_death(ray: Any, task: Any) -> str:
    try:
        ray.get(task)
    except Exception as error:
        return f"the Ray worker died ({type(error).__name__})"
    return "the Ray worker ended without a message"
