"""The last images of each camera, for a policy with `n_obs_steps` > 1 (LeRobot's term); MiniVLA was trained on two.

Whoever runs an episode keeps one history and adds the images of every control step, also between two decisions. So the
image before is that of the control step before, as in the demonstrations.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8


class ObservationHistory:
    """The images of one episode.

    length: number of images per camera that the policy takes, the current one included (`n_obs_steps`).
    """

    def __init__(self, length: int = 1) -> None:
        self.length = length
        self._images: deque[Mapping[str, np.ndarray]] = deque(maxlen=length)

    def reset(self) -> None:
        """Remove all images at the start of an episode."""
        self._images.clear()

    def stack(
        self, images: Mapping[str, UInt8[np.ndarray, "height width 3"]]
    ) -> dict[str, UInt8[np.ndarray, "*time height width 3"]]:
        """Add the current images, and return the last `length` images of each camera, the oldest first.

        At the start of an episode there are fewer. With a length of 1 the images are returned without an axis of time.
        """
        if self.length == 1:
            return dict(images)
        self._images.append({camera: np.array(image) for camera, image in images.items()})
        return {camera: np.stack([then[camera] for then in self._images]) for camera in images}

    def stack_observation(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """Do as `stack` with an environment's observation {"pixels": {camera: image}, …}."""
        if self.length == 1:
            return dict(observation)
        return {**observation, "pixels": self.stack(observation["pixels"])}
