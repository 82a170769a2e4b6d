"""Images drawn when they are read; and the last images of each camera, for a policy with `n_obs_steps` > 1.

`n_obs_steps` is LeRobot's term. MiniVLA was trained on two.
Whoever runs an episode keeps one history and adds the images of every control step, also between two decisions. So the
image before is that of the control step before, as in the demonstrations.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from inspire_vla.errors import InspireError


class LazyImages(Mapping[str, UInt8[np.ndarray, "height width 3"]]):
    """The present images by camera. Each is drawn when it is first read: most steps of an action chunk need none.

    cameras: their names; draw: camera → its present image, also of a camera that is not listed, or KeyError;
    moment: → a value that changes with each step and reset.

    Raises:
        InspireError: an image is read for the first time after the next step.
    """

    def __init__(
        self, cameras: Sequence[str], draw: Callable[[str], np.ndarray], moment: Callable[[], Any]
    ) -> None:
        self._cameras, self._draw, self._now = tuple(cameras), draw, moment
        self._drawn: dict[str, np.ndarray] = {}
        self._moment = moment()

    def __getitem__(self, camera: str) -> np.ndarray:
        if camera not in self._drawn:
            if self._now() != self._moment:
                raise InspireError("an image is drawn when it is first read, and this one was read too late.")
            self._drawn[camera] = self._draw(camera)
        return self._drawn[camera]

    def __contains__(self, camera: object) -> bool:
        return camera in self._cameras

    def __iter__(self) -> Iterator[str]:
        return iter(self._cameras)

    def __len__(self) -> int:
        return len(self._cameras)


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
