"""What the page is told: the policy's words once, and what it says, in which direction, how surely."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inspire_vla.dialogue import question
from inspire_vla.spatial import answer_words, get_frame, says_close


def hello(agent: Any, benchmark: Any, rule: Mapping[str, Any]) -> dict[str, Any]:
    """What stays the same: the policy, its words, and the tasks to choose from.

    rule: how answers are made of offsets, as of `spatial.relate`.
    """
    frame = get_frame(rule["frame"])
    close = says_close(rule["mode"], rule["close_threshold_m"])
    words = answer_words(rule["mode"], grasped_word=rule["grasped_word"], close_word=close)
    instructions = getattr(benchmark, "instructions", None)
    suites = {
        suite: instructions(suite) if instructions else {task: task for task in benchmark.tasks(suite)}
        for suite in benchmark.suites()
    }
    arrows = dict(zip((*frame.x, *frame.y, *frame.z), "↑↓←→▼▲", strict=True))
    return {
        "hello": True,
        "policy": str(getattr(agent, "name", None) or "policy"),
        "reasoning": bool(getattr(agent, "reasoning_enabled", True)),
        "mode": rule["mode"],
        "words": list(words),
        "arrows": arrows,  # as the agent view shows the directions: it looks back at the robot
        "suites": suites,
    }


def objects(decision: Any, truth: Mapping[str, str], mode: str) -> list[dict[str, Any]]:
    """A row an object: question, answer, how sure, whether forced, and the truth where it is known."""
    if decision is None:
        return []
    rows = zip(decision.mentions, decision.answers, decision.confidences, decision.overridden, strict=True)
    return [
        {
            "mention": mention,
            "question": question(mention, mode),
            "answer": answer,
            "confidence": round(float(confidence), 4),
            "overridden": bool(forced),
            "truth": truth.get(mention),
        }
        for mention, answer, confidence, forced in rows
    ]


def motion(chunk: Sequence[np.ndarray], frame_name: str) -> list[str]:
    """The rest of a chunk in words: the axes along which it mostly goes, and what the gripper does."""
    if not chunk:
        return []
    frame = get_frame(frame_name)
    total = np.sum(chunk, axis=0)
    reach = max(0.4 * float(np.abs(total[:3]).max()), 0.15 * len(chunk))
    words = [
        pair[int(along > 0)]
        for pair, along in zip((frame.x, frame.y, frame.z), total[:3], strict=True)
        if abs(along) >= reach
    ]
    return [*(words or ["stays"]), "gripper closed" if float(chunk[-1][-1]) > 0 else "gripper open"]
