"""What is no calibration of LeRobot is refused."""

from pathlib import Path

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels.motor_calibration import read_calibration


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"a": 1}',
        '{"a": {"range_min": 5, "range_max": 5, "drive_mode": 0}}',
        '{"a": {"range_min": "x"}}',
        '{"a": {"range_min": 0, "range_max": 1e20, "drive_mode": 0}}',
    ],
)
def test_other_files_are_no_calibration(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(InspireError, match=r"lerobot-calibrate|no range of 1 to 4096"):
        read_calibration(tmp_path / "c.json")
    with pytest.raises(InspireError, match="No such file"):
        read_calibration(tmp_path / "none.json")
