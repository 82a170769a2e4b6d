"""Grounding: which object of a scene a mention refers to.

The task's goal and the instruction's grammar decide first: "the black bowl at the front" is the bowl that the goal
moves, and "the middle drawer of the cabinet" is the region that the goal opens. What the goal does not contain ("the
plate" in "to the right of the plate") is found by its words.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from inspire_vla.errors import InspireError, did_you_mean, possible
from inspire_vla.files import read_json
from inspire_vla.instruction import Act, acts_of, find_mentions
from inspire_vla.libero.tasks import SUITES, Problem, instruction_of, read_problem, task_files

_SYNONYMS = {
    "mug": "cup", "coffee": "cup", "porcelain": "white", "moka": "pot", "hob": "stove", "burner": "stove",
    "drawer": "cabinet", "shelf": "cabinet", "caddy": "desk", "skillet": "frypan", "frying": "chefmate",
    "pan": "frypan",
}  # fmt: skip
"""Synonyms in instructions and in LIBERO's names → a common word."""
_STOP_WORDS = set("the a of on in at and to both from it region main table".split())

Grounding = dict[str, tuple[str, ...]]
"""mention → names in the scene. Several if the mention is plural ("both moka pots")."""


def ground(
    problem: Problem,
    instruction: str,
    *,
    overrides: Mapping[str, Sequence[str] | str] | None = None,
    skip_unknown: bool = False,
) -> Grounding:
    """Ground each mention of an instruction to names of the scene.

    Args:
        overrides: mention → name(s), which take precedence.
        skip_unknown: leave out mentions that match nothing, which freely worded instructions may have.

    Raises:
        InspireError: a mention that matches nothing; or in `overrides` a mention that the instruction does not have, a
            mention without a name, or a name that the scene lacks. The error lists what is possible.
    """
    mentions = find_mentions(instruction)
    acts = acts_of(instruction, mentions)
    given = dict(overrides or {})
    for mention, names in given.items():
        if mention not in mentions:
            raise InspireError(
                f"{mention!r} is mapped, but {instruction!r} does not mention it."
                f"{did_you_mean(mention, mentions)}"
            )
        if not names:
            raise InspireError(
                f"{mention!r} of {instruction!r} is mapped to no name.{possible(problem.names())}"
            )
    grounding: Grounding = {}
    for i, mention in enumerate(mentions):
        if mention in given:
            names = given[mention]
            grounding[mention] = (names,) if isinstance(names, str) else tuple(names)
            for name in grounding[mention]:
                if name not in problem.names():
                    raise InspireError(
                        f"{mention!r} is mapped to {name!r}, which the scene lacks."
                        f"{did_you_mean(name, problem.names())}"
                    )
            continue
        names = _by_role(problem, acts, mentions, i) or _by_words(problem, mention)
        if not names and skip_unknown:
            continue
        if not names:
            raise InspireError(
                f"{mention!r} of {instruction!r} matches nothing in its scene. "
                f"Map it to one of {sorted(problem.names())}."
            )
        grounding[mention] = names
    return grounding


def read_mapping(path: str | Path) -> dict[str, dict[str, list[str]]]:
    """Read a mapping file, {instruction: {mention: name or [names]}}. Raises InspireError for any other content."""
    table = read_json(path, dict[str, dict[str, str | list[str]]])
    return {
        instruction: {mention: [names] if isinstance(names, str) else names for mention, names in row.items()}
        for instruction, row in table.items()
    }


def check_mapping(
    mapping: Mapping[str, Mapping[str, Sequence[str] | str]], others: Collection[str] = ()
) -> None:
    """Check a mapping before long work: what it says of a task that does not exist would have no effect.

    Args:
        others: instructions besides those of LIBERO's own tasks. Their scenes are not looked at.

    Raises:
        InspireError: an instruction that no task has, or what `ground` refuses in each of its scenes.
    """
    scenes: dict[str, list[Path]] = {instruction: [] for instruction in others}
    for path in (path for suite in SUITES for path in task_files(suite)):
        scenes.setdefault(instruction_of(path), []).append(path)
    for instruction, row in mapping.items():
        if instruction not in scenes:
            raise InspireError(
                f"The mapping names the instruction {instruction!r}, which no task has."
                f"{did_you_mean(instruction, scenes)}"
            )
        errors = []
        for path in scenes[instruction]:
            try:
                ground(read_problem(path), instruction, overrides=row)
            except InspireError as error:
                errors.append(error)
        if errors and len(errors) == len(scenes[instruction]):
            raise errors[0]


def _by_role(problem: Problem, acts: Sequence[Act], words: Sequence[str], index: int) -> tuple[str, ...]:
    """Names that the goal gives to the role of this mention (moved, moved to, opened, …); () if it has none."""
    mention = words[index]
    moves = [p for p in problem.goal if len(p) == 3]
    changes = [p[1] for p in problem.goal if len(p) == 2]
    as_goal = [act for act in acts if act.goal == index]
    as_target = [act for act in acts if act.target == index]
    if any(act.touch for act in as_target) and (fitting := _fitting(mention, changes)):
        return fitting[:1]
    if as_target:
        goal = next((words[act.goal] for act in as_target if act.goal is not None), "")
        scored = [
            (_score(mention, a) + 0.5 * _score(goal, b), a) for _, a, b in moves if _score(mention, a) > 0
        ]
        best = max((score for score, _ in scored), default=0.0)
        fitting = tuple(dict.fromkeys(a for score, a in scored if score == best))
        if fitting:
            return fitting if mention.startswith(("both", "two", "all")) else fitting[:1]
    movers = [words[act.target] for act in as_goal if act.target is not None]
    if movers:
        scored = [
            (_score(mention, b) + 0.5 * max(_score(mover, a) for mover in movers), b)
            for _, a, b in moves
            if _score(mention, b) > 0
        ]
        best = max((score for score, _ in scored), default=0.0)
        return tuple(b for score, b in scored if score == best)[:1]
    return ()


def _by_words(problem: Problem, mention: str) -> tuple[str, ...]:
    """The name with the most words in common: an object or a region; the objects of interest come first."""
    tables = [name for name, kind in problem.fixtures.items() if "table" in kind or kind == "floor"]
    parts = [region for region, owner in problem.regions.items() if owner not in tables]
    possible = [*problem.objects, *problem.fixtures, *parts]
    interesting = [name for name in problem.objects_of_interest if name in possible]
    return _fitting(mention, list(dict.fromkeys([*interesting, *possible])))[:1]


def _fitting(mention: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names with the best score, all of them at a tie; () if none has a word in common."""
    scores = [(_score(mention, name), name) for name in names]
    best = max((score for score, _ in scores), default=0.0)
    return tuple(dict.fromkeys(name for score, name in scores if score == best)) if best > 0 else ()


def _score(mention: str, name: str) -> float:
    """Number of common words, minus a little for each word of the name that the mention lacks."""
    in_mention = {_common(word) for word in mention.replace("-", " ").split()} - _STOP_WORDS
    in_name = {_common(word) for word in name.split("_") if not word.isdigit()} - _STOP_WORDS
    common = len(in_mention & in_name)
    return common - 0.1 * len(in_name - in_mention) / max(1, len(in_name)) if common else 0.0


def _common(word: str) -> str:
    word = word[:-1] if word.endswith("s") and len(word) > 4 and not word.endswith("ss") else word
    return _SYNONYMS.get(word, word)
