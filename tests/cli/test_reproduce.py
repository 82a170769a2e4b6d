"""`inspire reproduce`: what it would run, what it makes of finished runs, and (e2e) the whole road in small."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from inspire_vla.cli import main
from inspire_vla.errors import InspireError
from inspire_vla.evaluation import EpisodeRecord
from inspire_vla.experiment import (
    Experiment,
    Group,
    Preset,
    Sweep,
    Variant,
    keep_evidence,
    read_preset,
    stages,
    write_results,
)  # fmt: skip
from inspire_vla.experiment.results import learning_curves
from inspire_vla.experiment.runner import Progress
from inspire_vla.files import append_json_line
from inspire_vla.lerobot_plugin.checkpoints import SHIPPED, find
from inspire_vla.reports.results import BEGIN, END
from inspire_vla.tabletop.suites import GROUPS

PRESET = Preset(
    "tiny",
    data=("collect", "--suite=tabletop_seen", "--episodes=27"),
    variants={
        "base": Variant(train=("--no-reasoning",)),
        "inspire": Variant(train=("--reasoning",), title="InSpire"),
    },
    groups={"seen": Group(("tabletop_seen",), 4), "unseen": Group(("unseen",), 4)},
    seeds=(0, 1),
    sweep=Sweep("layout-randomness", (0.25,), "How much the layouts vary"),
    controls=("truth",),
    validation=Group(("tabletop_validation",), 4),
)


def write_run(folder: Path, name: str, suite: str, successes: int) -> None:
    """Four episodes of one task, the first `successes` of them successful."""
    folder.mkdir(parents=True)
    reasons = not name.startswith("base")
    info = {
        "policy": {"name": name, "sha256": name.split("_")[2] * 32},
        "groups": {suite: GROUPS[suite]},
        "commit": "c" * 40,
        "started": "then",
    }
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
    records = [
        EpisodeRecord(
            suite=suite, task="t", instruction="i", episode=e, seed=1_000_000 + e, success=e < successes, steps=5,
            answers_scored=2 * reasons, answers_correct=reasons,
            confusion={"left": {"left": 1, "up": 1}} if reasons else {},
            confusion_by_mention=({"left": {"left": 1, "up": 1}},) if reasons else (),
        )
        for e in range(4)
    ]  # fmt: skip
    (folder / "episodes.jsonl").write_text(
        "".join(f"{record.to_json()}\n" for record in records), encoding="utf-8"
    )
    (folder / "finished").touch()


def train(out: Path, policy: str) -> None:
    (out / "policies" / policy).mkdir(parents=True, exist_ok=True)
    (out / "policies" / policy / "finished").touch()


def collect(out: Path, dataset: str) -> None:
    meta = out / "demonstrations" / dataset / "meta"
    meta.mkdir(parents=True)
    (meta / "info.json").write_text(
        json.dumps({"total_episodes": 27, "total_frames": 1234}), encoding="utf-8"
    )


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    out = tmp_path / "experiment"
    for seed in PRESET.seeds:
        for name, seen, unseen in (("base", 2, 0), ("inspire", 4, 2), ("inspire_truth", 3, 1)):
            kind, _, control = name.partition("_")
            policy = f"{kind}_r0.25_s{seed}" + (f"_{control}" if control else "")
            train(out, f"{kind}_r0.25_s{seed}")
            write_run(out / "runs" / f"{policy}_seen", policy, "tabletop_seen", seen)
            write_run(out / "runs" / f"{policy}_unseen", policy, "tabletop_goal", unseen)
    collect(out, "seen_r0.25")
    journal = [
        {"stage": f"train {kind}_r0.25_s{seed}", "seconds": 1800.0, "commit": f"{kind[0]}{seed}" * 20}
        for kind in ("base", "inspire")
        for seed in PRESET.seeds
    ]
    (out / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in journal), encoding="utf-8")
    return out


def test_results_pool_the_seeds_and_say_where_they_come_from(finished: Path) -> None:
    text = write_results(PRESET, finished).read_text(encoding="utf-8")
    assert "| **seen** | 8 | 50.0 [22–78] | 100.0 [68–100] | +50.0 [" in text
    assert "| **unseen** | 8 | 0.0 [0–32] | 50.0 [22–78] | +50.0 [" in text
    assert "| 1 | 50.0, 100.0 | 0.0, 50.0 | +50.0 | 50.0, 50.0 |" in text
    assert (
        "| **unseen** | 16 | 50.0 | 100.0 | 100.0 | 50.0 | 100.0 |" in text
    )  # two answers of each of eight episodes, half of them true
    sure = text.split("### Intervals over tasks and training seeds")[1].split("###")[0]
    assert "| **seen** | +50.0 | – | – | 1 | 0 | 1 |" in sure  # one task, alike seeds
    assert "| answers overridden: the truth | 75.0" in text
    assert "trained at commit b0b0b0b0b0b0, b1b1b1b1b1b1" in text
    assert "trained at commit i0i0i0i0i0i0, i1i1i1i1i1i1" in text
    assert text.count("weights s0s0s0s0s0s0…, s1s1s1s1s1s1…; evaluated at commit cccccccccccc, then") == 2
    assert "27 demonstrations, 1,234 frames, seed 0." in text
    assert (
        "Machine time of the 4 stages in the journal: 2.0 h (1 at b0b0b0b0b0b0, 1 at b1b1b1b1b1b1, " in text
    )
    assert (finished / "figures" / "variants.svg").exists()


def test_other_layouts_are_a_curve_of_the_first_seed_and_leave_the_headline_alone(finished: Path) -> None:
    before = write_results(PRESET, finished).read_text(encoding="utf-8")
    for name, seen, unseen in (("base", 1, 1), ("inspire", 2, 4)):
        policy = f"{name}_r1_s0"
        train(finished, policy)
        write_run(finished / "runs" / f"{policy}_seen", policy, "tabletop_seen", seen)
        write_run(finished / "runs" / f"{policy}_unseen", policy, "tabletop_goal", unseen)
    collect(finished, "seen_r1")
    with open(finished / "journal.jsonl", "a", encoding="utf-8") as journal:
        journal.write(json.dumps({"stage": "train base_r1_s0", "seconds": 1.0, "commit": "d" * 40}) + "\n")
    text = write_results(
        replace(PRESET, sweep=replace(PRESET.sweep, values=(0.25, 1.0))), finished
    ).read_text(encoding="utf-8")
    curve = text.split("### How much the layouts vary (training seed 0)")[1].split("###")[0]
    assert "| 0.25 | 50.0 [15–85] | 100.0 [51–100] | 0.0 [0–49] | 50.0 [15–85] | +50.0 [" in curve
    assert "| 1 | 25.0 [5–70] | 50.0 [15–85] | 25.0 [5–70] | 100.0 [51–100] | +75.0 [" in curve
    assert "| 50 / 50 | 100 / 100 | 100 / 100 |" in curve
    assert "![Success over layout_randomness](figures/randomness.svg)" in curve
    assert (finished / "figures" / "randomness.svg").exists()
    assert text.split("### Accuracy of the answers")[0] == before.split("### Accuracy of the answers")[0]
    assert "trained at commit b0b0b0b0b0b0, b1b1b1b1b1b1;" in text


def test_success_at_checkpoints_is_a_learning_curve(finished: Path) -> None:
    preset = replace(PRESET, checkpoints=(500, 1000))
    for kind, successes in (("base", (0, 1)), ("inspire", (1, 3))):
        for step, count in zip(preset.checkpoints, successes, strict=True):
            name = f"{kind}_r0.25_s0_step{step}"
            write_run(finished / "runs" / f"{name}_validation", name, "tabletop_validation", count)
    text = write_results(preset, finished).read_text(encoding="utf-8")
    assert "![Learning curves](figures/learning.svg)" in text
    assert "| 1,000 | 4 | 25.0 [5–70] | 75.0 [30–95] | +50.0 [" in text
    drawn = (finished / "figures" / "learning.svg").read_text(encoding="utf-8")
    assert "validation, success in %" in drawn
    assert "training steps, thousands" in drawn
    ((_, across, lines),) = learning_curves(Experiment(preset, finished))
    assert across == "training steps, thousands"
    assert lines == [("base", [0.5, 1.0], [0.0, 25.0]), ("InSpire", [0.5, 1.0], [25.0, 75.0])]


def test_the_seeds_of_the_results_are_those_that_were_used(finished: Path, tmp_path: Path) -> None:
    for path in finished.glob("runs/*/run.json"):
        info = json.loads(path.read_text(encoding="utf-8")) | {"plan": {"first_seed": 2_000_000}}
        path.write_text(json.dumps(info), encoding="utf-8")
    seeded = replace(PRESET, data=(*PRESET.data, "--seed=3"))
    text = write_results(seeded, finished).read_text(encoding="utf-8")
    assert "1,234 frames, seed 3." in text
    assert text.count("then and later, episode seeds from 2,000,000.") == 2
    record = finished / "demonstrations" / "seen_r0.25" / "meta" / "inspire_collection.json"
    record.write_text(
        json.dumps({"settings": {"seed": 7}, "episodes": [{"task": "t"}] * 27}), encoding="utf-8"
    )
    keep_evidence(finished, tmp_path / "kept")
    for out in (finished, tmp_path / "kept"):
        assert "1,234 frames, seed 7." in write_results(seeded, out).read_text(encoding="utf-8")
    record.unlink()
    labelled = replace(PRESET, data=("label", "my_data"))  # demonstrations of people have no seed
    assert "1,234 frames." in write_results(labelled, finished).read_text(encoding="utf-8")


def test_a_document_keeps_what_stands_around_its_markers(finished: Path, tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(f"mine\n{BEGIN}\n{END}\nmine too\n", encoding="utf-8")
    assert write_results(PRESET, finished, document) == document
    text = document.read_text(encoding="utf-8")
    assert text.startswith("mine\n")
    assert text.endswith("mine too\n")
    assert "![Success by suite](page/success.svg)" in text
    assert (tmp_path / "page" / "success.svg").exists()


def test_the_kept_evidence_gives_the_same_results_without_what_is_large(
    finished: Path, tmp_path: Path
) -> None:
    log = finished / "policies" / "base_r0.25_s0" / "train_log.jsonl"
    log.write_text('{"step": 100, "loss": 3.0}\n{"step": 100, "loss": 2.5}\n', encoding="utf-8")
    assert next(learning_curves(Experiment(PRESET, finished)))[2] == [
        ("base", [0.1], [2.5])
    ]  # the resumed step counts
    for episodes in finished.glob("runs/*/episodes.jsonl"):
        line = json.loads(episodes.read_text(encoding="utf-8").splitlines()[0])
        line["timeline"] = [[0, ["left"], ["left"], [1.0]]] * 50
        episodes.write_text(
            json.dumps(line) + "\n" + "\n".join(episodes.read_text(encoding="utf-8").splitlines()[1:]) + "\n",
            encoding="utf-8",
        )
    run = finished / "runs" / "base_r0.25_s0_seen" / "run.json"
    run.write_text(
        json.dumps(
            json.loads(run.read_text(encoding="utf-8")) | {"path": f"{finished}/policies/base_r0.25_s0"}
        ),
        encoding="utf-8",
    )
    weights = finished / "policies" / "base_r0.25_s0" / "model.safetensors"
    weights.write_text("large", encoding="utf-8")
    kept = tmp_path / "evidence"
    for _ in range(2):  # the second replaces the first
        keep_evidence(finished, kept)
    texts = [
        path.read_text(encoding="utf-8")
        for path in kept.rglob("*")
        if path.suffix in (".json", ".jsonl", ".txt")
    ]
    assert not any("timeline" in text or str(tmp_path) in text for text in texts)
    assert "policies/base_r0.25_s0" in (kept / "runs" / "base_r0.25_s0_seen" / "run.json").read_text(
        encoding="utf-8"
    )
    assert not list(kept.rglob("*.safetensors"))
    assert write_results(PRESET, kept).read_text(encoding="utf-8") == write_results(
        PRESET, finished
    ).read_text(encoding="utf-8")
    assert (kept / "figures" / "learning.svg").exists()


def with_weights(out: Path) -> None:
    """Weights of every policy and of the pre-training, as the commands leave them."""
    for folder in (*(out / "policies").iterdir(), out / "grounding"):
        inside = (
            folder if folder.name == "grounding" else folder / "checkpoints" / "000100" / "pretrained_model"
        )
        inside.mkdir(parents=True)
        (inside / "model.safetensors").write_bytes(bytes(range(256)))
        (inside / "config.json").write_text(json.dumps({"init": f"{out}/grounding"}), encoding="utf-8")
        (folder / ("log.jsonl" if folder.name == "grounding" else "train_log.jsonl")).touch()
        if folder.name != "grounding":
            (folder / "checkpoints" / "last").symlink_to("000100")
    (out / "grounding" / "finished").touch()


def test_evidence_with_weights_holds_the_last_checkpoint_of_each_policy(
    finished: Path, tmp_path: Path
) -> None:
    with_weights(finished)
    kept = tmp_path / "evidence"
    keep_evidence(finished, kept, weights=True)
    checkpoints = [kept / "policies" / path.name for path in (finished / "policies").iterdir()]
    assert len(checkpoints) == 4
    for folder in (kept / "grounding", *(find(path) for path in checkpoints)):
        assert (folder / "model.safetensors").read_bytes() == bytes(range(256))
        assert json.loads((folder / "config.json").read_text(encoding="utf-8")) == {"init": "grounding"}
    assert not list(kept.rglob("*000100*"))
    keep_evidence(finished, kept)
    assert not list(kept.rglob("*.safetensors"))


def test_the_last_checkpoint_is_kept_without_its_link_and_a_missing_one_is_named(
    finished: Path, tmp_path: Path
) -> None:
    with_weights(finished)
    trained = finished / "policies" / "base_r0.25_s0"
    for step in ("000100", "1000000", "0999999"):
        shutil.rmtree(trained / "checkpoints" / step, ignore_errors=True)
        shutil.copytree(SHIPPED / "nano_base", trained / "checkpoints" / step / "pretrained_model")
        config = trained / "checkpoints" / step / "pretrained_model" / "config.json"
        changed = json.loads(config.read_text(encoding="utf-8")) | {"optimizer_lr": int(step) / 1e9}
        config.write_text(json.dumps(changed), encoding="utf-8")
    (trained / "checkpoints" / "last").unlink()
    kept = tmp_path / "kept"
    keep_evidence(finished, kept, weights=True)
    config = kept / "policies" / trained.name / "checkpoints" / "last" / "pretrained_model" / "config.json"
    assert json.loads(config.read_text(encoding="utf-8"))["optimizer_lr"] == 1e-3
    assert (config.parent / "model.safetensors").is_file()
    shutil.rmtree(trained / "checkpoints")
    with pytest.raises(InspireError, match=r"--weights: the weights of .*base_r0.25_s0 are not here"):
        keep_evidence(finished, kept, weights=True)
    assert config.is_file()  # the earlier copy stays
    (trained / "finished").unlink()
    keep_evidence(finished, kept, weights=True)


def test_evaluations_go_on_in_a_copy_with_weights_and_are_refused_in_one_without(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Both without demonstrations, which no evaluation needs. A training needs them."""
    with_weights(finished)
    (finished / "runs" / "inspire_r0.25_s1_unseen" / "finished").unlink()
    monkeypatch.setattr("inspire_vla.experiment.read_preset", lambda _: PRESET)
    monkeypatch.setattr("inspire_vla.cli.reproduce._check_commands", lambda _: None)
    begun: list[str] = []

    def begin(plan, out, **_):
        begun.extend(stage.name for stage in plan if not stage.done.exists())
        return Progress(len(plan) - len(begun), len(plan))

    monkeypatch.setattr("inspire_vla.experiment.run_stages", begin)
    bare, whole = tmp_path / "bare", tmp_path / "whole"
    keep_evidence(finished, bare)
    assert main(["reproduce", f"--out={bare}"]) == 2
    assert "inspire_r0.25_s1 has the log of a training and no weights" in capsys.readouterr().err
    shutil.rmtree(bare / "demonstrations")  # to be collected again
    assert main(["reproduce", f"--out={bare}"]) == 2
    assert "inspire_r0.25_s1 has the log of a training and no weights" in capsys.readouterr().err
    assert not begun
    command = ["reproduce", f"--out={finished}", f"--keep={whole}", "--weights"]
    assert main(command) == 0  # kept although it is not finished
    assert main(["reproduce", f"--out={whole}"]) == 0
    assert begun == ["evaluate inspire_r0.25_s1 on unseen tasks"] * 2
    (whole / "policies" / "base_r0.25_s1" / "finished").unlink()
    assert main(["reproduce", f"--out={whole}"]) == 2
    assert "seen_r0.25 holds no demonstrations" in capsys.readouterr().err


