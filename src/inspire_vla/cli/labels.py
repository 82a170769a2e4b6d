"""`inspire labels`."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from inspire_vla.cli.options import Episodes, refuse_unused
from inspire_vla.errors import InspireError, counted

if TYPE_CHECKING:
    from inspire_vla.labels.summary import TaskSummary

SHOWN_EPISODES = 12
SHOWN_WORDS = 9
"""Columns of the table of shares, besides those of all other words and of no label."""


@dataclass(kw_only=True)
class Arguments:
    """Show the labels of a dataset: share of each answer per task; timelines."""

    dataset: Positional[Annotated[Path, arg(metavar="DATASET")]]
    """A labelled LeRobot dataset: a folder, or user/name in LeRobot's cache or on the hub."""
    mode: str | None = None
    """Reasoning mode; by default the first."""
    figure: Annotated[Path | None, arg(metavar="PNG")] = None
    """Draw timelines of --episodes."""
    episodes: Episodes = "0:1"
    """Episodes to draw, such as 0:5 (0 to 4) or 0,5."""
    review: Annotated[Path | None, arg(metavar="HTML")] = None
    """Write a page of images and labels to check."""
    json: bool = False
    """Print only what the labels mean, as JSON."""


def run(options: Arguments) -> None:
    from inspire_vla.files import check_file
    from inspire_vla.labels.episode_selection import check_selection, parse_episodes
    from inspire_vla.labels.find_dataset import find_dataset
    from inspire_vla.labels.lerobot_files import LeRobotFiles
    from inspire_vla.labels.summary import summarize, timelines

    if options.json:
        refuse_unused(options, ["mode", "figure", "episodes", "review"], "--json")
    elif not options.figure:
        refuse_unused(options, ["episodes"], "A call without --figure")
    check_selection(options.episodes)
    if options.review:
        check_file(options.review, ".html")
    if options.figure:
        check_file(options.figure, ".png", ".svg", ".pdf")
    options.dataset = find_dataset(options.dataset)
    episodes = parse_episodes(options.episodes, LeRobotFiles.open(options.dataset).info["total_episodes"])
    info, tasks = summarize(options.dataset, mode=options.mode)
    if options.json:
        print(json.dumps(info.to_json(), indent=1, ensure_ascii=False))
        return
    if not tasks:
        raise InspireError(f"no instruction of {options.dataset} has labels.")
    print(f"labeller {info.labeller}; frame {info.frame}; modes {', '.join(info.modes)}")
    _print_shares(tasks)
    if options.figure:
        from inspire_vla.reports.timeline import label_record, write_timelines

        chosen = map(label_record, timelines(options.dataset, mode=options.mode, only=episodes))
        print(f"Figure: {write_timelines(options.figure, list(chosen))}")
    if options.review:
        from inspire_vla.reports.label_review import write_review

        print(f"To check: {write_review(options.dataset, options.review, mode=options.mode, progress=True)}")


def _print_shares(tasks: "list[TaskSummary]") -> None:
    from rich.cells import cell_len, set_cell_size  # a Chinese character takes two columns

    totals = sum((counter for task in tasks for counter in task.words), Counter())
    words = [word for word, _ in totals.most_common() if word]
    shown, others = words[:SHOWN_WORDS], words[SHOWN_WORDS:]
    columns = {word: [word] for word in shown}
    if others:
        columns[f"{len(others)} more"] = others
    columns["no label"] = [""]
    heading = "  share of frames, %"
    longest = max(len(heading), *(cell_len(mention) + 4 for task in tasks for mention in task.mentions))
    header = "".join(f"{name:>{_width(name)}}" for name in columns)

    def shares(counter: "Counter[str]", of: int) -> str:
        sums = {name: sum(counter[word] for word in its) for name, its in columns.items()}
        return "".join(f"{100 * count / of:{_width(name)}.1f}" for name, count in sums.items())

    for task in tasks:
        changes = sum(task.changes) / len(task.changes)
        print(f"\n{task.instruction}")
        print(
            f"  {counted(task.episodes, 'episode')}, {counted(task.frames, 'frame')}, {changes:.1f} changes of "
            "an answer per episode"
        )
        print(f"{heading:<{longest}}{header}")
        for mention, counter in zip(task.mentions, task.words, strict=True):
            print(set_cell_size("  " + mention, longest) + shares(counter, task.frames))
        if any(held.total() for held in task.held):
            for mention, held in zip(task.mentions, task.held, strict=True):
                print(set_cell_size("  " + mention, longest) + _held(held))
    print(f"\n{'all labels, %':<{longest}}{header}")
    print(" " * longest + shares(totals, totals.total() or 1))


def _width(column: str) -> int:
    return max(9, len(column) + 2)


def _held(frames: "Counter[int]") -> str:
    """Say in how many frames of each episode an object is held. frames: episode → frames."""
    if len(frames) <= SHOWN_EPISODES:
        listed = ", ".join(f"{episode}: {count}" for episode, count in sorted(frames.items()))
        return f"  held, frames of each episode   {listed}"
    counts = sorted(frames.values())
    never = [str(episode) for episode, count in sorted(frames.items()) if not count]
    more = " …" if len(never) > SHOWN_EPISODES else ""
    absent = (
        f"; never in {counted(len(never), 'episode')}: {', '.join(never[:SHOWN_EPISODES])}{more}"
        if never
        else ""
    )
    return f"  held, frames of an episode   {counts[0]} to {counts[-1]}, median {counts[len(counts) // 2]}{absent}"
