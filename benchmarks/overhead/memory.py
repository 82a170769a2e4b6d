"""Does anything grow from decision to decision?"""

import gc
import resource
from pathlib import Path
from typing import Any

import numpy as np


def measure_memory(checkpoint: str, steps: int) -> dict[str, Any]:
    """Decide again and again, with instructions and drafts that change; note the process' memory ten times."""
    from inspire_vla.lerobot_plugin.agent import load_policy
    from inspire_vla.tabletop.benchmark import TabletopBenchmark

    agent = load_policy(checkpoint, device="cpu")
    texts = list(TabletopBenchmark().instructions("tabletop_seen").values())
    shape = next(iter(agent.config.image_features.values())).shape
    cameras = [key.removeprefix("observation.images.") for key in agent.config.image_features]
    rng = np.random.default_rng(0)
    words = agent.policy.answer_set.words
    noted = {}
    for step in range(1, steps + 1):
        text = texts[step % len(texts)]
        image = rng.integers(0, 255, (*shape[1:], 3), dtype=np.uint8)
        observation = {"pixels": dict.fromkeys(cameras, image), "agent_pos": rng.normal(size=8)}
        draft = {
            m: str(rng.choice(words)) for m in agent.policy.tokenizer.prompt_builder.prompt(text).mentions
        }
        agent.act([observation], [text], drafts=[draft])
        if step % max(1, steps // 10) == 0:
            gc.collect()
            noted[step] = round(_resident_mib(), 1)
            print(step, noted[step], "MiB", flush=True)
    early = noted[min(noted)]
    return {"steps": steps, "resident_mib": noted, "growth_mib_after_the_first_tenth": noted[steps] - early}


def _resident_mib() -> float:
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text(encoding="utf-8").split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
