"""The last images of each camera, for a policy that looks back (MiniVLA was trained on two, `n_obs_steps`).

Whoever plays an episode keeps one and shows it every step, also those between two decisions: the image before is
that of the control step before, as in the demonstrations.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8


class ObservationHistory:
    """Remembers the images of one episode.

    length: how many of each camera the policy looks at, that of now included. With 1 nothing is remembered.
    """

    def __init__(self, length: int = 1) -> None:
        self.length = length
        self._seen: deque[Mapping[str, np.ndarray]] = deque(maxlen=length)

    def reset(self) -> None:
        """Forget: another episode begins."""
        self._seen.clear()

    def see(
        self, images: Mapping[str, UInt8[np.ndarray, "height width 3"]]
    ) -> dict[str, UInt8[np.ndarray, "*time height width 3"]]:
        """Take in what the cameras show now, and return each camera's last images, the oldest first.

        As many as there were, at most `length`; for a length of 1 the image itself, without an axis of time.
        """
        if self.length == 1:
            return dict(images)
        self._seen.append({camera: np.array(image) for camera, image in images.items()})
        return {camera: np.stack([then[camera] for then in self._seen]) for camera in images}

    def observe(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """`see` for an environment's observation {"pixels": {camera: image}, …}."""
        if self.length == 1:
            return dict(observation)
        return {**observation, "pixels": self.see(observation["pixels"])}
