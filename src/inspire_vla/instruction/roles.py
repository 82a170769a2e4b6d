"""Roles of an instruction's objects: what is carried, where to, and what is opened or pressed.

put the red cube on the plate                carried: red cube, goal: plate
open the top drawer and put the bowl in it   operated: drawer, carried: bowl, goal: drawer
put the mug in the microwave and close it    carried: mug, goal: microwave, operated: microwave
put everything in the bin                    goal: bin
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.instruction.lexicon import (
    CONTROLS,
    FILLING,
    PUSHING,
    SIDES,
    SWAPPING,
    TOUCHING,
    VERBS,
)
from inspire_vla.instruction.phrases import Named, Use
from inspire_vla.instruction.words import base_verb, split_words

ROLES = ("carried", "operated", "goal", "landmark", "source", "tool")
"""What an object is for an instruction. Roles stand in the order of what is done; an object may have several.

carried: it is grasped and moved. operated: it is opened, pressed, pushed or wiped, without a grasp. goal: something is
brought onto or into it. landmark: something is brought next to it. source: something is taken from it. tool: it is held
while something is operated.
"""


@dataclass(frozen=True)
class MentionRole:
    """What one object is in one action. `role` is one of `ROLES`; None: what the instruction says.

    Raises:
        InspireError: another role, or no words.
    """

    mention: str
    role: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.mention, str) or not self.mention.strip():
            raise InspireError(f"A mention must be words that name an object; found {self.mention!r}.")
        if self.role is not None and self.role not in ROLES:
            raise InspireError(
                f"Unknown role {self.role!r} of {self.mention!r}.{did_you_mean(str(self.role), ROLES)}"
            )


@dataclass(frozen=True)
class Act:
    """One action that the instruction asks for. Objects are indices into the mentions.

    target: what is acted on; None where the instruction does not name it ("put everything in the bin"). goal: where it
    is brought to. beside: what it is brought next to. touch: needs no grasp. push: the target moves in front of the end
    effector. source: where it is taken from. tool: what is held in the gripper while the target is touched.
    """

    target: int | None
    goal: int | None = None
    beside: tuple[int, ...] = ()
    touch: bool = False
    push: bool = False
    source: int | None = None
    tool: int | None = None

    @property
    def places(self) -> tuple[int, ...]:
        """What the target is taken from, brought to, or brought next to."""
        return tuple(index for index in (self.source, self.goal, *self.beside) if index is not None)

    @property
    def needs_grasp(self) -> bool:
        """Whether something is held in the gripper meanwhile: the target, or a tool."""
        return not self.touch or self.tool is not None


def acts_of_named(named: Iterable[Named], mentions: Sequence[str]) -> tuple[Act, ...]:
    """Return the acts, in order, of the objects that the parser has found."""
    acts: list[Act] = []
    leading: list[tuple[Use, str | None, int]] = []  # "in the drawer, put the block"
    last, used = -1, -1
    is_body, pronoun = False, ""
    for item in named:
        touch, push = item.verb in TOUCHING, item.verb in PUSHING
        index = mentions.index(item.mention) if item.mention else -1
        last = index if index >= 0 else last
        is_target = item.use in ("object", "collective")
        if is_target and used >= 0:  # "use the cloth to wipe the table"
            if index >= 0 and mentions[used].split()[-1] not in CONTROLS:
                acts.append(Act(index, touch=True, push=push, tool=used))
                used = -1
                continue
            acts.append(Act(used, touch=True))
            used = -1
        if item.use == "body" or is_target:
            is_body = item.use == "body"
        if item.use == "collective":
            acts.append(Act(None))
        elif item.use == "object" and index < 0:
            pronoun = item.pronoun
            _act_on_pronoun(acts, last, touch, push, item.verb)
        elif item.use == "object" and item.verb == "use":
            used = index
        elif item.use == "object":
            pronoun = ""
            acts.append(Act(index, touch=touch, push=push))
        elif item.use == "tool" and index >= 0:
            if item.verb in SWAPPING:
                acts.append(Act(index))
            elif item.verb in FILLING and acts and acts[-1].goal is None:  # "cover the pot with the lid"
                acts[-1] = Act(index, goal=acts[-1].target)
            elif acts:
                acts[-1] = replace(acts[-1], touch=True, tool=index)
            else:
                used = index  # "with the knife, cut the bread"
        elif index < 0:  # "… on it"
            if len(acts) > 1 and acts[-1].goal is None and item.use == "goal":
                acts[-1] = replace(acts[-1], goal=acts[-2].target)
            elif len(acts) > 1 and item.use == "beside" and acts[-2].beside:
                acts[-1] = replace(acts[-1], beside=acts[-2].beside[-1:])
        elif is_body:  # "move the gripper to the cup"
            acts.append(Act(index, touch=True))
        elif not acts:
            leading.append((item.use, item.verb, index))
        else:
            _place(acts, item.use, index, pronoun)
        if is_target and acts:
            for use, _, mention_index in leading:
                _place(acts, use if VERBS.get(item.verb or "") == "placing" else "source", mention_index)
            leading = []
    acts += [Act(used, touch=True)] if used >= 0 else []
    for use, verb, index in leading:
        is_placed = verb is None or (VERBS[verb] == "placing" and verb not in ("move", "hand", "position"))
        acts.append(Act(None) if is_placed else Act(index, touch=True))
        if is_placed:  # "sweep into the pan"
            _place(acts, use, index)
    return tuple(acts)


def acts_of_roles(roles: Sequence[MentionRole], mentions: Sequence[str], instruction: str) -> tuple[Act, ...]:
    """Return the acts, in order, that given roles describe.

    The instruction's verbs tell whether something is pushed, and whether a landmark is where something is placed.
    Without a verb that is known, as in another language, it is.
    """
    words = [word for word in split_words(instruction) if word not in SIDES]
    verbs = [verb for word in words if (verb := base_verb(word)) is not None]
    places = not verbs or any(VERBS[verb] == "placing" for verb in verbs)
    pushes = [verb in PUSHING for verb in verbs if verb in TOUCHING]
    acts: list[Act] = []
    tool: int | None = None
    for item in roles:
        index = mentions.index(item.mention)
        if item.role == "carried":
            acts.append(Act(index))
        elif item.role == "operated":
            push = any(pushes[:1])
            pushes = pushes[1:] or pushes  # the second operated object is that of the second verb
            acts.append(Act(index, touch=True, push=push, tool=tool))
            tool = None
        elif item.role == "tool" and acts and acts[-1].touch:
            acts[-1] = replace(acts[-1], tool=index)
        elif item.role == "tool":
            tool = index
        elif item.role is not None and (item.role != "landmark" or places):
            if not acts:
                acts.append(Act(None))
            _place(acts, "beside" if item.role == "landmark" else item.role, index)
    acts += [Act(tool)] if tool is not None else []
    return tuple(acts)


def roles_of_acts(acts: Iterable[Act], mentions: Sequence[str]) -> tuple[MentionRole, ...]:
    """Return the roles that acts give to mentions. A mention that no act speaks of is a landmark."""
    pairs: list[tuple[int | None, str]] = []
    for act in acts:
        pairs.append((act.target, "operated" if act.touch else "carried"))
        pairs.append((act.tool, "tool"))
        pairs.append((act.source, "source"))
        pairs.append((act.goal, "goal"))
        pairs += [(index, "landmark") for index in act.beside]
    spoken = {index for index, _ in pairs}
    pairs += [(index, "landmark") for index in range(len(mentions)) if index not in spoken]
    return tuple(MentionRole(mentions[index], role) for index, role in pairs if index is not None)


def _place(acts: list[Act], use: str, index: int, pronoun: str = "") -> None:
    """Set the goal, the landmark or the source of the last act, and a goal also of the acts joined to it."""
    if use == "source":
        if acts[-1].source is None:
            acts[-1] = replace(acts[-1], source=index)
        return
    if use == "beside" and (acts[-1].goal is not None or acts[-1].beside):
        acts[-1] = replace(acts[-1], beside=(*acts[-1].beside, index))
        return
    for i in range(len(acts) - 1, -1, -1):
        if acts[i].goal is not None or acts[i].beside:
            if i == len(acts) - 1:
                # "stack A on B and place them in C": B is moved, with A on it; "… and place it in C": A again
                target = acts[i].goal if pronoun == "them" and acts[i].goal is not None else acts[i].target
                acts.append(Act(target, index))
            return
        if i < len(acts) - 1 and acts[i].touch != acts[-1].touch:
            return
        acts[i] = replace(acts[i], beside=(index,)) if use == "beside" else replace(acts[i], goal=index)


def _act_on_pronoun(acts: list[Act], last: int, touch: bool, push: bool, verb: str | None) -> None:
    """ "… and close it" is another act; "… and place it" is part of the last one."""
    if (
        verb in ("close", "shut") and acts and acts[-1] == Act(last)
    ):  # "open the box, put the pen inside and close it"
        last = next((act.target for act in reversed(acts) if act.touch and act.target is not None), last)
    if touch and last >= 0:
        act = Act(last, touch=True, push=push)
        if not acts or acts[-1] != act:
            acts.append(act)
    elif not acts or (acts[-1].touch and acts[-1].target == last and verb is not None):
        acts.append(Act(last if last >= 0 else None, touch=touch, push=push))
