"""Videos of noise, as a robot records them."""

from pathlib import Path

import av
import numpy as np

FRAMES, FPS = 48, 10
LAST_S = (FRAMES - 1) / FPS

CODECS = {"libx264": {"bf": "2"}, "libx265": {"x265-params": "log-level=none"}, "libsvtav1": {"preset": "12"}}


def film(path: Path, *, index_first: bool, group: int, codec: str = "libx264") -> bytes:
    """Noise, so that every image takes many bytes. LeRobot writes the index first, and small groups of pictures."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options={"movflags": "faststart"} if index_first else {}) as container:
        stream = container.add_stream(codec, rate=FPS, options={"g": str(group), **CODECS[codec]})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(FRAMES):
            image = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())
    return path.read_bytes()
