import json
import resource

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import EpisodeLog, EpisodeRecord, read_run


def record(episode=0, **changes):
    values = {
        "suite": "s", "task": "t", "instruction": "pick up the bowl", "episode": episode, "seed": 7 + episode,
        "success": True, "steps": 3, "mentions": ("the bowl",), "confusion": {"left": {"left": 2, "up": 1}},
        "confusion_by_mention": ({"left": {"left": 2, "up": 1}},),
        "timeline": ((0, ("left",), ("left",), (0.5,)), (2, ("up",), (None,), (0.25,))),
    }  # fmt: skip
    return EpisodeRecord(**{**values, **changes})


def test_json_round_trip():
    assert EpisodeRecord.from_json(record().to_json()) == record()
    assert "\n" not in record(traceback="a\nb").to_json()


def test_a_later_versions_keys_are_left_out_and_missing_ones_named():
    later = json.dumps({**json.loads(record().to_json()), "mood": "good"})
    assert EpisodeRecord.from_json(later) == record()
    with pytest.raises(InspireError, match="seed"):
        EpisodeRecord.from_json('{"suite": "s"}')


def test_a_torn_last_line_is_dropped_and_the_rest_kept(tmp_path):
    path = tmp_path / "episodes.jsonl"
    with EpisodeLog(path) as log:
        log.append(record(0))
        log.append(record(1))
    whole = path.read_bytes()
    for cut in (1, 10, len(record(1).to_json())):
        path.write_bytes(whole[:-cut])
        with EpisodeLog(path) as log:
            assert log.records == [record(0)]
            log.append(record(2))
        assert [json.loads(line)["episode"] for line in path.read_text().splitlines()] == [0, 2]


def test_a_broken_line_in_the_middle_is_an_error_with_its_number(tmp_path):
    path = tmp_path / "episodes.jsonl"
    path.write_text(record(0).to_json() + "\n{broken\n" + record(1).to_json() + "\n")
    with pytest.raises(InspireError, match="line 2"):
        EpisodeLog(path)


def test_two_writers_are_refused(tmp_path):
    with EpisodeLog(tmp_path / "e.jsonl"), pytest.raises(InspireError, match="another run"):
        EpisodeLog(tmp_path / "e.jsonl")


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "e.jsonl"
    with EpisodeLog(path) as log:
        log.append(record(0))

        def full(_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("inspire_vla.evaluation.records.os.fsync", full)
        with pytest.raises(InspireError, match="No space left"):
            log.append(record(1))
        monkeypatch.undo()
        log.append(record(2))
    with EpisodeLog(path) as log:
        assert [r.episode for r in log.records] == [0, 2]


def test_a_line_that_did_not_fit_leaves_the_file_as_it_was(tmp_path):
    """The kernel's own refusal, in the middle of a line: nothing of it may come later, on closing."""
    path = tmp_path / "e.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with EpisodeLog(path) as log:
        log.append(record(0))
        before = path.read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
        try:
            with pytest.raises(InspireError, match="make room"):
                log.append(record(1))
            log.close()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before


def test_reading_what_is_not_a_run_lists_what_is(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "run.json").write_text("{}")
    with pytest.raises(InspireError, match=r"no such folder.*base"):
        read_run(tmp_path / "bsae")
    with pytest.raises(InspireError, match=r"no run\.json"):
        read_run(tmp_path)
