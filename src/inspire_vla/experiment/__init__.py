"""The experiment of docs/appendix/protocol.md as a list of commands, each of which can be interrupted and resumed."""

from inspire_vla.experiment.evidence import keep_evidence, refuse_evidence
from inspire_vla.experiment.finished import finished_part
from inspire_vla.experiment.presets import PRESETS, Preset, read_preset
from inspire_vla.experiment.results import write_results
from inspire_vla.experiment.runner import run_stages
from inspire_vla.experiment.stages import Stage, stages

__all__ = [
    "PRESETS",
    "Preset",
    "Stage",
    "finished_part",
    "keep_evidence",
    "read_preset",
    "refuse_evidence",
    "run_stages",
    "stages",
    "write_results",
]
