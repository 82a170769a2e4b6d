"""Put the pair of a finished experiment, and what it started from, into the package, with cards that say what was measured.

    python scripts/ship.py runs/laptop --preset laptop
    python scripts/ship.py runs/laptop --grounding-only        # before any policy has started from it

The pair is that of the preset's first training seed, whatever it scored.
"""

import argparse
import filecmp
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

import inspire_vla
from inspire_vla.evaluation import compare, pool, read_run
from inspire_vla.experiment import Preset, finished_part, read_preset
from inspire_vla.experiment.stages import join
from inspire_vla.lerobot_plugin.checkpoints import find
from inspire_vla.reports.table import interval

SHIPPED = Path(inspire_vla.__file__).parent / "checkpoints"
LARGEST = 25 * 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--grounding-only", action="store_true")
    options = parser.parse_args()
    preset = read_preset(options.preset)
    ship_grounding(options.experiment / "grounding", preset)
    for kind in () if options.grounding_only else ("base", "inspire"):
        ship_policy(options.experiment, preset, kind)


def ship_grounding(source: Path, preset: Preset) -> None:
    """The pre-trained backbone: weights, configuration, evaluation, card. What ships already is left as it is."""
    shipped = SHIPPED / "nano_grounding" / "model.safetensors"
    if shipped.exists() and filecmp.cmp(source / "model.safetensors", shipped, shallow=False):
        return
    scores = json.loads((source / "evaluation.json").read_text(encoding="utf-8"))
    by_kind = ", ".join(
        f"{kind} {100 * of_kind['accuracy']:.1f} % (n = {of_kind['n']})"
        for kind, of_kind in scores["pointing_by_kind"].items()
    )
    card = f"""---
license: apache-2.0
tags: [robotics, inspire_vla]
---
# nano_grounding

What the nano policies start from. It knows what the tabletop benchmark's objects are called, where they are in an image, and
how objects of the same name are told apart by place and relation, as the image shows them. It knows nothing of directions
relative to a robot, actions, layouts or tasks. It stands in for the pre-training of the vision-language model that a real VLA
starts from.

    inspire pretrain {" ".join(preset.pretrain)} --out runs/grounding

Commit {str(scores.get("provenance", {}).get("commit"))[:12]}. Of {scores["pointing_n"]} questions on held-out images it finds {100 * scores["pointing_accuracy"]:.1f} % within 3 % of the image's side (blind:
{100 * scores["pointing_accuracy_blind"]:.1f} %), median error {scores["pointing_median_error"]:.3f} of the side; by kind of phrase: {by_kind}; presence {100 * scores["presence_accuracy"]:.1f} % (n = {scores["presence_n"]}, chance about 50),
names {100 * scores["recognition_accuracy"]:.1f} % (n = {scores["recognition_n"]}). Seed {json.loads((source / "config.json").read_text(encoding="utf-8"))["seed"]}; what departed from the command is in docs/appendix/rounds.md.
"""
    install(
        "nano_grounding", [source / n for n in ("model.safetensors", "config.json", "evaluation.json")], card
    )


