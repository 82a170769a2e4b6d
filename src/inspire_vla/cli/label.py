"""`inspire label` and `inspire labels`: arguments and what they call."""

import argparse
import json
from pathlib import Path

from inspire_vla.cli.labeller_arguments import add_hand_arguments, chosen_labeller
from inspire_vla.errors import InspireError


def add_label_arguments(sub: argparse.ArgumentParser) -> None:
    """Arguments of `inspire label`."""
    sub.add_argument(
        "source",
        help="folder of a LeRobot dataset (v3); or LIBERO's HDF5 demonstrations (a file or a folder); or a split of "
        "CALVIN, importer only: never run on real CALVIN data. These two are imported with labels, and --out is then a "
        "new dataset",
    )
    sub.add_argument(
        "--labeller",
        default="demonstration",
        help="demonstration (default): from the hand's path and gripper; truth: from privileged columns; "
        "table:FILE: object positions per frame (parquet or CSV); package.module:function: your own",
    )
    where = sub.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", help="folder to make; videos and images are hard-linked")
    where.add_argument("--in-place", action="store_true", help="the original is kept as NAME.before_labels")
    sub.add_argument("--modes", nargs="+", default=["direction"], help="reasoning modes, default: direction")
    sub.add_argument(
        "--frame",
        default="robot",
        help="robot (default), official_libero, or the words at +x,+y,+z, as front,left,up",
    )
    sub.add_argument("--close-m", type=float, metavar="METRES", help="say `close` below this distance")
    sub.add_argument("--no-grasped", action="store_true", help="never say `grasped`")
    sub.add_argument("--mentions", metavar="JSON", help="file of {instruction: [mention, …]} that overrules")
    sub.add_argument("--max-objects", type=int, help="width of the columns; default: what the tasks need")
    sub.add_argument(
        "--min-confidence", type=float, default=0.0, metavar="0..1", help="leave out the less sure"
    )
    sub.add_argument("--review", metavar="HTML", help="write a page of images and labels to check")
    sub.add_argument(
        "--language-column",
        action="store_true",
        help="also as rows of LeRobot's language column, for recipes",
    )
    add_hand_arguments(sub)
    add_import_arguments(sub)


def add_import_arguments(sub: argparse.ArgumentParser) -> None:
    """Arguments of `inspire label` for sources that are imported."""
    group = sub.add_argument_group("LIBERO's HDF5 and CALVIN")
    group.add_argument("--image-size", type=int, default=128, help="LIBERO: pixels, 0 for no images")
    group.add_argument("--keep-noops", action="store_true", help="LIBERO: keep actions that do nothing")
    group.add_argument("--replay", action="store_true", help="LIBERO: act again, leave failures out")
    group.add_argument("--mapping", metavar="JSON", help="LIBERO: {instruction: {mention: name}}, overrules")
    group.add_argument("--processes", type=int, default=1, help="LIBERO: default %(default)s")
    group.add_argument("--scene", metavar="A..D", help="CALVIN: which table; default: what the split says")


def label(options: argparse.Namespace) -> None:
    """Label a dataset, or import one with labels, and print the counts."""
    source = Path(options.source)
    if source.suffix == ".hdf5" or (source.is_dir() and any(source.glob("**/*.hdf5"))):
        return _import_libero(options)
    if (source / "lang_annotations").is_dir():
        return _import_calvin(options)
    return _label(options)


def _import_libero(options: argparse.Namespace) -> None:
    from inspire_vla.labels import ModeRule
    from inspire_vla.libero.grounding import read_mapping
    from inspire_vla.libero.hdf5_import import import_demonstrations

    report = import_demonstrations(
        [options.source],
        _new_folder(options),
        image_size=options.image_size or None,
        drop_noops=not options.keep_noops,
        replay=options.replay,
        modes=options.modes,
        frame=options.frame,
        rule=ModeRule(options.close_m, not options.no_grasped),
        mapping=read_mapping(options.mapping) if options.mapping else None,
        processes=options.processes,
        progress=True,
    )
    _print_frame(options)
    print(report)


def _import_calvin(options: argparse.Namespace) -> None:
    from inspire_vla.labels import ModeRule
    from inspire_vla.labels.calvin import import_calvin

    report = import_calvin(
        options.source,
        _new_folder(options),
        scene=options.scene,
        images=options.image_size > 0,
        modes=options.modes,
        frame=options.frame,
        rule=ModeRule(options.close_m, not options.no_grasped),
    )
    _print_frame(options)
    print(report)


