"""The episodes of a run, as RUN/episodes.jsonl holds them: a line for each.

Lines are only appended, and each is synced to the disk before the next episode counts as done. A kill can cut the last
line; it is dropped when the run is opened again, and its episode is played again.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from inspire_vla.errors import InspireError
from inspire_vla.evaluation.confusion import Confusion
from inspire_vla.evaluation.offline import OfflineScores
from inspire_vla.files import describe, disk_errors

EPISODES = "episodes.jsonl"
NOT_ASKED_ABOUT = ""
"""The answer, in a timeline, about an object of another instruction of the same episode."""


EpisodeKey = tuple[str, str, int]
"""(suite, task, seed): what pairs an episode with another policy's."""
TimelineEntry = tuple[int, tuple[str, ...], tuple[str | None, ...], tuple[float, ...]]
"""(step, answers, truths, confidences) of a decision."""


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode. A crashed episode has `error` and counts as a failure.

    Attributes:
        instruction: where it changed during the episode, all of them, with arrows between them.
        mentions: all objects that were asked about, in order.
        forward_passes: how often the backbone ran.
        drafts_accepted: answers of the last decision that the model confirmed (speculative decoding).
        answers_scored, answers_correct: answers with a known truth that the model gave itself, and how many are right.
        answers_to_override: answers given under a control that replaces them.
        answers_overridden: how many of those the control replaced; an object without a known truth keeps the
            policy's own answer.
        confusion: {true answer: {given answer: count}} of the scored answers.
        confusion_by_mention: the same for the first, second, … mention.
        timeline: (step, answers, truths, confidences) of every decision, overridden answers included. The three run
            parallel to `mentions`; those of an early decision may end before objects of a later instruction.
        gripper: (step, "open", "closed" or "holding"), an entry for each change.
        offline: for recorded frames: the actions against the demonstrated ones. `success` is None then.
        goals: of a task with several goals: the control step after which each first held; None: it never did. All of
            them must hold at once.
        init_state: number of the fixed initial state, for benchmarks that have some.
        crashed: an exception or the death of the worker ended the episode, not the policy.
        video: path relative to the run's folder; of pooled runs to that of the first.
    """

    suite: str
    task: str
    instruction: str
    episode: int
    seed: int
    success: bool | None
    steps: int
    policy: str = ""
    error: str | None = None
    traceback: str | None = None
    mentions: tuple[str, ...] = ()
    decisions: int = 0
    undecodable: int = 0
    answers_scored: int = 0
    answers_correct: int = 0
    confusion: Confusion = field(default_factory=dict)
    confusion_by_mention: tuple[Confusion, ...] = ()
    forward_passes: int = 0
    drafts_accepted: int = 0
    inference_ms_median: float | None = None
    batch_mean: float | None = None
    wall_s: float = 0.0
    video: str | None = None
    timeline: tuple[TimelineEntry, ...] = ()
    gripper: tuple[tuple[int, str], ...] = ()
    goals: tuple[int | None, ...] = ()
    init_state: int | None = None
    crashed: bool = False
    answers_to_override: int = 0
    answers_overridden: int = 0
    offline: OfflineScores | None = None

    @property
    def key(self) -> EpisodeKey:
        return (self.suite, self.task, self.seed)

    def to_json(self) -> str:
        """Return one line, without its end."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> "EpisodeRecord":
        """Inverse of `to_json`. Unknown keys are ignored; raises InspireError for missing or wrong ones."""
        try:
            return _schema().validate_json(line)
        except ValidationError as error:
            raise InspireError(f"An episode record {describe(error)}") from None


@cache
def _schema() -> TypeAdapter[EpisodeRecord]:
    return TypeAdapter(EpisodeRecord)


def read_episodes(path: Path) -> tuple[list[EpisodeRecord], int]:
    """Return the records of a JSON-lines file and the number of bytes that hold whole records.

    A last line without its end, which a kill leaves, is left out. Raises InspireError with the line number for anything
    else unreadable.
    """
    records: list[EpisodeRecord] = []
    size = 0
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            break
        try:
            records.append(EpisodeRecord.from_json(line))
        except InspireError as error:
            raise InspireError(f"{path}, line {number}: {error}") from None
        size += len(line)
    return records, size


class EpisodeLog:
    """The append-only episodes file of one run. Opening it drops an incomplete last line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records, self._size = read_episodes(path)
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)  # nothing is left to be written when closing
            self._file.truncate(self._size)

    def append(self, record: EpisodeRecord) -> None:
        """Append one record and wait until it is on the disk. On an error the file stays as it was."""
        # An error may name a file with half a character.
        line = (record.to_json() + "\n").encode("utf-8", "replace")
        with disk_errors(self.path):
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[self._file.write(rest) :]
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(self._size)
                raise
        self._size += len(line)
        self.records.append(record)

    def close(self) -> None:
        """Close the file; no record can be added any more."""
        self._file.close()

    def __enter__(self) -> "EpisodeLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
