"""The kinds of instruction of LIBERO and of the tabletop, and their shares.

A kind is found in the words of the instruction alone, by one rule for all suites. An instruction may be of several
kinds ("put the butter at the front in the top drawer of the cabinet and close it").

    python benchmarks/instruction_kinds.py            LIBERO needs the extra `libero`
    python benchmarks/instruction_kinds.py --list tabletop_seen
"""

import argparse
import re
from collections.abc import Iterable

from inspire_vla.libero.installation import LiberoMissing
from inspire_vla.libero.tasks import SUITES as LIBERO_SUITES
from inspire_vla.libero.tasks import instruction_of, task_files
from inspire_vla.tabletop.suites import SUITES

_PLACED = r"(?:^put|^push|and (?:put|place)) .*?"
_SIDE = r"(?:left|right|front|back)"
_RELATIVE = re.compile(
    rf"{_PLACED}(?:to the {_SIDE} of|in front of|behind|next to|under) (?!.*\b(?:in|on) the\b)"
)
_RELATION = re.compile(
    r"\b(?:next to|between|from table center)\b|^pick up the [\w ]+? (?:on|in) the .+ and place it"
)
_BY_SIDE = re.compile(rf"^pick up the [\w ]+? (?:on the {_SIDE}|in the middle) and (?:place|put) it")
_PLACE = re.compile(rf"\b(?:{_SIDE}|middle)\b(?! (?:of|compartment)\b)(?! drawer)")
_FIXTURE = re.compile(r"^(?:open|close|turn on|turn off)\b")
_SECOND_STEP = re.compile(r" and (?:put|close|open|turn|place them)\b|\bput both\b")
KINDS = {
    "open, close or turn on": "one step on a drawer, a door or a knob",
    "by place": 'equal objects told apart by where they stand: "the left plate"',
    "by part": 'a part of an object told apart by where it is: "the front compartment of the caddy"',
    "by relation": 'equal objects told apart by another object: "the black bowl next to the ramekin"',
    "two steps": 'two steps in one sentence: "… and close it"',
    "relative placement": 'to be put beside another object: "to the right of the plate"',
    "plain": "none of these: one object, told by its name, in or on another one",
}


def kinds_of(instruction: str) -> tuple[str, ...]:
    """Return the kinds of an instruction, at least one, in the order of `KINDS`."""
    by_side = bool(_BY_SIDE.search(instruction))
    # "pick up X and put it …" is one step
    steps = re.sub(r"^(pick up .*?) and (?:put|place) it\b", r"\1, put it", instruction)
    two_steps = bool(_SECOND_STEP.search(steps))
    relative = bool(_RELATIVE.search(instruction))
    rest = re.sub(rf"(?:to the {_SIDE} of|in front of)", "", instruction)
    is_of_kind = {
        "open, close or turn on": bool(_FIXTURE.search(instruction)) and not two_steps,
        "by place": by_side or bool(_PLACE.search(rest)),
        "by part": "compartment" in instruction,
        "by relation": bool(_RELATION.search(rest)) and not by_side and not relative,
        "two steps": two_steps,
        "relative placement": relative,
    }
    return tuple(kind for kind, is_one in is_of_kind.items() if is_one) or ("plain",)


def shares(instructions: Iterable[str]) -> dict[str, float]:
    """Return the share of the instructions that are of each kind. They add up to more than 1 if some are of several."""
    kinds_of_each = [kinds_of(instruction) for instruction in instructions]
    return {kind: sum(kind in kinds for kinds in kinds_of_each) / len(kinds_of_each) for kind in KINDS}


def _instructions() -> dict[str, list[str]]:
    suites: dict[str, list[str]] = {}
    try:
        for suite in LIBERO_SUITES:
            suites[suite] = [instruction_of(path) for path in task_files(suite)]
    except LiberoMissing as missing:
        print(missing)
    return suites | {suite: [task.instruction for task in tasks] for suite, tasks in SUITES.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", metavar="SUITE", help="print the instructions of a suite with their kinds")
    options = parser.parse_args()
    suites = _instructions()
    if options.list:
        if options.list not in suites:
            parser.error(f"unknown suite {options.list!r}; possible: {', '.join(suites)}")
        for instruction in suites[options.list]:
            print(f"{', '.join(kinds_of(instruction)):40} {instruction}")
        return
    print("| suite | tasks | " + " | ".join(KINDS) + " |")
    print("|---" * (2 + len(KINDS)) + "|")
    for suite, instructions in suites.items():
        counts = [f"{100 * share:.0f}" for share in shares(instructions).values()]
        print(f"| {suite} | {len(instructions)} | " + " | ".join(counts) + " |")


if __name__ == "__main__":
    main()
