"""The format of a comparison of policies (comparison.json): evaluation writes it, and reports draw it.

Rates and differences are fractions (0.25, not 25). `low` and `high` bound a 95 % interval. Lists of rates and pairs run
parallel to `policies`; every pair compares a policy with the first one, so the first entry is None.
"""

from typing import Any, Literal, NotRequired, TypedDict


class Interval(TypedDict):
    """An estimate. None where there is no number, as the rate of no episodes, or the interval of a single one."""

    rate: float | None
    low: float | None
    high: float | None


class Rate(Interval):
    """Successes of a policy in n episodes. suites_played: of a group, how many of its suites."""

    successes: int
    n: int
    suites_played: NotRequired[int]


class Paired(TypedDict):
    """The difference of a policy to the first over n pairs, and McNemar's test. The counts are pairs by outcome."""

    both: int
    only_first: int
    only_second: int
    neither: int
    n: int
    difference: float
    low: float
    high: float
    p_value: float


class RatesEntry(TypedDict):
    """Success of every policy; None where one played no episode, or has no pairs."""

    rates: list[Rate | None]
    paired: list[Paired | None]


class GroupEntry(RatesEntry):
    """A group of suites, each of which counts equally."""

    group: str
    suites: list[str]


class SuiteEntry(RatesEntry):
    """A suite, and the group it is in."""

    suite: str
    group: str


class TaskEntry(RatesEntry):
    """A task of a suite."""

    suite: str
    task: str


class Timing(TypedDict):
    """inference_ms_median: of a decision. batch_mean: rows decided together. episode_s_median, steps_median: of an
    episode."""

    inference_ms_median: float | None
    batch_mean: float | None
    episode_s_median: float
    steps_median: float


class Crash(TypedDict):
    """An episode that ended with an error."""

    suite: str
    task: str
    seed: int
    error: str | None
    traceback: str | None


class PolicyEntry(TypedDict):
    """A policy. run: its run.json. episodes: how many it played. The counts are sums over these."""

    name: str
    run: dict[str, Any]
    episodes: int
    timing: Timing
    decisions: int
    undecodable: int
    answers_to_override: int
    answers_overridden: int
    crashed: list[Crash]


class MentionAccuracy(TypedDict):
    """Answers about the first, second, … mention, beside two constant answers: of all tasks, and of each task."""

    n: int
    correct: int
    majority_answer: str | None
    majority_class: float
    per_task_majority: float


class AnswerSummary(Interval):
    """Answers of a policy on some suites. confusion: {true answer: {given answer: count}}."""

    n: int
    correct: int
    majority_class: float
    majority_answers: list[str | None]
    per_task_majority: float
    by_mention: list[MentionAccuracy]
    confusion: dict[str, dict[str, int]]


class GoalsEntry(TypedDict):
    """Episodes of tasks with several goals, by how many of the goals ever held."""

    suite: str
    policy: str
    n: int
    none: int
    at_once: int
    one_after_another: int
    some_with_first: int
    some_without_first: int


class Unpaired(TypedDict):
    """Episodes that only this policy, or only the first one, has played."""

    policy: str
    only_here: int
    missing_here: int


class Differing(TypedDict):
    """Conditions in which a run differs from the first: {name: (the first's, its own)}."""

    policy: str
    differing: dict[str, tuple[Any, Any]]


class Compared(TypedDict):
    """What a comparison of any kind says of its policies."""

    policies: list[PolicyEntry]
    unpaired: list[Unpaired]
    differing_conditions: list[Differing]


class OfflineEpisodes(TypedDict):
    """The episodes of a policy on recorded frames; known: whether it is known which of them it was trained on."""

    policy: str
    n: int
    known: bool
    trained_on: int


class ObjectAccuracy(TypedDict):
    """Answers about one object, beside the constant answers; None without answers."""

    object: str
    n: int
    correct: int
    rate: float | None
    majority_answer: str | None
    majority_class: float | None
    per_task_majority: float | None


class WordCounts(TypedDict):
    """How often a word is the label, how often it is answered, and how often both."""

    word: str
    labelled: int
    answered: int
    correct: int


class OfflineAnswers(Interval):
    """Answers of a policy against the labels. unlabelled: those without a label, or set by a control."""

    policy: str
    n: int
    unlabelled: int
    difference: Interval | None
    majority_class: float | None
    per_task_majority: float | None
    by_object: list[ObjectAccuracy]
    by_word: list[WordCounts]


class IntervalOfPairs(Interval):
    """A difference over n paired episodes."""

    n: int


class ActionErrors(TypedDict):
    """Errors of the actions of a policy, or of a baseline.

    relative: to the dataset's spread. by_dimension: mean absolute error of each number of an action, in the robot's
    units. by_horizon: the relative error by the step ahead of the decision.
    """

    name: str
    baseline: bool
    relative: Interval
    difference: IntervalOfPairs | None
    by_dimension: list[float]
    by_horizon: list[float | None]


class OfflineActions(TypedDict):
    """names, spread: of the numbers of an action, in the dataset; rows: the policies, then the baselines."""

    names: list[str]
    spread: list[float]
    rows: list[ActionErrors]


class GripperEvents(Interval):
    """Demonstrated events that the policy hit, and events of its own that hit none. delay_median: in frames."""

    demonstrated: int
    hit: int
    extra: int
    delay_median: float | None


class GripperEntry(TypedDict):
    """Closings and openings of a policy's gripper."""

    policy: str
    close: GripperEvents
    open: GripperEvents


GripperEvent = Literal["close", "open"]


class Offline(Compared):
    """Policies on the same recorded frames.

    dataset: as run.json describes it. other_labels, other_scale: policies that have no difference of their answers, or
    of their errors, because labels, or the spread that errors are relative to, are others than the first policy's.
    """

    dataset: dict[str, Any]
    other_labels: list[str]
    other_scale: list[str]
    episodes: list[OfflineEpisodes]
    answers: list[OfflineAnswers]
    actions: OfflineActions
    gripper: list[GripperEntry]


class Comparison(Compared):
    """Policies on the same tasks.

    answers: for each policy {"policy": name, group: AnswerSummary or None, …, "suites": {suite: likewise}}.
    episodes: fields of every episode's record, with its policy and the path of its video.
    offline: of runs on recorded frames, which are compared alone.
    """

    version: int
    groups: list[GroupEntry]
    suites: list[SuiteEntry]
    tasks: list[TaskEntry]
    answers: list[dict[str, Any]]
    goals: list[GoalsEntry]
    episodes: list[dict[str, Any]]
    offline: Offline | None


class SeedInterval(TypedDict):
    """Student's t interval over training seeds, and its test."""

    low: float
    high: float
    p_value: float


class OverSeeds(TypedDict):
    """A difference with an interval over tasks and training seeds. better, worse: numbers of the tasks."""

    difference: float
    low: float
    high: float
    seeds: SeedInterval | None
    better: int
    worse: int
    tasks: int
