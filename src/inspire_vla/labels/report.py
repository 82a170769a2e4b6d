"""The result of `inspire label`, as it is printed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inspire_vla.errors import counted

_PLACES_SHOWN = 4


@dataclass
class LabelReport:
    """The result of labelling.

    notes: note → number of episodes. places: note → the first of these episodes, with frames where the note has some.
    without_object: instructions that name none. without_instruction: frames whose instruction is empty.
    """

    root: Path
    episodes: int = 0
    frames: int = 0
    labels: int = 0
    unlabelled: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)
    without_object: tuple[str, ...] = ()
    without_instruction: int = 0
    backup: Path | None = None
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        asked = self.labels + self.unlabelled
        share = 100 * self.unlabelled / asked if asked else 0.0
        size = f"{counted(self.episodes, 'episode')}, {counted(self.frames, 'frame')}"
        lines = [f"{self.root}: {size}, {counted(self.labels, 'label')}"]
        lines += [f"  {self.unlabelled} ({share:.1f} %) positions unknown or confidence too low: no label"]
        lines += self.note_lines()
        lines += [f"  no object found, no labels: {text!r}" for text in self.without_object if text.strip()]
        if self.without_instruction:
            lines.append(
                f"  {counted(self.without_instruction, 'frame has', 'frames have')} an empty instruction: no "
                "labels; trainings leave them out"
            )
        lines += [f"  warning: {warning}" for warning in self.warnings]
        if self.backup is not None:
            lines.append(f"  the dataset as it was: {self.backup} (shares videos and images with it)")
        return "\n".join(lines)

    def note_lines(self) -> list[str]:
        """A line for each note, with the first episodes that have it."""
        lines = []
        for note, count in self.notes.most_common():
            shown = self.places[note]
            more = f" and {count - len(shown)} more" if count > len(shown) else ""
            lines.append(f"  {counted(count, 'episode')}: {note} (episode {', '.join(shown)}{more})")
        return lines

    def add_notes(self, episode: int, notes: Mapping[str, Sequence[tuple[int, int]]]) -> None:
        """Count the notes of one episode; each has the spans of frames that it is about, (first, last)."""
        for note, spans in notes.items():
            self.notes[note] += 1
            shown = self.places.setdefault(note, [])
            if len(shown) < _PLACES_SHOWN:
                frames = ", ".join(f"{first}–{last}" for first, last in spans)
                shown.append(f"{episode}, frames {frames};" if frames else f"{episode}")
