"""Presets are data, and stages are the commands that carry them out."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from inspire_vla.cli import parse
from inspire_vla.errors import InspireError
from inspire_vla.experiment import PRESETS, Group, Preset, Sweep, Variant, read_preset, stages
from inspire_vla.experiment.stages import join
from inspire_vla.recipes import recipe_file
from inspire_vla.tabletop.benchmark import TabletopBenchmark

SMALL = Preset(
    "small",
    data=("collect", "--suite=tabletop_seen", "--episodes=27"),
    variants={"base": Variant(train=("--no-reasoning",)), "inspire": Variant(train=("--reasoning",))},
    groups={"seen": Group(("tabletop_seen",), 1), "unseen": Group(("unseen",), 1)},
    seeds=(0, 1),
    sweep=Sweep("layout-randomness", (0.25,), "Layouts"),
)


def names(preset: Preset) -> list[str]:
    return [stage.name for stage in stages(preset, Path("out"))]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_a_plan_of_valid_commands(name):
    plan = stages(read_preset(name), Path("out"))
    assert len({stage.done for stage in plan}) == len(plan)
    assert len({stage.name for stage in plan}) == len(plan)
    assert plan[0].name == ("pre-training" if read_preset(name).pretrain else "demonstrations")
    for stage in plan:
        parse(stage.command)  # exits for what the command does not accept
        if stage.resume:
            parse(stage.resume)


def test_a_flow_expert_gets_the_data_and_the_budget_of_action_tokens():
    flow, tokens = read_preset("flow"), read_preset("laptop")
    trainings = [
        {s.name: s.command for s in stages(preset, Path("out")) if s.name.startswith("train ")}
        for preset in (flow, tokens)
    ]
    both = trainings[0].keys() & trainings[1].keys()
    assert {"train base_r0.25_s0", "train inspire_r0.25_s1"} <= both
    for name in both:
        words = list(trainings[0][name])
        words.remove("--policy.dtype=auto")  # of the protocol, for time
        other = [word.replace("nano_tabletop_flow", "nano_tabletop") for word in words]
        assert other == list(trainings[1][name])
    assert (flow.data, flow.pretrain, flow.sweep) == (tokens.data, tokens.pretrain, tokens.sweep)
    recipes = [
        yaml.safe_load(recipe_file(name).read_text(encoding="utf-8"))
        for name in ("nano_tabletop_flow", "nano_tabletop")
    ]
    assert {r["batch_size"] for r in recipes} == {32}


@pytest.mark.parametrize(
    "name", sorted(set(PRESETS) - {"laptop_27_tasks", "libero", "libero_small", "libero_small_pretrained"})
)
def test_demonstrations_are_shared_by_all_seen_tasks_alike(name):
    """A collection takes the tasks in turn. The preset of 27 tasks belongs to the earlier benchmark."""
    options = parse([*read_preset(name).data, "--out=x"])
    assert options.suite == "tabletop_seen"
    assert options.episodes % len(TabletopBenchmark().tasks("tabletop_seen")) == 0


def test_base_and_inspire_differ_in_reasoning_alone():
    commands = {s.name: s.command for s in stages(SMALL, Path("out")) if s.name.startswith("train")}
    for seed in (0, 1):
        base, inspire = (set(commands[f"train {kind}_r0.25_s{seed}"]) for kind in ("base", "inspire"))
        assert base - inspire == {f"--out=out/policies/base_r0.25_s{seed}", "--no-reasoning"}
        assert inspire - base == {f"--out=out/policies/inspire_r0.25_s{seed}", "--reasoning"}


def test_demonstrations_and_evaluations_share_the_condition():
    plan = stages(replace(SMALL, sweep=Sweep("layout-randomness", (0.4, 1.0), "Layouts")), Path("out"))
    for stage in plan:
        if stage.command[0] != "train":
            expected = "1.0" if "r1_" in stage.name or stage.name.endswith(" 1") else "0.4"
            assert f"--layout-randomness={expected}" in stage.command, stage.name


def test_controls_use_all_seeds_and_ablations_the_first():
    ablations = {"answers hidden": Variant(train=("--", "--x=1"))}
    found = names(replace(SMALL, controls=("truth",), ablations=ablations))
    assert {n for n in found if "truth" in n} == {
        f"evaluate inspire_r0.25_s{seed}_truth on {group} tasks"
        for seed in (0, 1)
        for group in ("seen", "unseen")
    }
    assert [n for n in found if n.startswith("train answers_hidden")] == ["train answers_hidden_r0.25_s0"]


def test_an_arm_differs_from_its_parent_alone():
    arms = {
        "encoder": Variant(of="base", train=("--", "--x=1"), seeds=2),
        "asked encoder": Variant(of="encoder", train=("--", "--y=1"), controls=("unasked",)),
    }
    plan = {s.name: s.command for s in stages(replace(SMALL, ablations=arms), Path("out"))}
    assert "train encoder_r0.25_s1" in plan
    assert "train asked_encoder_r0.25_s1" not in plan

    def arguments(name: str) -> set[str]:
        return {word for word in plan[f"train {name}_r0.25_s0"] if not word.startswith("--out=")}

    assert arguments("encoder") - arguments("base") == {"--", "--x=1"}
    assert arguments("asked_encoder") - arguments("encoder") == {"--y=1"}
    assert not (arguments("base") - arguments("encoder")) | (
        arguments("encoder") - arguments("asked_encoder")
    )
    unasked = "evaluate asked_encoder_r0.25_s0_unasked on seen tasks"
    assert "--control=unasked" in plan[unasked]


def test_controls_have_at_most_the_episodes_of_their_group():
    groups = {"seen": Group(("a",), 8), "unseen": Group(("b",), 12)}
    arms = {
        "asked": Variant(controls=("unasked",)),
        "all": Variant(controls=("unasked",), controls_episodes=12),
    }
    preset = replace(SMALL, groups=groups, controls=("truth",), controls_episodes=3, ablations=arms)
    plan = {s.name: s.command for s in stages(preset, Path("out"))}

    def episodes(name: str) -> list[str]:
        commands = [plan[f"evaluate {name} on {group} tasks"] for group in groups]
        return [word for command in commands for word in command if word.startswith("--episodes=")]

    assert episodes("inspire_r0.25_s0_truth") == ["--episodes=3", "--episodes=3"]
    assert episodes("asked_r0.25_s0_unasked") == ["--episodes=3", "--episodes=3"]
    assert episodes("all_r0.25_s0_unasked") == ["--episodes=8", "--episodes=12"]


def test_an_arm_needs_what_it_is_compared_with():
    with pytest.raises(InspireError, match="Did you mean 'base'"):
        replace(SMALL, ablations={"arm": Variant(of="bass")})
    with pytest.raises(InspireError, match="more training seeds"):
        replace(SMALL, ablations={"arm": Variant(), "other": Variant(of="arm", seeds=2)})
    with pytest.raises(InspireError, match="at least one seed"):
        replace(SMALL, ablations={"arm": Variant(seeds=0)})


def test_an_ablation_of_labels_trains_on_a_relabelled_copy():
    plan = stages(read_preset("full"), Path("out"))
    label = next(s for s in plan if s.name == "labels for without grasped")
    train = next(s for s in plan if s.name.startswith("train without_grasped"))
    assert "--no-grasped" in label.command
    copy = next(a for a in label.command if a.startswith("--out=")).replace("--out=", "--dataset=")
    assert copy in train.command
    assert "--policy.reasoning.grasped_word=false" in train.command
    assert plan.index(label) < plan.index(train)


def test_pretraining_is_optional_and_its_weights_are_the_start():
    assert not any("pretrain" in stage.command for stage in stages(SMALL, Path("out")))
    plan = stages(replace(SMALL, pretrain=("--images=64",)), Path("out"))
    assert plan[0].command[0] == "pretrain"
    train = next(s for s in plan if s.name.startswith("train"))
    assert "--policy.pretrained_init=out/grounding" in train.command[train.command.index("--") :]


def test_another_benchmark_is_a_file(tmp_path):
    preset = {
        "data": ["label", "datasets/libero_90", "--image-size=224"],
        "train": ["--from=minivla", "--", "--batch_size=64"],
        "variants": {"base": {"train": ["--no-reasoning"]}, "inspire": {"train": ["--reasoning"]}},
        "groups": {
            "seen": {"suites": ["libero_90"], "episodes": 10},
            "unseen": {"suites": ["libero_goal", "libero_10"], "episodes": 10},
        },
        "seeds": [7],
    }
    (tmp_path / "libero.yaml").write_text(yaml.safe_dump(preset), encoding="utf-8")
    plan = stages(read_preset(str(tmp_path / "libero.yaml")), Path("out"))
    assert [stage.name for stage in plan] == [
        "demonstrations",
        "train base_s7",
        "evaluate base_s7 on seen tasks",
        "evaluate base_s7 on unseen tasks",
        "train inspire_s7",
        "evaluate inspire_s7 on seen tasks",
        "evaluate inspire_s7 on unseen tasks",
    ]
    assert "--suite=libero_goal,libero_10" in plan[3].command
    for stage in plan:
        parse(stage.command)


@pytest.mark.parametrize("name", ["000500", "1000000", "last"])
def test_an_interrupted_training_is_resumed(tmp_path, name):
    """Also where the link `last` is missing: a training that is begun again removes its folder."""
    stage = next(s for s in stages(SMALL, tmp_path) if s.name.startswith("train"))
    assert "--resume" not in stage.next_command()
    assert stage.checkpoints is not None
    (stage.checkpoints / name).mkdir(parents=True)
    assert stage.next_command() == ("train", f"--out={tmp_path}/policies/base_r0.25_s0", "--resume")


@pytest.mark.parametrize(
    ("steps", "there", "folder"),
    [
        (20000, (), "005000"),
        (1_000_000, (), "0005000"),
        (1_000_000, ("005000", "0010000"), "005000"),  # resumed with more steps
    ],
)
def test_a_checkpoint_has_as_many_digits_as_the_last_step_of_its_training(tmp_path, steps, there, folder):
    """As LeRobot names it."""
    validation = Group(("tabletop_validation",), 1)
    preset = replace(SMALL, train=(f"--steps={steps}",), checkpoints=(5000,), validation=validation)
    checkpoints = tmp_path / "policies" / "base_r0.25_s0" / "checkpoints"
    for name in there:
        (checkpoints / name).mkdir(parents=True)
    stage = next(stage for stage in stages(preset, tmp_path) if stage.step == 5000)
    assert f"--policy={checkpoints / folder / 'pretrained_model'}" in stage.command
    assert checkpoints / folder / "pretrained_model" in stage.needs


def test_of_two_values_the_last_counts_and_lerobots_stand_behind():
    assert join(("--a=1", "--b"), ("--a=2", "--", "--c=3"), ("--d", "--", "--c=4")) == (
        "--a=2", "--b", "--d", "--", "--c=4",
    )  # fmt: skip
    assert join(("--a",), ()) == ("--a",)
    assert join(("--a", "1", "2", "--b", "-3", "--", "--c", "4"), ("--a", "5"), ("--b=6", "--", "--c", "7")) == (
        "--a", "5", "--b=6", "--", "--c", "7",
    )  # fmt: skip


def test_wrong_presets_are_refused(tmp_path):
    with pytest.raises(InspireError, match="laptop"):
        read_preset("labtop")
    wrong = tmp_path / "wrong.yaml"

    def message(text: str) -> str:
        wrong.write_text(text, encoding="utf-8")
        with pytest.raises(InspireError) as raised:
            read_preset(str(wrong))
        return str(raised.value)

    assert "Did you mean 'seeds'" in message("extends: full\nseed: [0]\n")
    assert "seeds: Input should be a valid tuple" in message("extends: full\nseeds: 3\n")
    assert "episode" in message("extends: full\ngroups: {seen: {suites: [a], episode: 2}}\n")
    assert "required" in message("seeds: [0]\n")
    assert "at least one seed" in message("extends: full\nseeds: []\n")
    assert "controls_episodes" in message("extends: full\ncontrols_episodes: 0\n")
    assert "two variants" in message("extends: full\nvariants: {base: {}}\n")
    assert message("extends: full\nseeds: [1, 1]\n") == (
        f"{wrong} does not fit: preset 'wrong': seeds are numbers of at least 0, each once."
    )
    assert "seeds are numbers of at least 0" in message("extends: full\nseeds: [-1]\n")
    assert "at least one group" in message("extends: full\ngroups: {}\n")
    assert "have one name" in message("extends: full\nvariants: {a b: {}, a_b: {}}\n")  # of one folder
    assert "holds no /" in message("extends: full\nvariants: {a/b: {}, c: {}}\n")
    assert "Unknown control of answers 'trut'" in message("extends: full\ncontrols: [trut]\n")
    assert "Unknown control of answers 'trut'" in message(
        "extends: full\nablations: {a: {controls: [trut]}}\n"
    )
    for steps in ("0", "-2", "2, 2"):
        assert "training steps of at least 1, each once" in message(
            f"extends: full\ncheckpoints: [{steps}]\n"
        )
    assert "at least one episode" in message("extends: full\nvalidation: {suites: [a], episodes: 0}\n")
    sweep = "extends: full\nsweep: {option: %s, values: %s, title: t}\n"
    assert "written without --" in message(sweep % ("--render", "[1]"))
    assert "each once" in message(sweep % ("render", "[1, 1]"))
    assert message("extends: wrong.yaml\n") == f"{wrong} extends itself: {wrong} → {wrong}."
    assert "`extends` names one preset, found 5" in message("extends: 5\n")
