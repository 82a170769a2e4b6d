"""`inspire evaluate` counts which of the tasks that it plays the checkpoint was trained on, and says so."""

import json
import shutil
from pathlib import Path

import pytest

from inspire_vla.cli import evaluate, main
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.checkpoints import PREPROCESSOR, SHIPPED
from inspire_vla.tabletop.benchmark import tasks_of

SEEN = [task.name for task in tasks_of("tabletop_seen")]
ALL = len(SEEN)


@pytest.mark.parametrize(
    ("trained_on", "played", "counted", "note"),
    [
        (None, [], [ALL, ALL], None),  # a checkpoint of an earlier version
        (SEEN, [], [ALL, ALL], None),
        (SEEN[:3], [], [3, ALL], f"on 3 of {ALL} tasks of tabletop_seen; tables call the suite seen in part"),
        (SEEN[:3], SEEN[1:3], [2, 2], None),
        (SEEN[:3], SEEN[2:4], [1, 2], "on 1 of 2 tasks of tabletop_seen; tables call the suite seen in part"),
        (SEEN[:3], SEEN[3:4], [0, 1], "on 0 of 1 task of tabletop_seen; tables call the suite unseen"),
    ],
)
def test_seen_is_what_was_trained_on(trained_on, played, counted, note, tmp_path, monkeypatch, capsys):
    policy = Path(shutil.copytree(SHIPPED / "nano_inspire", tmp_path / "policy"))
    pipeline = json.loads((policy / PREPROCESSOR).read_text("utf-8"))
    if trained_on is not None:
        pipeline["steps"][3]["config"]["training_tasks"] = {"tabletop_seen": trained_on}
    (policy / PREPROCESSOR).write_text(json.dumps(pipeline), "utf-8")
    plans = []

    def stop(options, plan, *_):
        plans.append(plan)
        raise InspireError("no episode is played here")

    monkeypatch.setattr(evaluate, "_evaluate", stop)
    command = [
        "evaluate",
        "--policy",
        str(policy),
        "--out",
        str(tmp_path / "run"),
        "--suite",
        "tabletop_seen",
    ]
    assert main([*command, *(["--task", *played] if played else [])]) == 2
    printed = capsys.readouterr().err
    (plan,) = plans
    written = json.loads(json.dumps(plan.extra))
    assert written["trained_on"] == ["tabletop_seen"]
    assert written["tasks_trained_on"] == {"tabletop_seen": counted}
    assert (note in printed) if note else ("note: the policy was trained on" not in printed)