def test_a_short_name_is_not_taken_out_of_other_words(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    finished.rename("s")
    Path("s/journal.jsonl").write_text(
        json.dumps({"command": ["--dataset=s/demonstrations/runs/x", "s/y"]}), encoding="utf-8"
    )
    keep_evidence(Path("s"), Path("kept"))
    assert json.loads(Path("kept/journal.jsonl").read_text(encoding="utf-8"))["command"] == [
        "--dataset=demonstrations/runs/x",
        "y",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "s"]


def test_evidence_never_replaces_another_folder(finished: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").touch()
    with pytest.raises(InspireError, match="no evidence"):
        keep_evidence(finished, mine)
    assert (mine / "thesis.tex").exists()


def test_base_and_inspire_of_the_first_seed_must_be_finished(finished: Path) -> None:
    (finished / "runs" / "base_r0.25_s0_unseen" / "finished").unlink()
    with pytest.raises(InspireError, match=r"evaluate base_r0\.25_s0 on unseen tasks to do"):
        write_results(PRESET, finished)


def test_a_training_seed_that_is_not_finished_is_left_out_whole(finished: Path) -> None:
    (finished / "runs" / "base_r0.25_s1_unseen" / "finished").unlink()
    expected = write_results(replace(PRESET, seeds=(0,)), finished).read_text(encoding="utf-8").rstrip()
    assert (
        write_results(PRESET, finished).read_text(encoding="utf-8")
        == f"{expected}\n\nNot finished: training seed 1.\n"
    )


def test_a_control_needs_all_training_seeds_that_are_finished(finished: Path) -> None:
    (finished / "runs" / "inspire_r0.25_s1_truth_seen" / "finished").unlink()
    text = write_results(PRESET, finished).read_text(encoding="utf-8")
    assert "Not finished: answers overridden: the truth" not in text
    assert text.endswith("Not finished: answers overridden: truth.\n")
    assert "| 1 | 50.0, 100.0 |" in text


def test_what_else_is_not_finished_is_named_and_left_out(finished: Path) -> None:
    train(finished, "hidden_r0.25_s0")
    write_run(finished / "runs" / "hidden_r0.25_s0_seen", "hidden_r0.25_s0", "tabletop_seen", 1)
    preset = replace(
        PRESET,
        controls=("truth", "random"),
        sweep=replace(PRESET.sweep, values=(0.25, 1.0)),
        checkpoints=(500,),
        ablations={"hidden": Variant(train=("--x",)), "ruled": Variant(train=("--y",), label=("--z",))},
    )
    left = "answers overridden: random, layout_randomness 1, validation after 500 steps, hidden, ruled"
    expected = (
        write_results(PRESET, finished).read_text(encoding="utf-8").rstrip() + f"\n\nNot finished: {left}.\n"
    )
    assert write_results(preset, finished).read_text(encoding="utf-8") == expected
    write_run(finished / "runs" / "hidden_r0.25_s0_unseen", "hidden_r0.25_s0", "tabletop_goal", 1)
    text = write_results(preset, finished).read_text(encoding="utf-8")
    assert "| hidden, seed 0 | 25.0" in text
    assert "| InSpire, seed 0 | 100.0 [51–100] | +0.0 [" in text
    assert (
        "Not finished: answers overridden: random, layout_randomness 1, validation after 500 steps, ruled."
        in text
    )


def test_a_dry_run_shows_every_command_and_runs_none(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "x"
    assert main(["reproduce", "--preset", "laptop", "--out", str(out), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(stages(read_preset("laptop"), out))
    assert all(line.startswith("to do") for line in lines)
    assert not out.exists()


def test_a_dry_run_says_what_would_be_kept_and_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    document, kept = tmp_path / "page.md", tmp_path / "kept"
    document.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    words = [
        "reproduce",
        "--preset",
        "laptop",
        "--out",
        str(tmp_path / "x"),
        "--dry-run",
        "--docs",
        str(document),
    ]
    assert main([*words, "--keep", str(kept), "--weights"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [f"then    evidence with weights in {kept}", f"then    results in {document}"]
    assert [path.name for path in tmp_path.iterdir()] == ["page.md"]


def test_learning_curves_of_a_training_that_was_resumed_and_was_not_finite(finished: Path) -> None:
    """What it logged after the checkpoint that it was resumed from belongs to no policy."""
    log = finished / "policies" / "base_r0.25_s0" / "train_log.jsonl"
    rows = [
        (1000, 3.0),
        (2000, 2.0),
        (2500, 9.0),
        (3000, 9.0),
        (2400, 1.5),
        (2800, float("nan")),
        (3200, 1.0),
    ]
    for step, loss in rows:
        append_json_line(log, {"step": step, "loss": loss})
    with log.open("a", encoding="utf-8") as file:
        file.write('{"step": 3600, "lo')
    assert next(learning_curves(Experiment(PRESET, finished)))[2] == [
        ("base (not finite: 1 of 5 points)", [1.0, 2.0, 2.4, 3.2], [3.0, 2.0, 1.5, 1.0])
    ]


def test_finished_stages_that_other_options_made_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A preset that was changed, or another one, in the folder of an experiment that has moved."""
    monkeypatch.setattr("inspire_vla.experiment.run_stages", lambda *_, **__: Progress(1, 2))
    out = tmp_path / "out"
    stage = next(s for s in stages(read_preset("smoke"), out) if s.name == "train base_r0.25_s0")
    stage.done.parent.mkdir(parents=True)
    stage.done.touch()
    moved = [word.replace(str(out), "runs/earlier") for word in stage.command]
    changed = ["--steps=5" if word == "--steps=4" else word for word in moved]
    for command, warned in ((moved, False), (changed, True)):
        lines = [
            {"stage": stage.name, "command": ["inspire", *command]},
            {"stage": stage.name, "command": ["inspire", *(stage.resume or ())]},
        ]
        (out / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        assert main(["reproduce", "--preset", "smoke", "--out", str(out)]) == 0
        told = "holds 1 finished stage that other options of the preset made, such as train base_r0.25_s0."
        assert (told in capsys.readouterr().err) == warned


def test_a_resumed_training_saves_as_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The preset was changed while a training was interrupted: what counts is how that one saves."""
    monkeypatch.setattr("inspire_vla.experiment.run_stages", lambda *_, **__: Progress(1, 2))
    monkeypatch.setattr("inspire_vla.lerobot_plugin.checkpoints.check_training_state", lambda _: None)
    checkpoints = tmp_path / "out" / "policies" / "base_r0.25_s0" / "checkpoints"
    shutil.copytree(SHIPPED / "nano_base", checkpoints / "000500" / "pretrained_model")
    (checkpoints / "last").symlink_to("000500")
    began = json.loads((checkpoints / "last/pretrained_model/train_config.json").read_text(encoding="utf-8"))
    every, last = began["save_freq"], began["steps"]
    assert (every, last) != (4, 4)
    for steps, code in (([every, last], 0), ([2], 2)):
        text = (
            f"extends: smoke\ntrain: [--, --steps={last}, --save_freq={steps[0]}]\n"
            f"checkpoints: {steps}\nvalidation: {{suites: [validation], episodes: 1}}\n"
        )
        (tmp_path / "changed.yaml").write_text(text, encoding="utf-8")
        command = ["reproduce", "--preset", str(tmp_path / "changed.yaml"), "--out", str(tmp_path / "out")]
        assert main(command) == code
    told = f"No checkpoint is saved after 2 steps: the training takes {last:,}, and saves every {every} "
    assert f"train base_r0.25_s0: {told}" in capsys.readouterr().err


def test_trainings_may_start_from_an_included_policy_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LeRobot itself would look for the name on the hub."""
    monkeypatch.setattr("inspire_vla.experiment.run_stages", lambda *_, **__: Progress(1, 2))
    text = "extends: smoke\nvariants: {base: {train: [--from=nano_base]}, inspire: {train: [--from=nano_inspire]}}\n"
    (tmp_path / "from.yaml").write_text(text, encoding="utf-8")
    command = ["reproduce", "--preset", str(tmp_path / "from.yaml"), "--out", str(tmp_path / "out")]
    assert main(command) == 0


def test_a_training_may_start_from_a_checkpoint_of_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("inspire_vla.experiment.run_stages", lambda *_, **__: Progress(1, 2))
    preset, out = tmp_path / "further.yaml", tmp_path / "out"
    command = ["reproduce", "--preset", str(preset), "--out", str(out)]
    for start, code in (("inspire_r0.25_s0", 0), ("inspired_r0.25_s0", 2)):
        checkpoint = out / "policies" / start / "checkpoints" / "last" / "pretrained_model"
        preset.write_text(
            f"extends: smoke\nablations: {{further: {{of: base, train: ['--from', '{checkpoint}']}}}}\n",
            encoding="utf-8",
        )
        assert main(command) == code
    assert "train further_r0.25_s0: unknown checkpoint" in capsys.readouterr().err
    plan = {stage.name: stage for stage in stages(read_preset(str(preset)), out)}
    needed = out / "policies" / "inspired_r0.25_s0" / "finished"
    assert needed in plan["train further_r0.25_s0"].needs
    preset.write_text(preset.read_text(encoding="utf-8").replace("'--from', '", "'--from="), encoding="utf-8")
    plan = {stage.name: stage for stage in stages(read_preset(str(preset)), out)}
    assert needed in plan["train further_r0.25_s0"].needs


@pytest.mark.parametrize("preset", ["full", "laptop", "flow", "smoke"])
def test_nothing_of_an_included_preset_is_refused(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inspire_vla.experiment.run_stages", lambda *_, **__: Progress(1, 2))
    assert main(["reproduce", "--preset", preset, "--out", str(tmp_path / "out")]) == 0


def test_a_checkpoint_that_a_finished_training_lacks_is_missed_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The preset got `checkpoints` after its trainings."""
    monkeypatch.setattr("inspire_vla.experiment.run_stages", lambda *_, **__: Progress(1, 2))
    preset, out = tmp_path / "more.yaml", tmp_path / "out"
    preset.write_text(
        "extends: smoke\ncheckpoints: [2]\nvalidation: {suites: [validation], episodes: 1}\n",
        encoding="utf-8",
    )
    command = ["reproduce", "--preset", str(preset), "--out", str(out)]
    for name in ("base", "inspire"):
        train(out, f"{name}_r0.25_s0")
        assert main(command) == 2
        saved = out / "policies" / f"{name}_r0.25_s0" / "checkpoints" / "000002" / "pretrained_model"
        assert f"the training is finished, and there is no checkpoint {saved}." in capsys.readouterr().err
        saved.mkdir(parents=True)
    assert main(command) == 0


@pytest.mark.e2e
def test_the_whole_experiment_in_small_and_in_pieces(tmp_path: Path) -> None:
    """Interrupted again and again, the same command ends with results."""
    out = tmp_path / "smoke"
    for _ in range(40):
        assert main(["reproduce", "--preset", "smoke", "--out", str(out), "--minutes", "1"]) == 0
        if (out / "results.md").exists():
            break
    journal = [json.loads(line) for line in (out / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    assert "interrupted" in {line["outcome"] for line in journal}
    assert "### Controls and ablations" in (out / "results.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("words", "told"), [
    ("--preset list", "list holds a list, where keys with values are needed"),
    ("--preset broken", "broken is no YAML"),
    ("--preset twice", "twice does not fit: preset 'twice': seeds are numbers of at least 0, each once."),
    ("--preset train", "train base_r0.25_s0: --steps=abc: it takes a whole number."),
    ("--preset data", "unknown command 'collct'. Did you mean 'collect'?"),
    ("--preset evaluate", "evaluate base_r0.25_s0 on seen tasks: this is not possible: inspire evaluate "),
    ("--preset suites", "Unknown suite 'seens'."),
    ("--preset collected", "demonstrations, layout_randomness 0.25: Unknown suite 'seens'."),
    ("--preset tasks", "evaluate base_r0.25_s0 on seen tasks: Unknown task 'fly' in ['tabletop_seen']."),
    ("--preset seed", "evaluate base_r0.25_s0 on seen tasks: Seeds lie between 0 and "),
    ("--preset arm", "--env libero needs a --suite. Possible: ['libero_10', "),
    ("--preset modes", "Unknown reasoning mode 'directions'. Did you mean 'direction'"),
    ("--preset start", "pre-training: Unknown recipe 'grounding'."),
    ("--preset recipe", "train base_r0.25_s0: Unknown recipe 'nano'."),
    ("--preset from", "train base_r0.25_s0: unknown checkpoint 'nano_bass'"),
    ("--preset both", "train a_r0.25_s0: --reasoning and --no-reasoning exclude each other."),
    ("--preset reasoning", "train inspire_r0.25_s0: Unknown reasoning mode 'directions'"),
    ("--preset hub", "'repo_id' argument missing."),
    ("--preset unsaved", "--save_checkpoint=false: nothing of this training could be evaluated."),
    ("--preset between", "train base_r0.25_s0: No checkpoint is saved after 3 steps: the training takes 4, and "),
    ("--preset between", "and saves every 2 (--save_freq) and the last. Possible: 2, 4."),
    ("--preset beyond", "No checkpoint is saved after 8,500 steps: the training takes 8,000, and saves every 500 "),
    ("--preset beyond", "(--save_freq) and the last. Possible: 500, 1000, …, 8000."),
    ("--preset control", "evaluate base_r0.25_s0 on seen tasks: Unknown control of answers 'trut'"),
    ("--preset render", "evaluate base_r0.25_s0 on seen tasks: --render is for LIBERO"),
    ("--preset device", "evaluate base_r0.25_s0 on seen tasks: The device 'cpus' cannot be used"),
    ("--preset pushed", "demonstrations, layout_randomness 0.25: perturbations must be between 0 and 1, found 2.0."),
    ("--preset labels", "labels for a: Unknown reasoning mode 'directions'"),
    ("--preset confidence", "labels for a: the least confidence must lie between 0 and 1, found 7."),
    ("--preset layouts", "demonstrations, layout_randomness 7: layout_randomness must be between 0 and 1, found 7.0."),
    ("--preset smoke --minutes 0", "--minutes must be above 0"),
    ("--preset smoke --out list", "list is a file, where a folder is needed"),
    ("--preset smoke --out runs --docs none.md", "There is no document none.md"),
    ("--preset smoke --out runs --docs list", "lacks the marker"),
    ("--preset smoke --out runs --keep other", "other holds no evidence"),
    ("--preset smoke --weights", "--weights goes with --keep FOLDER"),
])  # fmt: skip
def test_what_would_fail_after_hours_is_refused_at_once(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list").write_text("- seeds", encoding="utf-8")
    (tmp_path / "broken").write_text("seeds: [", encoding="utf-8")
    own = {
        "twice": "seeds: [0, 0]",
        "train": "train: [--, --steps=abc]",
        "data": "data: [collct]",
        "evaluate": "evaluate: [--nosuch=1]",
        "suites": "groups: {seen: {suites: [seens], episodes: 1}}",
        "collected": "data: [collect, --suite=seens, --episodes=55]",
        "tasks": "evaluate: [--task=fly]",
        "seed": "evaluate: [--first-seed=-1]",
        "arm": "data: [collect, --env=libero, --episodes=55]",
        "modes": "data: [collect, --modes=directions, --episodes=55]",
        "start": "pretrain: [--recipe=grounding]",
        "recipe": "train: [--recipe=nano]",
        "from": "train: [--from=nano_bass]",
        "both": "ablations: {a: {of: base, train: [--reasoning]}}",
        "reasoning": "variants: {base: {}, inspire: {train: [--, --policy.reasoning.mode=directions]}}",
        "hub": "train: [--, --policy.push_to_hub=true]",
        "unsaved": "train: [--, --save_checkpoint=false]",
        "between": "checkpoints: [2, 3, 4]\nvalidation: {suites: [validation], episodes: 1}",
        "beyond": "train: []\ncheckpoints: [8500]\nvalidation: {suites: [validation], episodes: 1}",
        "control": "evaluate: [--control=trut]",
        "render": "evaluate: [--render=fast]",
        "device": "evaluate: [--device=cpus]",
        "pushed": "data: [collect, --suite=tabletop_seen, --episodes=55, --perturbations=2]",
        "labels": "ablations: {a: {of: base, label: [--modes=directions]}}",
        "confidence": "ablations: {a: {of: base, label: [--min-confidence=7]}}",
        "layouts": "sweep: {option: layout-randomness, values: [0, 7], title: t}",
    }
    for name, keys in own.items():
        (tmp_path / name).write_text(f"extends: smoke\n{keys}\n", encoding="utf-8")
    monkeypatch.setattr("inspire_vla.experiment.run_stages", lambda *_, **__: pytest.fail("begun"))
    (tmp_path / "other").mkdir()
    assert main(["reproduce", *words.split()]) == 2
    assert told in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"list", "broken", "other", *own}
