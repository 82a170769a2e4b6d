import errno
from dataclasses import replace

import numpy as np
import pytest
from tests.evaluation.toys import (
    BaseAgent,
    CrashesOn,
    GoodAgent,
    ToyBenchmark,
    ToyDecision,
    ToyEnv,
    Undecodable,
)

from inspire_vla.errors import InspireError, MachineFault
from inspire_vla.evaluation import (
    AnswerRule,
    EpisodeJob,
    EpisodeRecord,
    Factory,
    RolloutSettings,
    rollout,
    select_tasks,
)
from inspire_vla.evaluation.controls import CONTROLS, UNASKED, control_overrides


def jobs(n=3, tasks=("go left", "go right"), suite="toy_seen"):
    return [EpisodeJob(suite, task, e, 100 + e) for task in tasks for e in range(n)]


def outcomes(records):
    return {r.key: (r.success, r.steps) for r in records}


def test_an_agent_that_knows_the_way_succeeds_and_its_answers_are_true():
    records = list(rollout(jobs(), ToyBenchmark(), GoodAgent()))
    assert len(records) == 6
    assert all(r.success and r.error is None for r in records)
    assert all(r.answers_correct == r.answers_scored == 2 * r.decisions for r in records)
    first = records[0]
    assert first.confusion_by_mention[1] == {"front": {"front": first.decisions}}
    assert first.timeline[0][1:] == (("left", "front"), ("left", "front"), (0.9, 0.8))


def test_results_do_not_depend_on_slots_and_batches_are_filled():
    alone, together = GoodAgent(), GoodAgent()
    one = list(rollout(jobs(), ToyBenchmark(), alone, slots=1))
    four = list(rollout(jobs(), ToyBenchmark(), together, slots=4))
    assert outcomes(one) == outcomes(four)
    assert set(alone.calls) == {1}
    assert max(together.calls) == 4


def test_chunks_are_executed_open_loop_for_n_action_steps():
    for n, expected in ((1, 1), (2, 2), (None, 4)):
        record = next(iter(rollout(jobs(1), ToyBenchmark(), GoodAgent(), RolloutSettings(n_action_steps=n))))
        assert [step for step, *_ in record.timeline] == list(range(0, record.steps, expected))


def test_same_seed_same_start():
    first, second = ToyEnv("s", "go left"), ToyEnv("s", "go left")
    assert np.array_equal(first.reset(seed=5)[0]["agent_pos"], second.reset(seed=5)[0]["agent_pos"])


def test_wrong_answers_are_counted_and_a_base_agent_is_asked_nothing():
    wrong = list(rollout(jobs(2, ("go right",)), ToyBenchmark(), GoodAgent(broken_side=True)))
    assert not any(r.success for r in wrong)
    assert wrong[0].confusion_by_mention[0] == {"right": {"left": wrong[0].decisions}}
    base = list(rollout(jobs(2, ("go left",)), ToyBenchmark(), BaseAgent()))
    assert all(r.success and r.answers_scored == 0 and r.mentions == () for r in base)


def test_forced_answers_steer_and_are_not_scored():
    run = RolloutSettings(control="truth")
    records = list(rollout(jobs(2, ("go right",)), ToyBenchmark(), GoodAgent(broken_side=True), run))
    assert all(r.success and r.answers_scored == 0 for r in records)
    lost = list(rollout(jobs(4), ToyBenchmark(), GoodAgent(), RolloutSettings(control="random")))
    assert sum(r.success for r in lost) < 8
    again = list(rollout(jobs(4), ToyBenchmark(), GoodAgent(), RolloutSettings(control="random"), slots=2))
    assert outcomes(lost) == outcomes(again)  # random answers come from the episode's seed


def test_a_crash_is_that_episodes_failure_and_no_others():
    records = list(rollout(jobs(2), ToyBenchmark(), CrashesOn()))
    by_task = {task: [r for r in records if r.task == task] for task in ("go left", "go right")}
    assert all(r.success for r in by_task["go left"])
    assert all(not r.success and "cannot turn right" in r.error for r in by_task["go right"])
    assert "RuntimeError" in by_task["go right"][0].traceback


def test_an_environment_that_cannot_start_is_a_failure():
    class Broken(ToyBenchmark):
        def make(self, suite, task):
            if task == "go left":
                raise OSError("no display")
            return super().make(suite, task)

    records = list(rollout(jobs(1), Broken(), GoodAgent()))
    assert sorted((r.task, r.success, bool(r.error)) for r in records) == [
        ("go left", False, True),
        ("go right", True, False),
    ]


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOSPC, "full"), MachineFault("no LIBERO")])
@pytest.mark.parametrize("where", ["make", "reset", "step", "act"])
def test_a_fault_of_the_machine_is_no_failure_of_the_policy(monkeypatch, error, where):
    def broken(*_, **__):
        raise error

    benchmark, agent = ToyBenchmark(), GoodAgent()
    owner = {"make": benchmark, "act": agent}.get(where) or type(benchmark.make("toy", "go left"))
    monkeypatch.setattr(owner, where, broken)
    with pytest.raises(type(error)):
        list(rollout(jobs(2), benchmark, agent))


