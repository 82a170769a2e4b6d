"""An experiment: presets as data, its commands, their run, and the results of what is finished.

preset.py    the experiment as data; presets/ holds the included ones
folder.py    where its parts lie on the disk
stages.py    preset → commands of `inspire`; which part is finished
runner.py    runs the commands
results.py   tables and figures
evidence.py  the files behind the results, small enough for git
provenance.py where their numbers come from
attention.py attention of several policies on a benchmark, measured and drawn
"""

from inspire_vla.experiment.evidence import check_evidence_folder, keep_evidence, refuse_evidence
from inspire_vla.experiment.folder import Experiment
from inspire_vla.experiment.preset import PRESETS, Group, Preset, Sweep, Variant, read_preset
from inspire_vla.experiment.results import write_results
from inspire_vla.experiment.runner import run_otherwise, run_stages
from inspire_vla.experiment.stages import Stage, finished_part, stages

__all__ = [
    "PRESETS",
    "Experiment",
    "Group",
    "Preset",
    "Stage",
    "Sweep",
    "Variant",
    "check_evidence_folder",
    "finished_part",
    "keep_evidence",
    "read_preset",
    "refuse_evidence",
    "run_otherwise",
    "run_stages",
    "stages",
    "write_results",
]
