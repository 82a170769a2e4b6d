"""The folder of an experiment: where its commands write, and its results and evidence read."""

from dataclasses import dataclass
from pathlib import Path

from inspire_vla.experiment.preset import Condition, Preset

JOURNAL = "journal.jsonl"
"""A line for each command that was run: its stage, commit, seconds and outcome."""


@dataclass(frozen=True)
class Experiment:
    """A preset, and the folder `out` in which it is carried out.

    demonstrations/seen…, grounding, images    what is trained on
    policies/NAME, runs/NAME_GROUP             trainings and evaluations
    journal.jsonl, logs                        the commands that were run
    """

    preset: Preset
    out: Path

    @property
    def journal(self) -> Path:
        return self.out / JOURNAL

    @property
    def grounding(self) -> Path:
        """The pre-training."""
        return self.out / "grounding"

    @property
    def images(self) -> Path:
        """The images of the pre-training."""
        return self.out / "images"

    def demonstrations(self, condition: Condition, labels: str = "") -> Path:
        """The demonstrations (of seen tasks) of a condition, or their copy with the labels of an ablation."""
        tag = labels and "_" + labels.replace(" ", "_")
        return self.out / "demonstrations" / f"seen{condition.tag}{tag}"

    def policy(self, name: str) -> Path:
        """The training of a policy, named as by `Preset.policy`."""
        return self.out / "policies" / name

    def run(self, name: str, group: str) -> Path:
        """The evaluation of a policy on a group of suites; `name` also says control or training steps."""
        return self.out / "runs" / f"{name}_{group}"
