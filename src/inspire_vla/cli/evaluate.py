"""`inspire evaluate`."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from inspire_vla.backbones.devices import check_device
from inspire_vla.cli.options import (
    EpisodesOrCount,
    Names,
    NotNegative,
    PolicyOptions,
    Positive,
    PositiveOrNone,
    Shard,
    chosen_policy,
    mention_overrides,
    refuse_unused,
)
from inspire_vla.errors import InspireError, counted, part_of_these
from inspire_vla.files import check_folder
from inspire_vla.worker_processes import usable_cores

if TYPE_CHECKING:
    from inspire_vla.evaluation import AnswerRule, EvaluationPlan, Factory, PolicyDescription, Run
    from inspire_vla.evaluation.plan import Plan
    from inspire_vla.instruction import Overrides


@dataclass(kw_only=True)
class Arguments(PolicyOptions):
    """Run a policy on the tasks of a benchmark, or on recorded episodes; can be interrupted and resumed."""

    out: Path
    """Folder of the run."""
    dataset: Path | None = None
    """In place of a simulator: a labelled LeRobot dataset (a folder, or user/name). The policy answers and acts on its
    frames; answers are compared with the labels, actions with the demonstrated ones."""
    suite: Names = ("seen", "unseen")
    """Suites, or the groups seen, unseen and validation of the tabletop; also libero_90, libero_goal, …,
    libero_plus_spatial, libero_pro_goal_task, …."""
    task: tuple[str, ...] = ()
    """Only these tasks; `list` shows their names."""
    episodes: EpisodesOrCount = None
    """Episodes per task; by default 10. With --dataset: which episodes, such as 40:50 or 3,7; by default those that
    `inspire train --holdout` kept out of the training, else all."""
    name: str | None = None
    """Name of the policy in tables; by default InSpire or base."""
    first_seed: int | None = None
    """Episode e starts from seed FIRST_SEED + e."""
    control: str = "none"
    """Override the answers that the action is conditioned on: none, truth, shuffled (the truth of another object),
    random, random_directions (random, but for a true "grasped"), or unasked (no question is asked)."""
    n_action_steps: PositiveOrNone = None
    """Actions executed of each chunk; by default the checkpoint's."""
    max_steps: PositiveOrNone = None
    """Control steps per episode; by default the task's own."""
    layout_randomness: float = 0.0
    """Tabletop: how much the layouts vary, from 0 to 1."""
    videos: NotNegative = 0
    """Record the first N episodes of each task; with --dataset the first N of all."""
    shard: Shard = (0, 1)
    """Run every N-th episode from the I-th."""
    workers: Positive = field(default_factory=usable_cores)
    """Processes; by default one per core."""
    slots: Positive = 4
    """Environments per process."""
    ray: str | None = None
    """Run on a Ray cluster: auto, HOST:PORT, ray://HOST:PORT; local starts one."""
    ray_gpus: float = 0.0
    """Share of a GPU for each worker of the cluster."""
    mentions: Annotated[Path | None, arg(metavar="JSON")] = None
    """File of mention overrides, as `inspire mentions --write` writes it, besides those that the checkpoint holds."""
    mapping: str | None = None
    """LIBERO: JSON file {instruction: {mention: name}} that overrules the grounding of mentions."""
    render: Literal["full", "fast"] = "full"
    """LIBERO: fast draws simplified meshes without multisampling and reflections, for computers without a GPU. Take
    what the demonstrations were drawn with."""


def run(options: Arguments) -> None:
    if options.ray is None:  # the machines of a cluster may have a device that this one lacks
        check_device(options.device)
    if options.ray is None and options.ray_gpus:
        raise InspireError("--ray-gpus belongs to --ray; without it, --device says where the policy runs.")
    check_folder(options.out)
    mentions = mention_overrides(options.mentions)
    finished = (_in_simulator if options.dataset is None else _on_dataset)(options, mentions)
    from inspire_vla.evaluation import compare
    from inspire_vla.reports.tables import print_comparison

    print_comparison(compare([finished]))
    print(f"Run: {finished.path}")


