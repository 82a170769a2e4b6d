"""`inspire evaluate`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from inspire_vla.cli.options import Names, Positive, Shard, check_device, chosen_policy, mention_overrides
from inspire_vla.jobs import usable_cores


@dataclass(kw_only=True)
class Arguments:
    """Run a policy on the tasks of a benchmark; can be interrupted and resumed."""

    out: Path
    """Folder of the run."""
    policy: str | None = None
    """Checkpoint: a folder, a shipped one (nano_base, nano_inspire), or user/name on the hub."""
    remote: str | None = None
    """URL of a policy server, such as ws://127.0.0.1:8000, in place of --policy."""
    api_key_env: str | None = None
    """Environment variable that holds the server's key."""
    suite: Names = ("seen", "unseen")
    """Suites, or the groups seen, unseen and validation of the tabletop; also libero_90, libero_goal, …,
    libero_plus_spatial, …."""
    task: tuple[str, ...] = ()
    """Only these tasks."""
    episodes: Positive = 10
    """Episodes per task."""
    name: str | None = None
    """Name of the policy in tables; by default InSpire or base."""
    first_seed: int | None = None
    """Episode e starts from seed FIRST_SEED + e."""
    control: str = "none"
    """Override the answers that the action is conditioned on: none, truth, shuffled (the truth of another object), or
    random."""
    n_action_steps: Positive | None = None
    """Actions executed of each chunk; by default the checkpoint's."""
    max_steps: Positive | None = None
    """Control steps per episode; by default the task's own."""
    layout_randomness: float = 0.0
    """Tabletop: how much the layouts vary, from 0 to 1."""
    videos: int = 0
    """Record the first N episodes of each task."""
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
    device: str | None = None
    """cpu, cuda, …; by default the checkpoint's."""
    mentions: Annotated[Path | None, arg(metavar="JSON")] = None
    """File of mention overrides, as `inspire mentions --write` writes it, besides those that the checkpoint holds."""
    mapping: str | None = None
    """LIBERO: JSON file {instruction: {mention: name}} that overrules the grounding of mentions."""


def run(options: Arguments) -> None:
    from inspire_vla import benchmarks, policies, reports
    from inspire_vla.evaluation import FIRST_SEED, EvaluationPlan, RayCluster, compare, evaluate

    if options.ray is None:  # the machines of a cluster may have a device that this one lacks
        check_device(options.device)
    policy, agent = chosen_policy(options)
    selected = benchmarks.select(
        options.suite, policy, layout_randomness=options.layout_randomness, mapping=options.mapping
    )
    plan = EvaluationPlan(
        suites=selected.suites,
        episodes_per_task=options.episodes,
        policy={**policy, "layout_randomness": options.layout_randomness, **_given(options)},
        tasks=options.task or None,
        first_seed=FIRST_SEED if options.first_seed is None else options.first_seed,
        n_action_steps=options.n_action_steps,
        max_steps=options.max_steps,
        control=options.control,
        videos_per_task=options.videos,
        shard=options.shard,
        extra={**selected.notes, "trained_on": policies.trained_on(options.policy)},
    )
    finished = evaluate(
        options.out,
        plan,
        benchmark=selected.factory,
        agent=agent,
        workers=options.workers,
        slots=min(options.slots, selected.slots or options.slots),
        video_writer=reports.write_episode_video if options.videos else None,
        ray=None if options.ray is None else RayCluster(options.ray, options.ray_gpus),
    )
    reports.print_comparison(compare([finished]))
    print(f"Run: {finished.path}")


def _given(options: Arguments) -> dict[str, Any]:
    """What --mentions adds to the conditions of a run: only a call with the same file resumes it."""
    from inspire_vla.instruction import overrides_to_json

    mentions = mention_overrides(options)
    return {} if mentions is None else {"mention_overrides": overrides_to_json(mentions)}