def test_undecodable_actions_are_counted_and_end_the_episode():
    record = next(iter(rollout(jobs(1), ToyBenchmark(), Undecodable())))
    assert not record.success
    assert record.undecodable == 5
    assert "undecodable" in record.error


def test_environments_are_closed():
    made = []

    class Watched(ToyBenchmark):
        def make(self, suite, task):
            made.append(super().make(suite, task))
            return made[-1]

    list(rollout(jobs(5), Watched(), GoodAgent(), slots=2))
    assert all(env.closed for env in made)
    assert len(made) <= 4  # used again within a task


def test_truth_follows_the_policys_rule():
    info = ToyEnv("s", "go left").reset(seed=1)[1]
    assert AnswerRule().truth(info) == {"the goal": "left", "the wall": "front"}
    official = AnswerRule.of(type("A", (), {"answer_rule": {"frame": "official_libero"}})())
    assert official.truth(info)["the goal"] == "right"
    assert AnswerRule.of(object()) == AnswerRule()
    assert AnswerRule().truth({}) == {}


def test_unknown_names_list_the_choices():
    with pytest.raises(InspireError, match=r"Did you mean 'toy_seen'"):
        select_tasks(ToyBenchmark(), ["toy_sene"])
    with pytest.raises(InspireError, match=r"Did you mean 'go left'"):
        select_tasks(ToyBenchmark(), ["toy_seen"], ["go lefd"])
    with pytest.raises(InspireError, match="no 'ToyBenchmrak'"):
        Factory("tests.evaluation.toys:ToyBenchmrak")()
    with pytest.raises(InspireError, match="module:function"):
        Factory("tests.evaluation.toys")()


def test_the_last_answers_are_handed_back_as_drafts():
    class Drafting(GoodAgent):
        def act(self, observations, instructions, overrides=None, drafts=None):
            self.calls.append(drafts)
            return super().act(observations, instructions, overrides, drafts)

    agent = Drafting()
    list(rollout(jobs(1, ("go left",)), ToyBenchmark(), agent, RolloutSettings(n_action_steps=1)))
    given = [call for call in agent.calls if isinstance(call, list)]
    assert given[0] == [None]
    assert given[1] == [{"the goal": "left", "the wall": "front"}]


class TwoSteps(ToyEnv):
    def _info(self):
        other = {"task": "go on", "mentions": ("the end", "the wall")} if self.t >= 2 else {}
        return super()._info() | other


class TwoStepsBenchmark(ToyBenchmark):
    def make(self, suite, task):
        return TwoSteps(suite, task)


def test_a_new_instruction_is_followed_at_once_and_asks_about_other_objects():
    class Reading(GoodAgent):
        def act(self, observations, instructions, overrides=None, drafts=None):
            self.calls.append((instructions[0], drafts[0]))
            return super().act(observations, instructions, overrides, drafts)[:1]

    agent = Reading()
    far = EpisodeJob("toy_new", "go far left", 0, 100)
    (record,) = rollout([far], TwoStepsBenchmark(), agent, slots=1)
    assert [call for call in agent.calls if call != 1][:2] == [("go far left", None), ("go on", None)]
    assert [step for step, *_ in record.timeline][:2] == [0, 2]  # the chunk of four was not played to its end
    assert record.instruction == "go far left → go on"


