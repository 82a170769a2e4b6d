"""Unsafe and damaged files of CALVIN are refused."""

import os
import pickle

import numpy as np
import pytest
from tests.labels.calvin_split import write_split

from inspire_vla.errors import InspireError
from inspire_vla.labels.calvin_files import read_annotations, read_frame


@pytest.fixture
def split(tmp_path):
    return write_split(tmp_path)


def test_annotations_cannot_run_anything(split):
    class Hostile:
        def __reduce__(self):
            return os.getcwd, ()

    path = split / "lang_annotations/auto_lang_ann.npy"
    assert len(read_annotations(split)) == 3
    np.save(path, np.array(Hostile(), dtype=object), allow_pickle=True)
    with pytest.raises(InspireError, match="no part of annotations"):
        read_annotations(split)
    path.write_bytes(pickle.dumps({}))
    with pytest.raises(InspireError, match="no language annotations"):
        read_annotations(split)
    for spans in ([(np.inf, 4)], [(np.nan, 4)], [(0, 1, 2)], np.zeros(3), ["ab"]):
        annotated = {"language": {"ann": ["lift the red block"]}, "info": {"indx": spans}}
        for record in (annotated, {"language": np.zeros(1)}, [annotated]):
            np.save(path, np.array(record, dtype=object), allow_pickle=True)
            with pytest.raises(InspireError, match="no language annotations"):
                read_annotations(split)


def test_broken_frames_are_refused(split):
    with pytest.raises(InspireError, match="missing"):
        read_frame(split, 99)
    path = split / "episode_0000000.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InspireError, match="damaged"):
        read_frame(split, 0)
    np.savez(path, robot_obs=np.zeros(3))
    with pytest.raises(InspireError, match=r"robot_obs is float64 of shape \(3,\); 15 finite numbers"):
        read_frame(split, 0)
