"""The page of labels to check: one bad image costs its own cell; a disk that cannot be written is an error."""

import errno
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels import LabelInfo, ModeRule
from inspire_vla.labels.dataset_writer import LabelledDatasetWriter, png
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.reports.label_review import write_review

CUBE, DRAWER = "pick up the red cube", "open the drawer"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two episodes of six frames with images, the frame's number as their brightness."""
    labels = LabelInfo(
        "robot",
        {"direction": ModeRule()},
        {CUBE: ("the red cube",), DRAWER: ("the drawer",)},
        1,
        "simulator_state",
    )
    with LabelledDatasetWriter(
        tmp_path / "data", labels, name="toy", fps=10, robot_type="any", image_size=16, cameras=("front",)
    ) as made:
        for instruction in (CUBE, DRAWER):
            offsets = np.tile(np.float32([0.2, 0, 0]), (6, 1, 1))
            offsets[3:] = [0, 0.2, 0]
            images = [png(np.full((16, 16, 3), 40 * frame, np.uint8)) for frame in range(6)]
            made.add(
                instruction,
                np.zeros((6, 8)),
                np.zeros((6, 7)),
                offsets,
                np.zeros((6, 1), bool),
                {"front": images},
            )
    return tmp_path / "data"


def rewrite(root: Path, name: str, column: pa.Array) -> None:
    (path,) = LeRobotFiles.open(root).data_files()
    table = pq.read_table(path)
    index = table.column_names.index(name)
    pq.write_table(table.set_column(index, table.schema.field(name), column), path)


def test_a_page_shows_the_images_of_each_episode(dataset, tmp_path):
    page = write_review(dataset, tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<section>") == 2
    assert page.count("data:image/jpeg") == 6  # of each the first, the last, and one change
    assert "cannot be read" not in page


def test_a_bad_image_costs_its_own_cell(dataset, tmp_path):
    (path,) = LeRobotFiles.open(dataset).data_files()
    images = pq.read_table(path)["observation.images.front"].combine_chunks()
    rows = images.to_pylist()
    rows[3] = {**rows[3], "bytes": b"no image"}
    rows[6] = {**rows[6], "bytes": rows[6]["bytes"][:40]}
    rewrite(dataset, "observation.images.front", pa.array(rows, images.type))
    page = write_review(dataset, tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("This image cannot be read") == 2
    assert page.count("data:image/jpeg") == 4


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_cannot_be_written_is_an_error(dataset, tmp_path, monkeypatch, code):
    def refused(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_text", refused)
    with pytest.raises(InspireError, match=f"Cannot write .*{os.strerror(code)}"):
        write_review(dataset, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_the_page_shows_every_task_of_an_episode_with_its_own_images(dataset, tmp_path):
    """Six frames of one task and six of another, in one episode."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    from inspire_vla.labels.function_labeller import FunctionLabeller
    from inspire_vla.labels.storage import label_dataset

    image = {"dtype": "image", "shape": (16, 16, 3), "names": ["height", "width", "channels"]}
    action = {"dtype": "float32", "shape": (2,), "names": None}
    made = LeRobotDataset.create(
        "any/name", fps=10, root=tmp_path / "both", features={"observation.images.front": image, "action": action},
        use_videos=False,
    )  # fmt: skip
    for frame in range(12):
        pixels = np.full((16, 16, 3), 255 * (frame >= 6), np.uint8)
        task = CUBE if frame < 6 else DRAWER
        made.add_frame({"observation.images.front": pixels, "action": np.zeros(2, np.float32), "task": task})
    made.save_episode()
    made.finalize()

    def where(episode):
        return np.full((len(episode), 1, 3), 0.1), np.zeros((len(episode), 1), bool)

    label_dataset(tmp_path / "both", FunctionLabeller(where), out=tmp_path / "labelled")
    page = write_review(tmp_path / "labelled", tmp_path / "page.html").read_text(encoding="utf-8")
    first, second = page.split("<section>")[1:]
    assert CUBE in first
    assert DRAWER in second
    assert "0.6 s" in second
    assert brightness(first) == {0}
    assert brightness(second) == {255}


def brightness(section: str) -> set[int]:
    import base64
    import io

    from PIL import Image

    sources = [part.split('"')[0] for part in section.split("base64,")[1:]]
    return {Image.open(io.BytesIO(base64.b64decode(source))).getpixel((8, 8))[0] for source in sources}
