"""Resumable work in shards that ends as one folder."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspire_vla.changed_settings import changed_settings
from inspire_vla.errors import InspireError
from inspire_vla.files import atomic_path, disk_errors, folder_lock, read_json, remove, write_json


@dataclass(frozen=True)
class ResumableJob:
    """Work that writes one file per shard and then assembles the shards into the folder `out`.

        workers ── one file per shard ──▶ .NAME.DOING/ ── assemble ──▶ .NAME.partial/ ── rename ──▶ NAME/

    A shard must depend only on its number and on the settings. Then an interrupted call, made again, computes the
    missing shards only, and `out` is the same as without the interruption. `out` is complete or absent.

    Args:
        settings: JSON values that determine every shard.
        doing: what the job does, as in "collecting"; part of the name of the shards' folder.
    """

    out: Path
    settings: dict[str, Any]
    doing: str = "collecting"

    @property
    def folder(self) -> Path:
        """The folder of the shards."""
        return self.out.with_name(f".{self.out.name}.{self.doing}")

    def shard(self, number: int) -> Path:
        """The file of one shard."""
        return self.folder / f"shard_{number:06d}.npz"

    @contextmanager
    def started(self, *, resume: bool = True, restart_if_changed: bool = False) -> Iterator[str]:
        """Hold the folder alone; keep the shards of an interrupted call that had the same settings. Yields what
        `prepare` returns.

        Args:
            resume: False removes all shards first.
            restart_if_changed: whether shards of other settings are removed. Otherwise they are an error.

        Raises:
            InspireError: another process works on this job or has just finished it, the settings differ, or the disk
                cannot be written.
        """
        with folder_lock(self.out, self.doing), disk_errors(self.out):
            if self.out.exists():
                raise InspireError(f"{self.out} exists. Choose another folder.")
            yield self.prepare(resume=resume, restart_if_changed=restart_if_changed)

    def prepare(self, *, resume: bool = True, restart_if_changed: bool = False) -> str:
        """As `started`, for a caller that holds the folder already. Returns what to say of shards that were removed
        because their settings differed, to be ended by what is done instead; nothing where none were.

        Raises:
            InspireError: the settings differ, and not `restart_if_changed`.
        """
        recorded = self.folder / "settings.json"
        settings = json.loads(json.dumps(self.settings))
        changed = ""
        if resume and recorded.exists():
            changed = changed_settings(read_json(recorded, dict[str, Any]), settings)
        if changed and not restart_if_changed:
            raise InspireError(
                f"An interrupted call left shards in {self.folder} and had other settings ({changed}). Repeat these, "
                "choose another folder, or remove what was left (inspire collect --restart; resume=False)."
            )
        if changed or not resume or not recorded.exists():  # shards without settings: a removal was killed
            remove(self.folder)
            write_json(recorded, settings)
        return changed and f"An interrupted call had other settings ({changed})"

    def shards(self) -> list[Path]:
        """The shards that exist, in order."""
        return sorted(self.folder.glob("shard_*.npz"))

    def missing(self, count: int) -> list[int]:
        """The numbers below `count` whose shards do not exist."""
        return [number for number in range(count) if not self.shard(number).exists()]

    def finish(self, assemble: Callable[[Path], Any]) -> Any:
        """Let `assemble` create a folder, rename it to `out`, and remove the shards. Returns what it returns."""
        with atomic_path(self.out) as partial:
            result = assemble(partial)
        remove(self.folder)
        return result