def ship_policy(experiment: Path, preset: Preset, kind: str) -> None:
    """A policy's checkpoint and its card, whose front matter the smoke test reads."""
    condition, seed = preset.conditions[0], preset.seeds[0]
    r = condition.value or 0.0
    name = preset.policy(kind)
    source = find(experiment / "policies" / name)
    result = success(experiment, name)
    rates = {group["group"]: group["rates"][0] for group in result["groups"]}
    others = [
        [
            100 * group["rates"][0]["rate"]
            for group in success(experiment, preset.policy(kind, seed=other))["groups"]
        ]
        for other in finished_part(preset, experiment)[0].seeds[1:]
    ]
    beside = ""
    if others:
        of_seen, of_unseen = (
            ", ".join(f"{value:.1f}" for value in column) for column in zip(*others, strict=True)
        )
        beside = f"\nOther training seeds, which do not ship: seen {of_seen}; unseen {of_unseen}.\n"
    answers = {g: result["answers"][0].get(g) for g in ("seen", "unseen")}
    measured: dict[str, Any] = {
        "layout_randomness": r,
        "seen_success": round(rates["seen"]["rate"], 4),
        "seen_episodes": rates["seen"]["n"],
    }
    answers_line = ""
    if answers["seen"] and answers["unseen"]:
        measured["seen_answer_accuracy"] = round(answers["seen"]["rate"], 4)
        answers_line = "\nAnswers in the loop: " + "; ".join(
            f"{g} {100 * a['rate']:.1f} % accuracy (majority class {100 * a['majority_class']:.1f} %, per-task majority {100 * a['per_task_majority']:.1f} %, n = {a['n']:,})"
            for g, a in answers.items()
        ) + ".\n"  # fmt: skip
    front = yaml.safe_dump(
        {"license": "apache-2.0", "library_name": "lerobot", "tags": ["robotics", "lerobot", "inspire_vla"],
         "measured": measured}, sort_keys=False,
    )  # fmt: skip
    what = "InSpire policy" if kind == "inspire" else "base model"
    evaluated = result["policies"][0]["run"]
    journal = map(json.loads, (experiment / "journal.jsonl").read_text(encoding="utf-8").splitlines())
    trained = sorted({str(line.get("commit"))[:12] for line in journal if line["stage"] == f"train {name}"})
    steps = json.loads((source / "train_config.json").read_text(encoding="utf-8"))["steps"]
    options = ("--dataset=datasets/seen", f"--seed={seed}", f"--out=runs/nano_{kind}")
    training = " ".join(join(options, preset.train, preset.variants[kind].train))
    card = f"""---
{front}---
# nano_{kind}

The {what} that `make demo` shows: backbone nano, one 96-pixel camera and robot state, residual VQ on chunks of 4 actions.
It knows the tabletop benchmark's seen tasks; for the demonstration and for tests, not for a robot. From the experiment
of docs/appendix/protocol.md, preset `{preset.name}`; the pair of the first training seed ships, whatever it scored.

    inspire reproduce --preset {preset.name}

and in it

    inspire {" ".join((*preset.data, *condition.arguments))} --out datasets/seen
    inspire train {training}

Training: seed {seed}, {steps:,} steps, from nano_grounding, at commit {", ".join(trained)}. Evaluated at commit {str(evaluated.get("commit"))[:12]}. Weights sha256
{hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()}.

Success, % with 95 % interval, `layout_randomness` {r:g}, seeds from 1,000,000: seen {rate(rates["seen"])} ({preset.groups["seen"].episodes} episodes a
task), unseen, mean of four suites, {rate(rates["unseen"])} ({preset.groups["unseen"].episodes} episodes a task).
{beside}{answers_line}
Everything else is in docs/results.md of the repository.
"""
    files = [path for path in source.iterdir() if path.name not in ("README.md", "train_config.json")]
    target = install(f"nano_{kind}", [*files, source / "train_config.json"], card)
    # The start is written by its shipped name, and no folder of this machine by any.
    for file in ("config.json", "train_config.json"):
        text = (
            (target / file)
            .read_text(encoding="utf-8")
            .replace(str(experiment / "grounding"), "nano_grounding")
        )
        (target / file).write_text(text.replace(f"{experiment}/", f"runs/{preset.name}/"), encoding="utf-8")


def success(experiment: Path, policy: str) -> dict[str, Any]:
    """What a policy's two runs come to."""
    runs = [read_run(experiment / "runs" / f"{policy}_{group}") for group in ("seen", "unseen")]
    return compare([pool([runs], policy)])


def rate(row: dict[str, Any]) -> str:
    return f"{100 * row['rate']:.1f} [{interval(row)}] (n = {row['n']})"


def install(name: str, sources: list[Path], card: str) -> Path:
    """Replace a shipped checkpoint, whole."""
    partial, target = SHIPPED / f".{name}.partial", SHIPPED / name
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for source in sources:
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, partial / source.name)
    (partial / "README.md").write_text(card, encoding="utf-8")
    size = sum(file.stat().st_size for file in partial.rglob("*") if file.is_file())
    if size > LARGEST:
        raise SystemExit(f"{name} takes {size / 2**20:.1f} MiB; at most {LARGEST / 2**20:.0f} are shipped.")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)
    print(f"{target}: {size / 2**20:.1f} MiB")
    return target


if __name__ == "__main__":
    main()
