"""Actions and states come back as they were; other files are refused."""

from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.toys import GoodAgent, ToyBenchmark

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import EvaluationPlan, Factory, evaluate
from inspire_vla.evaluation.footage import read_footage, write_footage


def test_they_come_back(tmp_path: Path) -> None:
    actions, states = np.random.default_rng(0).random((2, 5, 7)).astype(np.float32)
    write_footage(tmp_path / "x.npz", list(actions), list(states))
    back = read_footage(tmp_path / "x.npz")
    np.testing.assert_array_equal(back[0], actions)
    np.testing.assert_array_equal(back[1], states)
    write_footage(tmp_path / "y.npz", list(actions), [])
    assert read_footage(tmp_path / "y.npz")[1].shape == (0, 0)
    assert [len(table) for table in read_footage(tmp_path / "none.npz")] == [0, 0]


def test_what_is_none_is_refused_and_nothing_is_unpickled(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"no")
    np.savez(tmp_path / "y.npz", actions=np.array([print], dtype=object), states=np.zeros(1))
    np.savez(tmp_path / "z.npz", actions=np.zeros(1))
    for name in "xyz":
        with pytest.raises(InspireError, match="does not hold"):
            read_footage(tmp_path / f"{name}.npz")


def test_a_filmed_episode_leaves_them_beside_its_video(tmp_path: Path) -> None:
    plan = EvaluationPlan(
        suites=("toy_seen",), episodes_per_task=2, policy={"name": "good"}, videos_per_task=1
    )
    run = evaluate(
        tmp_path / "run", plan, benchmark=Factory("tests.evaluation.toys:ToyBenchmark", {}), agent=GoodAgent, workers=0,
        video_writer=lambda path, frames, fps, record: path.write_bytes(b"film"),
    )  # fmt: skip
    filmed = [record for record in run.records if record.video]
    assert len(filmed) == len(ToyBenchmark().tasks("toy_seen"))
    for record in filmed:
        actions, states = read_footage((run.path / record.video).with_suffix(".npz"))
        assert actions.shape == (record.steps, 7)
        assert states.shape == (record.steps + 1, 2)
        np.testing.assert_allclose(states[1:, 0], np.cumsum(0.1 * actions[:, 1]), atol=1e-6)
    assert not list(run.path.glob("videos/**/*001.npz"))