@pytest.mark.parametrize("control", [name for name in CONTROLS if name != UNASKED])
def test_each_answer_is_recorded_with_the_object_that_it_is_about(control):
    calls = []

    class NamesTheEnd(GoodAgent):
        """Is asked about "the end" where the instruction is "go on"."""

        def act(self, observations, instructions, overrides=None, drafts=None):
            names = "the end" if instructions[0] == "go on" else "the goal", "the wall"
            row = overrides[0] if overrides else {}
            calls.append((row, drafts[0]))
            forced = [{("the goal" if m == "the end" else m): word for m, word in row.items()}]
            (decision,) = super().act(observations, instructions, forced)
            return [replace(decision, mentions=names)]

    far = EpisodeJob("toy_new", "go far left", 0, 100)
    (record,) = rollout(
        [far], TwoStepsBenchmark(), NamesTheEnd(), RolloutSettings(control=control, max_steps=6), slots=1
    )
    assert record.error is None
    assert record.mentions == ("the goal", "the wall", "the end")
    (_, first, *_), (step, answers, truths, confidences), *_ = record.timeline
    assert len(first) == 2  # nothing was known of the end
    assert (step, answers[0], truths[0]) == (2, "", None)  # the goal is no longer asked about
    assert truths[1:] == ("front", "left")
    assert confidences == (0.0, 0.8, 0.9)
    if control != "none":  # the control answers about the objects of the instruction in force
        assert [set(row) for row, _ in calls][:2] == [{"the goal", "the wall"}, {"the end", "the wall"}]
        if control == "truth":
            assert answers[1:] == truths[1:]
        if control == "shuffled":  # among the objects of the instruction in force
            assert answers[1:] == truths[:0:-1]
        if control == "random_directions":
            assert "grasped" not in {word for row, _ in calls for word in row.values()}
        assert record.answers_scored == 0
        return
    assert [drafts for _, drafts in calls][:2] == [None, None]
    assert [sum(row.values()) for by in record.confusion_by_mention for row in by.values()] == [1, 2, 1]
    assert record.answers_correct == record.answers_scored == 4


def test_an_instruction_stays_where_the_environment_does_not_repeat_it():
    class Once(ToyEnv):
        def _info(self):
            info = super()._info()
            if self.t:
                del info["task"]
            return info | ({} if self.t else {"instruction": "go to the goal"})

    class Benchmark(ToyBenchmark):
        def make(self, suite, task):
            return Once(suite, task)

    given = []

    class Reading(GoodAgent):
        def act(self, observations, instructions, overrides=None, drafts=None):
            given.append(instructions[0])
            return super().act(observations, instructions, overrides, drafts)

    (record,) = rollout([EpisodeJob("toy_new", "go far left", 0, 100)], Benchmark(), Reading(), slots=1)
    assert len(given) > 1
    assert {*given, record.instruction} == {"go to the goal"}


def test_an_agent_says_how_many_actions_are_executed():
    agent = GoodAgent()
    agent.n_action_steps = 2
    record = next(iter(rollout(jobs(1), ToyBenchmark(), agent)))
    assert [step for step, *_ in record.timeline] == list(range(0, record.steps, 2))


def test_shuffled_answers_are_those_of_the_other_objects():
    truth = {"the cup": "left", "the plate": "down", "the bowl": "up"}
    rng = np.random.default_rng(0)
    words = ("left", "down", "up")
    overrides = control_overrides("shuffled", tuple(truth), truth, words, rng)
    assert overrides == {"the cup": "up", "the plate": "left", "the bowl": "down"}
    assert control_overrides("shuffled", ("the cup",), truth, words, rng) == {"the cup": "left"}


def test_of_several_goals_the_step_is_kept_at_which_each_first_held():
    class TwoGoals(ToyEnv):
        """The first goal holds at the third step alone; the second one from the fifth step on; the third one never."""

        def _info(self):
            return super()._info() | {"goals": (self.t == 3, self.t >= 5, False), "is_success": False}

    benchmark = ToyBenchmark()
    benchmark.make = TwoGoals
    (record,) = rollout(jobs(1, ("go left",)), benchmark, GoodAgent())
    assert record.goals == (3, 5, None)
    assert EpisodeRecord.from_json(record.to_json()).goals == (3, 5, None)
    (one,) = rollout(jobs(1, ("go left",)), ToyBenchmark(), GoodAgent())
    assert one.goals == ()


def test_random_directions_leave_the_truth_about_grasps():
    truth = {"the cup": "grasped", "the plate": "down", "the bowl": "up"}
    words, rng = ("left", "down", "grasped"), np.random.default_rng(0)
    mentions = (*truth, "the lamp")  # of which nothing is known
    draws = [control_overrides("random_directions", mentions, truth, words, rng) for _ in range(200)]
    assert {answers["the cup"] for answers in draws} == {"grasped"}
    assert {answers["the plate"] for answers in draws} == {"left", "down"}
    assert all(set(answers) == set(truth) for answers in draws)


@pytest.mark.parametrize("control", ["truth", "shuffled", "random", "random_directions"])
def test_what_a_control_cannot_set_is_counted(control):
    class Blind(ToyEnv):
        """Nobody knows where the wall is, which is mentioned first."""

        def _info(self):
            info = super()._info()
            known = {name: info[name][:1] for name in ("mentions", "gripper_to_object_m", "grasped")}
            return info | known | {"instruction": "push the wall to the goal"}

    class Benchmark(ToyBenchmark):
        def make(self, suite, task):
            return Blind(suite, task)

    class WallFirst(GoodAgent):
        answer_rule = AnswerRule(max_objects=2)

        def act(self, observations, instructions, overrides=None, drafts=None):
            assert all(set(one) <= {"the wall", "the goal"} for one in overrides)
            return super().act(observations, instructions, overrides, drafts)

    (record,) = rollout(jobs(1, ("go left",)), Benchmark(), WallFirst(), RolloutSettings(control=control))
    assert record.error is None, record.traceback
    assert record.answers_to_override == 2 * record.decisions
    assert record.answers_overridden == record.answers_to_override // (1 if control == "random" else 2)


