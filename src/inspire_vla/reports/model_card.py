"""The model card of a checkpoint, README.md on the hub: what it takes, how to run it, what was measured and how."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import yaml

from inspire_vla.comparison_format import Comparison
from inspire_vla.errors import counted
from inspire_vla.reports.table import make_table
from inspire_vla.reports.tables import comparison_tables, warnings

_FRONT = {
    "library_name": "lerobot",
    "pipeline_tag": "robotics",
    "tags": ["robotics", "lerobot", "inspire_vla"],
}


def model_card(
    about: Mapping[str, Any],
    comparison: Comparison | None,
    runs: Sequence[Mapping[str, Any]],
    *,
    name: str,
    license: str = "apache-2.0",
    training: Mapping[str, Any] | None = None,
    suites: Mapping[str, Collection[str] | None] | None = None,
) -> str:
    """Return the card in Markdown, with the front matter that the hub reads.

    Args:
        about: of the checkpoint (`policies.describe`).
        comparison: of its evaluations (`evaluation.compare`); None: nothing was measured, and the card says so.
        runs: run.json of each evaluation.
        name: its name on the hub, user/name.
        training: train_config.json.
        suites: that it was trained on, where known; with their tasks, where these are known.
    """
    reasoning = about["reasoning"]
    dataset = (training or {}).get("dataset", {}).get("repo_id") or ""
    front = {"license": license, **_FRONT}
    if "/" in dataset and not dataset.startswith("local/"):
        front["datasets"] = [dataset]
    tokenizer = about["action_tokenizer"]
    acts = "a flow expert" if tokenizer is None else f"{tokenizer} action tokens"
    summary = "The base model: it is asked nothing before it acts"
    if reasoning.get("enabled"):
        summary = (
            f"InSpire (arXiv 2505.13888): it answers where each object is before it acts. Mode `{reasoning['mode']}`, "
            f"frame `{reasoning['frame']}`, at most {counted(reasoning['max_objects'], 'object')}"
        )
    sizes = [
        *(
            (f"camera `{camera}`", " × ".join(map(str, size)))
            for camera, size in about["image_sizes"].items()
        ),
        ("state", f"{counted(about['state_dim'], 'number')}"),
        ("action (output)", f"{counted(about['action_dim'], 'number')}"),
    ]
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False).rstrip(),
        "---",
        f"# {name.rpartition('/')[2]}",
        "",
        f"A policy of inspire_vla for LeRobot: {about['backbone']} with {acts}.",
        f"{summary}.",
        "",
        "## Use",
        "",
        "```python",
        "from inspire_vla import load_policy",
        "",
        f'agent = load_policy("{name}")',
        'decision = agent.act(observation, "put the red mug on the plate")',
        "```",
        "",
        f"    inspire serve --policy {name} --port 8000",
        "",
        *make_table(("input", "size"), sizes).markdown(),
        "",
        "## Training",
        "",
        _training(training, dataset, suites),
        "",
        "## Measured",
        "",
    ]
    if comparison is None:
        lines += ["Nothing was measured."]
    else:
        for table in comparison_tables(comparison):
            lines += [*([f"**{table.title}**", ""] if table.title else []), *table.markdown(), ""]
        lines += [f"- {line}" for line in warnings(comparison)]
        lines += [_provenance(run) for run in runs]
    lines += ["", f"Weights sha256 `{about['sha256']}`.", ""]
    return "\n".join(lines)


def _training(
    training: Mapping[str, Any] | None, dataset: str, suites: Mapping[str, Collection[str] | None] | None
) -> str:
    if training is None:
        return "Not trained by LeRobot: the checkpoint holds no train_config.json."
    trained_on = [
        name if tasks is None else f"{name}: {counted(len(tasks), 'task')}"
        for name, tasks in (suites or {}).items()
    ]
    data = f"data set {dataset}" + (f" ({', '.join(trained_on)})" if trained_on else "")
    steps = f"{counted(training.get('steps', 0), 'step')} of {training.get('batch_size')}"
    return f"The {data}, {steps}, seed {training.get('seed')}. Every setting is in train_config.json."


def _provenance(run: Mapping[str, Any]) -> str:
    """Where a run's numbers come from, as an item of a list."""
    plan = run.get("plan", {})
    program, *words = shlex.split(str(run.get("command") or "inspire evaluate"))
    command = (
        shlex.join(["inspire", *words]) if program.endswith(".py") or "inspire" in program else "unknown"
    )
    if run.get("kind") == "dataset":
        what = counted(len(plan.get("episodes", ())), "recorded episode")
    else:
        what = f"{counted(plan.get('episodes_per_task', 0), 'episode')} a task from seed {plan.get('first_seed')}"
    end = f"finished {run['finished']}" if "finished" in run else "**not finished**"
    return f"- `{command}`: {what}, commit {str(run.get('commit'))[:12]}, {end}"