def _in_simulator(options: Arguments, mentions: "Overrides | None") -> "Run":
    from inspire_vla import benchmarks, policies
    from inspire_vla.evaluation import tasks_in_training

    if options.camera:
        raise InspireError("--camera belongs to --dataset; a simulator has the policy's own cameras.")
    _plan(options, options.suite, {"name": ""})  # before the policy is read
    policy, agent = chosen_policy(options, name=options.name, mentions=mentions, patient=True)
    policy = policies.as_begun(policy, options.policy, options.out)
    _check_fits(policy, options)
    chosen = benchmarks.Options(options.layout_randomness, options.mapping, options.render)
    selected = benchmarks.select(options.suite, policy, chosen)
    benchmark, trained_on = selected.factory(), policies.trained_on(options.policy)
    training = {
        "trained_on": None if trained_on is None else list(trained_on),
        "tasks_trained_on": tasks_in_training(benchmark, selected.suites, options.task or None, trained_on),
    }
    of_benchmark = {name: getattr(benchmark, name, {}) for name in ("groups", "changes")}
    for line in _notes_on_tasks(training | of_benchmark):
        print(f"inspire evaluate: {line}", file=sys.stderr)
    drawn = [data.get("render") for data in policies.training_data(options.policy)]
    if note := benchmarks.rendering_note(options.suite, options.render, drawn):
        print(f"inspire evaluate: {note}", file=sys.stderr)
    plan = _plan(
        options,
        selected.suites,
        {**policy, **selected.played, **_given(mentions)},
        {**selected.notes, **training},
    )
    slots = min(options.slots, selected.slots or options.slots)
    rule = policies.answer_rule(policy, checkpoint=options.policy, mentions=mentions)
    return _evaluate(options, plan, selected.factory, agent, slots, rule)


def _notes_on_tasks(info: Mapping[str, Any]) -> list[str]:
    """What to say of suites whose group does not follow from their names: run.json counts their tasks."""
    from inspire_vla.evaluation import CHANGED, group_of, groups_by_training

    tasks: dict[str, tuple[int, int]] = info["tasks_trained_on"]
    notes = []
    for group, suites in groups_by_training([info], list(tasks)).items():
        for suite in suites:
            known, played = tasks[suite]
            if group == CHANGED:
                notes.append(
                    f"note: {suite} changes tasks of {info['changes'][suite]}, which the policy was trained on; tables "
                    f"call the suite {group!r}."
                )
            elif group != group_of(suite, [info["trained_on"]], info["groups"]):
                notes.append(
                    f"note: the policy was trained on {known} of {counted(played, 'task')} of {suite}; tables call the "
                    f"suite {group}."
                )
    return notes


def _plan(
    options: Arguments,
    suites: Sequence[str],
    policy: Mapping[str, Any],
    extra: Mapping[str, Any] | None = None,
) -> "EvaluationPlan":
    """What the options describe. `extra` is noted in the run."""
    from inspire_vla.evaluation import FIRST_SEED, EvaluationPlan

    text = options.episodes or "10"
    if not text.isdecimal() or int(text) < 1:
        raise InspireError(f"--episodes N: the episodes per task, at least 1; found {text!r}.")
    return EvaluationPlan(
        suites=tuple(suites),
        episodes_per_task=int(text),
        policy=policy,
        tasks=options.task or None,
        first_seed=FIRST_SEED if options.first_seed is None else options.first_seed,
        n_action_steps=options.n_action_steps,
        max_steps=options.max_steps,
        control=options.control,
        videos_per_task=options.videos,
        shard=options.shard,
        extra=extra or {},
    )


def check_planned(options: Arguments) -> None:
    """Raise InspireError for a call in a simulator that would fail with every policy, which may not be there yet."""
    from inspire_vla import benchmarks

    if options.ray is None:
        check_device(options.device)
    chosen = benchmarks.Options(options.layout_randomness, options.mapping, options.render)
    suites, benchmark = benchmarks.check_suites(options.suite, chosen)
    _plan(options, suites, {"name": ""}).jobs(benchmark)