def test_of_what_is_asked_the_truth_is_forced_and_of_nothing_else():
    truth = {"the bowl": "up", "the lamp": "left"}  # of the cup, which is asked about first, it is not known
    assert control_overrides("truth", ("the cup", "the bowl"), truth, (), np.random.default_rng(0)) == {
        "the bowl": "up"
    }


def test_the_truth_is_forced_only_where_it_is_asked_for():
    forced = []

    class AsksOnce(GoodAgent):
        answer_rule = AnswerRule(max_objects=1)

        def act(self, observations, instructions, overrides=None, drafts=None):
            forced.extend(overrides)
            return super().act(observations, instructions, overrides, drafts)

    list(rollout(jobs(1), ToyBenchmark(), AsksOnce(), RolloutSettings(control="truth")))
    assert {frozenset(answer) for answer in forced} == {frozenset({"the goal"})}


class LooksBack(GoodAgent):
    """Is shown the images of three control steps; keeps what it was shown, by how far it had got."""

    n_obs_steps = 3

    def act(self, observations, instructions, overrides=None, drafts=None):
        self.shown = getattr(self, "shown", []) + [
            o["pixels"]["image"][:, 0, 0, 0].tolist() for o in observations
        ]
        return super().act(observations, instructions, overrides, drafts)


class Numbered(ToyEnv):
    """An image of one grey: the number of its control step."""

    def _observation(self):
        return super()._observation() | {"pixels": {"image": np.full((8, 8, 3), self.t, np.uint8)}}


def test_an_agent_that_looks_back_sees_the_steps_between_its_decisions():
    agent, benchmark = LooksBack(), ToyBenchmark()
    benchmark.make = Numbered
    played = jobs(2, ("go far left",), "toy_new")
    records = list(rollout(played, benchmark, agent, RolloutSettings(n_action_steps=4), slots=1))
    decided = [step for record in records for step, *_ in record.timeline]
    assert decided.count(0) == 2
    assert agent.shown == [list(range(max(0, step - 2), step + 1)) for step in decided]
    film = next(iter(rollout(played, benchmark, GoodAgent(), slots=1)))
    assert film.success  # an agent without `n_obs_steps` is shown (H, W, 3), as ever


def test_unasked_nothing_is_asked_about():
    calls = []

    class RecordsMentions(GoodAgent):
        answers_precede_action = False

        def act(self, observations, instructions, overrides=None, drafts=None, mentions=None):
            calls.append((mentions, overrides))
            return [ToyDecision(d.actions) for d in super().act(observations, instructions)]

    (record,) = rollout(
        jobs(1, ("go left",)), ToyBenchmark(), RecordsMentions(), RolloutSettings(control="unasked")
    )
    assert set(map(repr, calls)) == {"([()], None)"}
    assert record.success
    assert (record.mentions, record.answers_scored, record.answers_to_override) == ((), 0, 0)
    far = EpisodeJob("toy_new", "go far left", 0, 100)
    (record,) = rollout([far], TwoStepsBenchmark(), RecordsMentions(), RolloutSettings(control="unasked"))
    assert set(map(repr, calls)) == {"([()], None)"}  # nor about the objects of a second instruction
    assert (record.instruction, record.mentions) == ("go far left → go on", ())


@pytest.mark.parametrize("control", ["truth", "random", "shuffled"])
def test_answers_that_no_action_follows_cannot_be_forced(control):
    agent = GoodAgent()
    agent.answers_precede_action = False
    with pytest.raises(InspireError, match=f"control '{control}' would change nothing"):
        list(rollout(jobs(), ToyBenchmark(), agent, RolloutSettings(control=control)))


@pytest.mark.parametrize("control", ["truth", "random", "shuffled"])
def test_answers_of_a_policy_that_is_not_asked_cannot_be_forced(control):
    agent = BaseAgent()
    agent.reasoning_enabled = False
    with pytest.raises(InspireError, match=f"control '{control}' needs a policy that is asked"):
        list(rollout(jobs(), ToyBenchmark(), agent, RolloutSettings(control=control)))
    assert len(list(rollout(jobs(), ToyBenchmark(), agent))) == 6
