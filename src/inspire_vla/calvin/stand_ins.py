"""What CALVIN's evaluation imports but an evaluation here does not use: its learner, and a hash that no wheel brings.

`calvin_agent.evaluation.utils` imports CALVIN's own model, hence torch 1.13 and Lightning, and pyhash, which is not
built for Python 3.12. Its sequences and initial states need of all that one hash.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_LEARNER: dict[str, dict[str, Any]] = {
    "calvin_agent.models.mcil": {"MCIL": object},
    "calvin_agent.utils.utils": {"add_text": None, "format_sftp_path": None},
}


def fnv1_32(text: str) -> int:
    """pyhash's fnv1_32 of a str: FNV-1 over its UTF-16 bytes, beginning with 0.

    >>> fnv1_32("test")
    3910690890
    """
    value = 0
    for byte in text.encode("utf-16-le"):
        value = (value * 0x01000193) % (1 << 32) ^ byte
    return value


@contextmanager
def learner_left_out() -> Iterator[None]:
    """Import CALVIN's evaluation without its learner; what is really installed of pyhash and OpenCV is used."""
    contents = dict(_LEARNER)
    if find_spec("pyhash") is None:
        contents["pyhash"] = {"fnv1_32": lambda: fnv1_32}
    if find_spec("cv2") is None:
        contents["cv2"] = {}
    new = [name for name in contents if name not in sys.modules]
    for name in new:
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(contents[name])
    try:
        yield
    finally:
        for name in new:
            del sys.modules[name]
