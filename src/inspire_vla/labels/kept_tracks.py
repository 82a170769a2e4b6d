"""What an interrupted `inspire label` has found: the tracks of finished episodes, so that nothing is labelled twice.

    labeller ──Tracks──▶ .OUT.tracks/shard_000000.npz, … ──the same command──▶ labels

A labeller may take minutes for an episode, as a tracker or a detector does. Tracks are kept rather than labels: labels
of any mode and frame follow from them at once. They are kept for the settings that decide them, and removed when the
dataset is written.
"""

import functools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, MachineFault
from inspire_vla.files import open_arrays, remove, write_arrays
from inspire_vla.labels.labeller import Note, Tracks
from inspire_vla.resumable_job import ResumableJob

SAVE_EVERY_S = 1.0
"""At most one file in so many seconds: a quick labeller does not wait for the disk, a slow one loses nothing."""


class Frames(NamedTuple):
    """The frames for which a labeller is called once: data file within the dataset, first row in it, and episode."""

    file: str
    row: int
    episode: int


class KeptTracks:
    """The tracks that a labeller has found so far for the dataset `target`; whoever makes one holds its folder lock.

    Args:
        settings: name → JSON value; all of them decide the tracks.

    Attributes:
        folder: where they are kept.
        episodes: number of those that an interrupted call with these settings has labelled.
        changed: what to say of an interrupted call with other settings, whose tracks are removed; see `prepare`.
    """

    def __init__(self, target: Path, settings: dict[str, Any]) -> None:
        self._job = job_of(target, settings)
        self.changed = self._job.prepare(restart_if_changed=True) if self._job.folder.exists() else ""
        self._shards: dict[Frames, Path] = {}
        for path in self._job.shards():
            self._shards |= dict.fromkeys(_index(path), path)
        self.folder, self.episodes = self._job.folder, len({frames.episode for frames in self._shards})
        self._unsaved: dict[Frames, Tracks] = {}
        self._saved_at = time.monotonic()
        self._load = functools.lru_cache(1)(_load)  # shards are in the order of the frames

    def find(self, frames: Frames, label: Callable[[], Tracks]) -> Tracks:
        """Return the tracks of these frames: those that are kept, or what `label` returns, which is kept then."""
        path = self._shards.get(frames)
        if path is not None and (found := self._load(path).get(frames)) is not None:
            return found
        self._unsaved[frames] = tracks = label()
        if time.monotonic() - self._saved_at >= SAVE_EVERY_S:
            self._job.prepare()
            _save(self._unsaved, self._job.shard(len(self._job.shards())))
            self._unsaved = {}
            self._saved_at = time.monotonic()
        return tracks


def job_of(target: Path, settings: dict[str, Any] | None = None) -> ResumableJob:
    """The job whose shards are the tracks for the dataset `target`."""
    return ResumableJob(target, settings or {}, "tracks")


def kept_episodes(target: Path) -> int:
    """The number of episodes whose tracks an interrupted call has left."""
    return len({frames.episode for path in job_of(target).shards() for frames in _index(path)})


def remove_kept(target: Path) -> None:
    """Remove what was kept for a dataset that is written."""
    remove(job_of(target).folder)


def _save(tracks: Mapping[Frames, Tracks], path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    index = []
    for number, (frames, one) in enumerate(tracks.items()):
        arrays[f"{number}.gripper_to_object_m"] = np.asarray(one.gripper_to_object_m)
        arrays[f"{number}.grasped"] = np.asarray(one.grasped)
        if one.confidence is not None:
            arrays[f"{number}.confidence"] = np.asarray(one.confidence)
        notes = [(str(note), _spans(note)) for note in one.notes]
        index.append({"frames": frames, "notes": notes})
    write_arrays(path, arrays | {"index": np.array(json.dumps(index))})


def _spans(note: str) -> list[tuple[int, int]] | None:
    return [(int(a), int(b)) for a, b in note.frames] if isinstance(note, Note) else None


def _index(path: Path) -> list[Frames]:
    """What a shard holds; nothing if it is damaged."""
    try:
        with open_arrays(path) as arrays:
            return [Frames(*entry["frames"]) for entry in json.loads(str(arrays["index"]))]
    except MachineFault:
        raise
    except InspireError:
        return []


def _load(path: Path) -> dict[Frames, Tracks]:
    """The tracks of one shard; none if it is damaged."""
    found: dict[Frames, Tracks] = {}
    try:
        with open_arrays(path) as arrays:
            for number, entry in enumerate(json.loads(str(arrays["index"]))):
                confidence = f"{number}.confidence"
                found[Frames(*entry["frames"])] = Tracks(
                    arrays[f"{number}.gripper_to_object_m"],
                    arrays[f"{number}.grasped"],
                    arrays.get(confidence),
                    tuple(
                        text if spans is None else Note(text, map(tuple, spans))
                        for text, spans in entry["notes"]
                    ),
                )
    except MachineFault:
        raise
    except InspireError:
        return {}
    return found
