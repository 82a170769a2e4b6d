"""What came out of labelling a dataset."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class LabelReport:
    """What came out. `notes`: remark → episodes it was made of; `without_object`: instructions that name none."""

    root: Path
    episodes: int = 0
    frames: int = 0
    labels: int = 0
    unlabelled: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    without_object: tuple[str, ...] = ()
    backup: Path | None = None
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` reads them."""
        return {
            **vars(self),
            "root": str(self.root),
            "backup": None if self.backup is None else str(self.backup),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "LabelReport":
        """Inverse of `to_json`."""
        values = {**record, "root": Path(record["root"]), "notes": Counter(record["notes"])}
        values["backup"] = None if record["backup"] is None else Path(record["backup"])
        return cls(**{**values, **{name: tuple(record[name]) for name in ("without_object", "warnings")}})

    def __str__(self) -> str:
        asked = self.labels + self.unlabelled
        share = 100 * self.unlabelled / asked if asked else 0.0
        lines = [f"{self.root}: {self.episodes} episodes, {self.frames} frames, {self.labels} labels"]
        lines += [f"  {self.unlabelled} ({share:.1f} %) places unknown or not sure enough: no label"]
        lines += [f"  {count} episodes: {note}" for note, count in self.notes.most_common()]
        lines += [f"  no object found, no labels: {instruction!r}" for instruction in self.without_object]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        if self.backup is not None:
            lines.append(f"  the dataset as it was: {self.backup} (shares videos and images with it)")
        return "\n".join(lines)
