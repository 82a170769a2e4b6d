"""Which thing of a scene does a mention mean? The goal and the instruction's grammar decide, then names.

"the black bowl at the front" is whichever bowl the goal moves; "the middle drawer of the cabinet" is the region that
the goal opens. Only what the goal does not name ("the plate" in "to the right of the plate") is found by its words.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.instruction import find_mentions
from inspire_vla.labels.roles import Act, acts_of
from inspire_vla.libero.bddl import Problem

_SAME = {
    "mug": "cup", "coffee": "cup", "porcelain": "white", "moka": "pot", "hob": "stove", "burner": "stove",
    "drawer": "cabinet", "shelf": "cabinet", "caddy": "desk", "skillet": "frypan", "frying": "chefmate",
    "pan": "frypan",
}  # fmt: skip
"""Words of instructions and of LIBERO's names that stand for the same, compared by their common form."""
_SMALL = {"the", "a", "of", "on", "in", "at", "and", "to", "both", "from", "it", "region", "main", "table"}

Grounding = dict[str, tuple[str, ...]]
"""mention → names in the scene; several where one mention means several things ("both moka pots")."""


def ground(
    problem: Problem,
    instruction: str,
    mentions: Sequence[str] | None = None,
    *,
    overrule: Mapping[str, Sequence[str] | str] | None = None,
    leave_unknown: bool = False,
) -> Grounding:
    """Tie each mention of an instruction to names of the scene.

    Args:
        overrule: mention → name(s), which stand in place of what is found.
        leave_unknown: leave out mentions that fit nothing, as sentences in free words have them.

    Raises:
        InspireError: a mention that fits nothing, or a name of `overrule` that is not there; the choices are listed.
    """
    words = tuple(find_mentions(instruction) if mentions is None else mentions)
    acts = acts_of(instruction, words)
    given = dict(overrule or {})
    found: Grounding = {}
    for i, mention in enumerate(words):
        if mention in given:
            names = given[mention]
            found[mention] = (names,) if isinstance(names, str) else tuple(names)
            for name in found[mention]:
                if name not in problem.names():
                    raise InspireError(
                        f"{mention!r} is mapped to {name!r}, which the scene lacks."
                        f"{did_you_mean(name, problem.names())}"
                    )
            continue
        names = _of_role(problem, acts, words, i) or _by_words(problem, mention)
        if not names and leave_unknown:
            continue
        if not names:
            raise InspireError(
                f"{mention!r} of {instruction!r} fits nothing in its scene. Map it: one of {sorted(problem.names())}."
            )
        found[mention] = names
    return found


def read_mapping(path: str | Path) -> dict[str, dict[str, list[str]]]:
    """Read a mapping file, {instruction: {mention: name or [names]}}. Raises InspireError for another content."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        return {
            str(instruction): {
                str(mention): [names] if isinstance(names, str) else [str(name) for name in names]
                for mention, names in table.items()
            }
            for instruction, table in record.items()
        }
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InspireError(f"{path} must hold {{instruction: {{mention: name}}}}: {error}.") from None


def _of_role(problem: Problem, acts: Sequence[Act], words: Sequence[str], index: int) -> tuple[str, ...]:
    """What the goal says about this mention: moved, moved to, opened, …; () where it says nothing of it."""
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
    if as_goal and not all(act.aside for act in as_goal):
        movers = [words[act.target] for act in as_goal]
        scored = [
            (_score(mention, b) + 0.5 * max(_score(mover, a) for mover in movers), b)
            for _, a, b in moves
            if _score(mention, b) > 0
        ]
        best = max((score for score, _ in scored), default=0.0)
        return tuple(b for score, b in scored if score == best)[:1]
    return ()


def _by_words(problem: Problem, mention: str) -> tuple[str, ...]:
    """By name alone: a thing, or a part of one where the mention says which; things the task is about come first."""
    tables = [name for name, kind in problem.fixtures.items() if "table" in kind or kind == "floor"]
    parts = [region for region, thing in problem.regions.items() if thing not in tables]
    possible = [*problem.objects, *problem.fixtures, *parts]
    interesting = [name for name in problem.objects_of_interest if name in possible]
    return _fitting(mention, list(dict.fromkeys([*interesting, *possible])))[:1]


def _fitting(mention: str, names: Sequence[str]) -> tuple[str, ...]:
    """The best of `names` by their words, all of them at a tie; () if none shares a word."""
    scores = [(_score(mention, name), name) for name in names]
    best = max((score for score, _ in scores), default=0.0)
    return tuple(dict.fromkeys(name for score, name in scores if score == best)) if best > 0 else ()


def _score(mention: str, name: str) -> float:
    """Words shared, and a little less for every word of the name that was not said."""
    said = {_common(word) for word in mention.replace("-", " ").split()} - _SMALL
    own = {_common(word) for word in name.split("_") if not word.isdigit()} - _SMALL
    shared = len(said & own)
    return shared - 0.1 * len(own - said) / max(1, len(own)) if shared else 0.0


def _common(word: str) -> str:
    word = word[:-1] if word.endswith("s") and len(word) > 4 and not word.endswith("ss") else word
    return _SAME.get(word, word)
