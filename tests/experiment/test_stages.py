from dataclasses import replace
from pathlib import Path

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.experiment import PRESETS, Preset, read_preset, stages

SMALL = Preset("small", demonstrations=2, seeds=(0, 1), episodes_seen=1, episodes_unseen=1)


def names(preset: Preset) -> list[str]:
    return [stage.name for stage in stages(preset, Path("out"))]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_a_plan_whose_stages_are_told_apart(name):
    plan = stages(read_preset(name), Path("out"))
    assert len({stage.done for stage in plan}) == len(plan)
    assert len({stage.name for stage in plan}) == len(plan)
    assert plan[0].name == "grounding pre-training"


def test_base_and_inspire_differ_in_reasoning_alone():
    commands = {s.name: s.command for s in stages(SMALL, Path("out")) if s.name.startswith("train")}
    for seed in (0, 1):
        base, inspire = (commands[f"train {kind}_r0.25_s{seed}"] for kind in ("base", "inspire"))
        differing = [(a, b) for a, b in zip(base, inspire, strict=True) if a != b]
        folder = "--out=out/policies/{}_r0.25_s" + str(seed)
        assert differing == [
            (folder.format("base"), folder.format("inspire")),
            ("--no-reasoning", "--reasoning"),
        ]


def test_demonstrations_and_evaluations_share_their_layouts():
    plan = stages(replace(SMALL, layout_randomness=0.4, curve=(1.0,)), Path("out"))
    for stage in plan:
        wanted = "1.0" if "r1_" in stage.name or stage.name.endswith(" 1") else "0.4"
        for argument in stage.command:
            if argument.startswith("--layout-randomness"):
                assert argument == f"--layout-randomness={wanted}", stage.name


def test_controls_play_all_seeds_and_ablations_the_first():
    found = names(replace(SMALL, controls=("truth",), ablations={"answers hidden": ("--x=1",)}))
    assert {n for n in found if "truth" in n} == {
        f"evaluate inspire_r0.25_s{seed}_truth on {group} tasks"
        for seed in (0, 1)
        for group in ("seen", "unseen")
    }
    assert [n for n in found if n.startswith("train answers_hidden")] == ["train answers_hidden_r0.25_s0"]


def test_an_ablation_with_another_rule_trains_on_labels_of_its_own():
    plan = stages(read_preset("full"), Path("out"))
    label = next(s for s in plan if s.name == "labels for without_grasped")
    train = next(s for s in plan if s.name.startswith("train without_grasped"))
    assert "--no-grasped" in label.command
    own = next(a for a in label.command if a.startswith("--out=")).replace("--out=", "--dataset=")
    assert own in train.command
    assert "--policy.reasoning.grasped_word=false" in train.command
    assert plan.index(label) < plan.index(train)
    with pytest.raises(InspireError, match="rule of no ablation"):
        replace(SMALL, rules={"x": ("--no-grasped",)})


def test_without_images_nothing_is_pretrained():
    plan = stages(replace(SMALL, images=0), Path("out"))
    assert not any(
        "pretrain" in stage.command or "pretrained_init" in " ".join(stage.command) for stage in plan
    )


def test_an_interrupted_training_is_gone_on_with(tmp_path):
    stage = next(s for s in stages(SMALL, tmp_path) if s.name.startswith("train"))
    assert "--resume" not in stage.next_command()
    assert stage.partial is not None
    stage.partial.mkdir(parents=True)
    assert stage.next_command()[0] == "train"
    assert "--resume" in stage.next_command()


def test_what_a_preset_cannot_be(tmp_path):
    with pytest.raises(InspireError, match="laptop"):
        read_preset("labtop")
    wrong = tmp_path / "own.yaml"
    wrong.write_text(
        "demonstrations: 1\nseeds: [0]\nepisodes_seen: 1\nepisodes_unseen: 1\nepisode_seen: 2\n",
        encoding="utf-8",
    )
    with pytest.raises(InspireError, match="episode_seen"):
        read_preset(str(wrong))
    wrong.write_text("seeds: [0]\nepisodes_seen: 1\n", encoding="utf-8")
    with pytest.raises(InspireError, match="lacks demonstrations, episodes_unseen"):
        read_preset(str(wrong))
    with pytest.raises(InspireError, match="at least one seed"):
        replace(SMALL, seeds=())
    with pytest.raises(InspireError, match="between 0 and 1"):
        replace(SMALL, curve=(2.0,))