def _on_dataset(options: Arguments, mentions: "Overrides | None") -> "Run":
    from inspire_vla import policies
    from inspire_vla.evaluation import Factory, PlaybackPlan
    from inspire_vla.labels.episode_selection import check_selection
    from inspire_vla.labels.find_dataset import find_dataset
    from inspire_vla.labels.recorded import EpisodeReader

    simulated = ["suite", "task", "first_seed", "max_steps", "layout_randomness", "mapping", "render"]
    refuse_unused(options, simulated, "--dataset, which takes the place of a simulator,")
    if options.episodes is not None:
        check_selection(options.episodes)  # before the policy is loaded
    assert options.dataset is not None
    policy, agent = chosen_policy(
        options, name=options.name, mentions=mentions, simulated=False, patient=True
    )
    policy = policies.as_begun(policy, options.policy, options.out)
    _check_fits(policy, options)
    inputs = policies.playback_inputs(policy, options.camera, checkpoint=options.policy, mentions=mentions)
    reader = EpisodeReader(find_dataset(options.dataset))
    training = policies.training_data(options.policy)
    actions = reader.actions_sha256() if training else None
    known = [t for t in training if t["actions_sha256"] == actions]
    episodes = _episodes(options.episodes, reader.episodes, known)
    trained_on = sorted({e for e in episodes for t in known if e not in t["held_out"]})
    arguments = {"dataset": reader.files.root, "inputs": inputs, "evaluated": episodes}
    factory = Factory("inspire_vla.evaluation.playback:PlaybackBenchmark", arguments)
    benchmark = factory()
    for line in (*benchmark.notes, *_warnings(episodes, trained_on, training, known)):
        print(f"inspire evaluate: {line}", file=sys.stderr)
    plan = PlaybackPlan(
        policy={**policy, **_given(mentions)},
        dataset=benchmark.describe(),
        episodes=episodes,
        n_action_steps=options.n_action_steps,
        control=options.control,
        videos=options.videos,
        shard=options.shard,
        extra={"held_out": {"known": bool(known), "trained_on": trained_on}},
    )
    return _evaluate(options, plan, factory, agent, options.slots, inputs.rule)


def _check_fits(policy: "PolicyDescription", options: Arguments) -> None:
    """Raise InspireError for options that the policy does not allow, before a simulator or a dataset is opened."""
    from inspire_vla.evaluation import check_control_of
    from inspire_vla.policies import configured

    check_control_of(policy, options.control)
    if options.policy is not None and options.n_action_steps is not None:
        longest = configured(options.policy)["chunk_size"]
        if options.n_action_steps > longest:
            raise InspireError(
                f"--n-action-steps {options.n_action_steps}, but {options.policy} decides "
                f"{counted(longest, 'action')} at once. Possible: 1 to {longest}."
            )


def _episodes(text: str | None, total: int, known: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """Return the episodes of --episodes; without it those held out of all trainings on this dataset, else all."""
    from inspire_vla.labels.episode_selection import parse_episodes

    if text is not None:
        return parse_episodes(text, total)
    held_out = set.intersection(*(set(training["held_out"]) for training in known)) if known else set()
    return tuple(sorted(held_out)) or tuple(range(total))


def _warnings(
    episodes: Sequence[int],
    trained_on: Sequence[int],
    training: Sequence[Mapping[str, Any]],
    known: Sequence[Mapping[str, Any]],
) -> list[str]:
    if trained_on:
        text = (
            f"warning: the policy was trained on {part_of_these(len(trained_on), len(episodes), 'episode')}, "
            "so the result does not show how it does on new ones. `inspire train --holdout N` keeps episodes out."
        )
        return [text]
    if known:
        return [
            f"{counted(len(episodes), 'episode that was', 'episodes that were')} kept out of the training"
        ]
    where = "was trained on another dataset" if training else "does not say what it was trained on"
    return [f"note: the policy {where}; make sure that it was not trained on these episodes"]


def _evaluate(
    options: Arguments,
    plan: "Plan",
    benchmark: "Factory",
    agent: "Factory",
    slots: int,
    rule: "AnswerRule | None",
) -> "Run":
    from inspire_vla.evaluation import RayCluster, evaluate
    from inspire_vla.reports.video import write_episode_video

    return evaluate(
        options.out,
        plan,
        benchmark=benchmark,
        agent=agent,
        workers=options.workers,
        slots=slots,
        video_writer=write_episode_video if options.videos else None,
        ray=None if options.ray is None else RayCluster(options.ray, options.ray_gpus),
        rule=rule,
    )


def _given(mentions: "Overrides | None") -> dict[str, Any]:
    """What --mentions adds to the conditions of a run: only a call with the same file resumes it."""
    from inspire_vla.instruction import overrides_to_json

    return {} if mentions is None else {"mention_overrides": overrides_to_json(mentions)}
