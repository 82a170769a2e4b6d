"""Nano on the observations of its own rollouts, so that drafts are accepted as often as in use."""

import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inspire_vla.decoding import FlowHead
from inspire_vla.dialogue import build_dialogue
from overhead.timing import MethodTimer, Task, row_of, summary


def measure_nano(
    checkpoint: str, episodes: int, suites: Sequence[str], seconds: float, repeats: int
) -> dict[str, Any]:
    """Roll out episodes with the checkpoint, then decide again on its observations by each method.

    A decision takes milliseconds, which anything else on the machine disturbs: the best of `repeats` counts.
    """
    from inspire_vla.lerobot_plugin.agent import load_policy

    agent = load_policy(checkpoint, device="cpu")
    policy = agent.policy
    frames = list(play(agent, episodes, suites))
    flow = None
    if policy.expert is not None:
        noise = torch.randn(1, policy.expert.horizon, policy.expert.action_dim)
        steps = policy.config.flow.denoising_steps or policy.expert.denoising_steps
        flow = FlowHead(policy.expert, noise, policy.config.action_feature.shape[0], steps)
    timer = MethodTimer(policy.backbone, policy.grammar, flow)
    rows: list[dict[str, Any]] = []
    deadline = time.monotonic() + seconds
    last: dict[int, dict[str, str]] = {}
    for warm, (episode, batch, instruction) in [
        *((True, f) for f in frames[:5]),
        *((False, f) for f in frames),
    ]:
        dialogue = policy.tokenizer.prompt_builder.prompt(instruction)
        plain = build_dialogue(instruction, template=policy.backbone.template, reasoning=False)
        first = dict(zip(dialogue.mentions, policy.tokenizer.parts.initial_draft, strict=False))
        drafts = last.get(episode, first)

        def observe(batch: dict = batch) -> Tensor:
            with torch.inference_mode():
                return policy.encode_observation(batch)

        timed = timer.best(Task(observe, dialogue, plain), drafts, tries=1 if warm else repeats)
        if warm:
            continue
        rows.append(row_of(timed, len(dialogue.mentions), new=episode not in last))
        last[episode] = timed["speculative"][1].answers_by_mention
        if time.monotonic() > deadline:
            break
    return {
        "title": "nano" if flow is None else "nano, flow expert",
        "replayed_steps": len(rows),
        "episodes": len({f[0] for f in frames[: len(rows)]}),
        "suites": list(suites),
        "best_of": repeats,
        "clock": timer.clock_name,
        **summary(rows),
    }


def play(agent: Any, episodes: int, suites: Sequence[str]) -> Iterator[tuple[int, dict[str, Any], str]]:
    """(episode, preprocessed batch, instruction) of every decision in `episodes` rollouts, task after task."""
    from inspire_vla.evaluation import FIRST_SEED
    from inspire_vla.tabletop.benchmark import TabletopBenchmark

    benchmark = TabletopBenchmark()
    tasks = [(suite, *task) for suite in suites for task in benchmark.instructions(suite).items()]
    random.Random(0).shuffle(tasks)
    for episode in range(episodes):
        suite, task, instruction = tasks[episode % len(tasks)]
        env = benchmark.make(suite, task)
        observation, info = env.reset(seed=FIRST_SEED + episode)
        over = False
        drafts = None
        while not over:
            batch = agent.preprocessor(agent.batch([observation], [instruction]))
            yield episode, batch, instruction
            (decision,) = agent.act([observation], [instruction], drafts=drafts)
            drafts = [decision.answers_by_mention]
            actions = np.zeros((1, 7)) if decision.actions is None else decision.actions
            for action in actions[: agent.n_action_steps]:
                observation, _, terminated, truncated, info = env.step(action)
                over = terminated or truncated or bool(info["is_success"])
                if over:
                    break
        env.close()
