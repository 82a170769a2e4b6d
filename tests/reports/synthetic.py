"""Records as an evaluation would leave them, drawn at random from a seed; and frames to film."""

from pathlib import Path

import numpy as np
from PIL import Image

from inspire_vla.evaluation import EpisodeRecord, Run, compare, provenance
from inspire_vla.evaluation.confusion import add, merge
from inspire_vla.reports.attention import Attention, Example, Measurement, Share, Tile
from inspire_vla.reports.video import write_episode_video

SUITES = {
    "tabletop_seen": (0.78, 0.84),
    "tabletop_spatial": (0.10, 0.31),
    "tabletop_object": (0.12, 0.25),
    "tabletop_goal": (0.06, 0.15),
    "tabletop_long": (0.02, 0.02),
}
TASKS = (
    "put the black bowl on the plate",
    "pick up the red mug and place it in the basket between the plate and the cabinet",
    "open the top drawer of the cabinet",
)
WORDS = ("down", "grasped", "left", "right", "front", "back", "up")


def frames(n: int, seed: int, size: int = 128) -> list[np.ndarray]:
    """A square that wanders over a table."""
    images = []
    for t in range(n):
        image = np.full((size, size, 3), (196, 178, 150), np.uint8)
        image[: size // 3] = (120, 140, 160)
        x, y = (int(size * (0.3 + 0.3 * np.sin(0.1 * t + seed + k))) for k in (0, 1))
        image[size // 3 + y // 2 : size // 3 + y // 2 + 20, x : x + 20] = (190, 40, 40)
        images.append(image)
    return images


def run(name: str, column: int, *, talks: bool, folder: Path | None = None, per_task: int = 8) -> Run:
    """A run of policy `name` with the success rates in `column` of SUITES."""
    records = []
    for suite, rates in SUITES.items():
        for task in TASKS:
            for episode in range(per_task):
                luck = np.random.default_rng([len(suite), len(task), episode]).random()
                rng = np.random.default_rng([len(suite), len(task), episode, column])
                success = bool(luck < rates[column])
                records.append(_record(name, suite, task, episode, success, rng, talks))
                if folder is not None and episode == 0 and task == TASKS[0] and "long" not in suite:
                    video = folder / name / "videos" / f"{suite}.mp4"
                    video.parent.mkdir(parents=True, exist_ok=True)
                    write_episode_video(video, frames(40, column), 10, vars(records[-1]))
                    records[-1] = EpisodeRecord(**{**vars(records[-1]), "video": f"videos/{suite}.mp4"})
    info = {
        **provenance(),
        "finished": "2026-01-01T00:00:00+00:00",
        "policy": {"name": name},
        "groups": dict.fromkeys(SUITES, "unseen") | {"tabletop_seen": "seen"},
        "plan": {"suites": list(SUITES), "episodes_per_task": per_task, "first_seed": 1_000_000},
    }
    return Run((folder or Path()) / name, info, tuple(records))


def _record(
    name: str, suite: str, task: str, episode: int, success: bool, rng: np.random.Generator, talks: bool
) -> EpisodeRecord:
    mentions = ("the black bowl", "the plate") if talks else ()
    timeline, confusions = [], [{}, {}]
    for step in range(0, 40, 4):
        truth = tuple(str(rng.choice(WORDS, p=(0.4, 0.25, 0.1, 0.1, 0.05, 0.05, 0.05))) for _ in mentions)
        answers = tuple(t if rng.random() < 0.8 else str(rng.choice(WORDS)) for t in truth)
        timeline.append((step, answers, truth, tuple(round(float(rng.uniform(0.4, 1)), 2) for _ in mentions)))
        for confusion, t, s in zip(confusions, truth, answers, strict=False):
            add(confusion, t, s)
    kept = tuple(confusions[: len(mentions)])
    total = merge(kept)
    return EpisodeRecord(
        suite,
        task,
        task,
        episode,
        1_000_000 + episode,
        success,
        40 if success else 120,
        policy=name,
        mentions=mentions,
        decisions=len(timeline),
        answers_scored=sum(sum(r.values()) for r in total.values()),
        answers_correct=sum(r.get(t, 0) for t, r in total.items()),
        confusion=total,
        confusion_by_mention=kept,
        inference_ms_median=9.6 if talks else 6.6,
        batch_mean=3.7,
        wall_s=1.9,
        timeline=tuple(timeline),
        gripper=((0, "open"), (12, "closed"), (14, "holding"), (33, "open")),
    )


def attention(instruction: str = "put the black bowl on the plate") -> Attention:
    """Two policies before one image, and shares of ten tasks; InSpire's are larger."""
    image = Image.fromarray(frames(1, 0)[0]).resize((288, 288))
    share = Share(0.12, 0.10)
    tiles = (
        Tile(image, "", "what the camera sees", "outlined: the black bowl"),
        Tile(image, "base", "acting", "", share),
        Tile(image, "InSpire", "acting", "", share),
        Tile(image, "InSpire", "answering", "the black bowl? left.", share),
    )
    rng = np.random.default_rng(0)
    measured = [
        Measurement(name, group, group, f"task {t}", seed, doing, None, float(rng.beta(at, 20)), 0.06)
        for name, doing, at in (("base", "acting", 2), ("InSpire", "acting", 4), ("InSpire", "answering", 5))
        for group in ("seen", "unseen")
        for t in range(10)
        for seed in range(3)
    ]
    return Attention(
        (Example(instruction, "tabletop_seen", 1, tiles),), tuple(measured), {"method": "rollout"}
    )


def comparison(folder: Path | None = None) -> dict:
    return compare([run("base", 0, talks=False, folder=folder), run("InSpire", 1, talks=True, folder=folder)])
