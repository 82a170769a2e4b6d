"""Episodes over the machines of a Ray cluster, by the rules of workers.py: what a dead worker was playing has failed.

The driver alone writes. Workers make their own benchmark and agent, so this package, the simulator and the checkpoint
must be on every machine, at the same paths. Videos travel back as bytes.
"""

import glob
import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.evaluation.episode import EpisodeJob
from inspire_vla.evaluation.records import EpisodeRecord
from inspire_vla.evaluation.workers import Worker, failures, serve, shares

_POLL_S = 0.5


@dataclass(frozen=True)
class RayCluster:
    """Where to play. address: of a running cluster ("auto", "host:port", "ray://…"), or "local" to start one here.
    gpus: part of a GPU that each worker takes.
    """

    address: str = "auto"
    gpus: float = 0.0


@dataclass
class _Share:
    task: Any
    left: dict[tuple[str, str, int], EpisodeJob]
    playing: dict[tuple[str, str, int], EpisodeJob] = field(default_factory=dict)
    started: bool = False


def on_ray(
    worker: Worker, jobs: list[EpisodeJob], count: int, cluster: RayCluster
) -> Iterator[EpisodeRecord]:
    """Yield records as workers of the cluster send them.

    Raises:
        InspireError: Ray is not installed, the cluster does not answer, a worker cannot make its agent or benchmark.
    """
    with _connected(cluster) as ray:
        from ray.util.queue import Empty, Queue

        post = Queue()
        task = ray.remote(num_cpus=1, num_gpus=cluster.gpus, max_retries=0)(_play)

        def launch(number: int, of: list[EpisodeJob]) -> _Share:
            return _Share(task.remote(post, number, worker, of), {job.key: job for job in of})

        numbers = itertools.count()
        running = {n: launch(n, share) for n, share in zip(numbers, shares(jobs, count), strict=False)}
        ended: set[int] = set()
        try:
            while running:
                try:
                    number, kind, value = post.get(timeout=_POLL_S)
                except Empty:
                    for number in [n for n, share in running.items() if ray.wait([share.task], timeout=0)[0]]:
                        if number not in ended:  # its last words may have come just now: read once more
                            ended.add(number)
                            continue
                        share = running.pop(number)
                        yield from _bury(ray, share, worker.settings.policy)
                        if share.left:
                            again = next(numbers)
                            running[again] = launch(again, list(share.left.values()))
                    continue
                share = running[number]
                if kind == "start":
                    share.started = True
                    share.playing[value.key] = share.left.pop(value.key)
                elif kind == "video":
                    _keep(worker.folder, *value)
                elif kind == "record":
                    share.playing.pop(value.key, None)
                    yield value
                elif kind == "done":
                    del running[number]
                else:
                    raise InspireError(value)
        finally:
            for share in running.values():
                ray.cancel(share.task, force=True)
            post.shutdown(force=True)


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
        here = {"address": "local", "include_dashboard": False}
        try:
            ray.init(
                **(here if cluster.address == "local" else {"address": cluster.address}), log_to_driver=False
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InspireError(
                f"no Ray cluster answers at {cluster.address!r}: {error}. `ray start --head` starts one; --ray local "
                "needs none."
            ) from error
    try:
        yield ray
    finally:
        if mine:
            ray.shutdown()


def _play(post: Any, number: int, worker: Worker, jobs: list[EpisodeJob]) -> None:
    """In a worker of the cluster."""
    with tempfile.TemporaryDirectory(prefix="inspire_videos_") as folder:
        here = replace(worker, folder=Path(folder))

        def send(message: tuple[str, Any]) -> None:
            kind, value = message
            if kind == "record" and value.video:
                film = Path(folder) / value.video
                for file in film.parent.glob(f"{glob.escape(film.stem)}.*"):  # beside it: actions and states
                    post.put((number, "video", (str(file.relative_to(folder)), file.read_bytes())))
            post.put((number, kind, value))

        serve(send, here, jobs)


def _keep(folder: Path, name: str, data: bytes) -> None:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InspireError(f"a worker names a video outside the run: {name!r}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _bury(ray: Any, share: _Share, policy: str) -> Iterator[EpisodeRecord]:
    """Failures for what a worker was playing that ended without saying so."""
    try:
        ray.get(share.task)
        reason = "the Ray worker ended without a word"
    except Exception as error:
        reason = f"the Ray worker died ({type(error).__name__})"
    if not share.started:
        raise InspireError(
            f"{reason} before it could start an episode; run with --workers 1 and no --ray to see why."
        )
    yield from failures(share.playing.values(), policy, reason)