def _print_frame(options: argparse.Namespace) -> None:
    from inspire_vla.spatial import get_frame

    print(f"frame {get_frame(options.frame)}")


def _new_folder(options: argparse.Namespace) -> str:
    if options.out is None:
        raise InspireError("these demonstrations are imported: say --out for the new dataset.")
    return options.out


def _json_object(path: str) -> dict:
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InspireError(f"{path} cannot be read as JSON: {error}.") from None
    if not isinstance(found, dict):
        raise InspireError(f"{path} must hold a JSON object.")
    return found


def _label(options: argparse.Namespace) -> None:
    from inspire_vla.labels import ModeRule
    from inspire_vla.labels.storage import label_dataset
    from inspire_vla.spatial import get_frame

    frame = get_frame(options.frame)
    print(f"frame {frame}; gripper sign: {options.open_is or 'read off the data'}")
    report = label_dataset(
        options.source,
        chosen_labeller(options),
        out=options.out,
        in_place=options.in_place,
        modes=options.modes,
        frame=frame,
        rule=ModeRule(options.close_m, not options.no_grasped),
        mentions=_mentions(options.mentions),
        max_objects=options.max_objects,
        min_confidence=options.min_confidence,
        language=options.language_column,
        progress=True,
    )
    print(report)
    if options.review:
        from inspire_vla.reports.label_review import write_review

        print(f"To check: {write_review(report.root, options.review)}")


def _mentions(path: str | None) -> dict[str, list[str]] | None:
    if path is None:
        return None
    found = _json_object(path)
    if not all(
        isinstance(words, list) and words and all(isinstance(word, str) for word in words)
        for words in found.values()
    ):
        raise InspireError(f"{path} must hold {{instruction: [mention, …]}}.")
    return found


def add_labels_arguments(sub: argparse.ArgumentParser) -> None:
    """Arguments of `inspire labels`."""
    sub.add_argument("dataset", help="folder of a labelled LeRobot dataset")
    sub.add_argument("--mode", help="reasoning mode; default: the first")
    sub.add_argument("--figure", metavar="PNG", help="draw timelines of --episodes")
    sub.add_argument("--episodes", type=int, nargs="+", default=[0], help="to draw, default: 0")
    sub.add_argument("--review", metavar="HTML", help="write a page of images and labels to check")
    sub.add_argument("--json", action="store_true", help="only what the labels mean, as JSON")


def labels(options: argparse.Namespace) -> None:
    """Print what labels mean and how often each word stands; draw on request."""
    from inspire_vla.labels.summary import summarize, timelines

    info, tasks = summarize(options.dataset, mode=options.mode)
    if options.json:
        print(json.dumps(info.to_json(), indent=1, ensure_ascii=False))
        return
    print(f"labeller {info.labeller}; frame {info.frame}; modes {', '.join(info.modes)}")
    totals = {word: 0 for task in tasks for counter in task.words for word in counter}
    for task in tasks:
        for counter in task.words:
            for word, count in counter.items():
                totals[word] += count
    words = sorted(totals, key=lambda word: (word == "", -totals[word]))[:10]
    longest = max(len(mention) for task in tasks for mention in task.mentions) + 4
    header = "".join(f"{word or 'no label':>9}" for word in words)
    for task in tasks:
        changes = sum(task.changes) / len(task.changes)
        print(f"\n{task.instruction}")
        print(
            f"  {task.episodes} episodes, {task.frames} frames, {changes:.1f} changes of an answer per episode"
        )
        print(f"{'  share of frames, %':<{longest}}{header}")
        for mention, counter in zip(task.mentions, task.words, strict=True):
            shares = "".join(f"{100 * counter[word] / task.frames:9.1f}" for word in words)
            print(f"{'  ' + mention:<{longest}}{shares}")
    every = sum(totals.values()) or 1
    print(f"\n{'all labels, %':<{longest}}{header}")
    print(" " * longest + "".join(f"{100 * totals[word] / every:9.1f}" for word in words))
    if options.figure:
        from inspire_vla.reports.label_timeline import draw_timelines

        chosen = [t for e in options.episodes for t in timelines(options.dataset, mode=options.mode, only=e)]
        print(f"Figure: {draw_timelines(chosen, options.figure)}")
    if options.review:
        from inspire_vla.reports.label_review import write_review

        print(f"To check: {write_review(options.dataset, options.review)}")
