"""Joint angles to the hand's position, from a URDF: for datasets that record joints alone.

hand = base ── joint 1 ── link ── joint 2 ── … ── tip,     each joint: origin (xyz, rpy), then its own motion
"""

import hashlib
import re
import warnings
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inspire_vla.errors import InspireError, did_you_mean

LARGEST_FILE = 16 * 1024 * 1024
_TURNING, _SLIDING = ("revolute", "continuous"), ("prismatic",)
_UNLIMITED = (-4 * np.pi, 4 * np.pi)
"""Two turns: what a joint without limits may have been wound up to, in radians."""
_SLACK = 1.0
"""Radians beyond its limits that a joint's zero may be off; further is another unit."""
_STILL = 0.12
"""A robot whose joints all stay within so many radians of zero does not act: they were radians, not degrees."""


@dataclass(frozen=True)
class Joint:
    """One joint of the chain. `origin`: (4, 4) child in parent at zero; `axis`: (3,) of unit length.

    limits: lowest and highest angle, radians; of no meaning if it slides.
    """

    name: str
    kind: str
    origin: NDArray[np.float64]
    axis: NDArray[np.float64]
    limits: tuple[float, float] = _UNLIMITED

    @property
    def moves(self) -> bool:
        """Whether it takes a number."""
        return self.kind in (*_TURNING, *_SLIDING)


@dataclass(frozen=True, eq=False)
class Kinematics:
    """The chain from a robot's base to its tip. `degrees`: whether angles are recorded in degrees, as LeRobot's are."""

    joints: tuple[Joint, ...]
    degrees: bool
    digest: str

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the joints that move, in the order of the numbers."""
        return tuple(joint.name for joint in self.joints if joint.moves)

    @classmethod
    def read(cls, path: str | Path, tip: str, *, degrees: bool = False) -> Self:
        """Read the chain that ends in link `tip`. Meshes are not looked at.

        Raises:
            InspireError: no URDF, no such link, a loop, or a joint of a kind that cannot be followed.
        """
        path = Path(path)
        try:
            data = path.read_bytes()
            if len(data) > LARGEST_FILE or re.search(rb"<!(DOCTYPE|ENTITY)", data):
                raise InspireError(f"{path} is no plain URDF: too large, or it holds a DOCTYPE.")
            robot = ElementTree.fromstring(data)
            above = {
                child.get("link"): joint for joint in robot.iter("joint") for child in joint.findall("child")
            }
            links = {str(link.get("name")) for link in robot.iter("link")}
            if tip not in links:
                raise InspireError(f"{path} has no link {tip!r}.{did_you_mean(tip, links)}")
            chain: list[Joint] = []
            link: str | None = tip
            while link in above:
                element = above.pop(link)  # a second visit would be a loop
                chain.append(_joint(element))
                parent = element.find("parent")
                link = None if parent is None else parent.get("link")
        except (OSError, ElementTree.ParseError, ValueError) as error:
            if isinstance(error, InspireError):
                raise
            raise InspireError(f"{path} cannot be read as URDF: {error}.") from None
        return cls(tuple(reversed(chain)), degrees, hashlib.sha256(data).hexdigest())

    def positions(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """(T, n) joint values → (T, 3) metres in the base frame. Raises InspireError for another n."""
        numbers: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
        if numbers.ndim != 2 or numbers.shape[1] != len(self.joint_names):
            raise InspireError(
                f"the chain has {len(self.joint_names)} joints {list(self.joint_names)}, found values {numbers.shape}."
            )
        pose: NDArray[np.float64] = np.tile(np.eye(4), (len(numbers), 1, 1))
        at = 0
        for joint in self.joints:
            pose = np.matmul(pose, joint.origin)
            if joint.moves:
                pose = np.matmul(pose, _motion(joint, numbers[:, at], self.degrees))
                at += 1
        return pose[:, :3, 3]

    def check_unit(self, values: NDArray[np.floating]) -> None:
        """Hold a dataset's (T, n) joint values against the joints' limits: are they in the unit they are read in?

        Raises InspireError where they are read as radians and cannot be. Warns where they can hardly be degrees.
        """
        joints = [joint for joint in self.joints if joint.moves]
        whole = np.asarray(values, dtype=np.float64)
        whole = whole[np.isfinite(whole).all(axis=1)]
        turning = [
            (joint, column) for joint, column in zip(joints, whole.T, strict=True) if joint.kind in _TURNING
        ]
        if not len(whole) or not turning:
            return
        unit, name = (np.pi / 180, "degrees") if self.degrees else (1.0, "radians")
        for joint, column in turning:
            low, high = unit * np.quantile(column, [0.01, 0.99])  # one bad frame is no unit
            if low > joint.limits[0] - _SLACK and high < joint.limits[1] + _SLACK:
                continue
            seen, possible = (f"{a / unit:.4g} to {b / unit:.4g}" for a, b in ((low, high), joint.limits))
            found = f"joint {joint.name!r} goes from {seen}, and {possible} {name} are possible"
            if not self.degrees:
                raise InspireError(f"{found}. Did you forget --degrees?")
            warnings.warn(
                f"{found}: are these degrees, from the URDF's zero? Labels may be wrong.", stacklevel=3
            )
        if self.degrees and max(np.abs(column).max() for _, column in turning) * unit < _STILL:
            warnings.warn(
                "no joint goes further than 7 degrees from zero: are these radians? Then leave out --degrees.",
                stacklevel=3,
            )


def _motion(joint: Joint, values: NDArray[np.float64], degrees: bool) -> NDArray[np.float64]:
    motion = np.tile(np.eye(4), (len(values), 1, 1))
    if joint.kind in _SLIDING:
        motion[:, :3, 3] = values[:, None] * joint.axis
    else:
        angles = np.radians(values) if degrees else values
        motion[:, :3, :3] = Rotation.from_rotvec(angles[:, None] * joint.axis).as_matrix()
    return motion


def _joint(element: ElementTree.Element) -> Joint:
    name, kind = str(element.get("name")), str(element.get("type"))
    if kind not in (*_TURNING, *_SLIDING, "fixed"):
        raise InspireError(
            f"joint {name!r} is {kind!r}; revolute, continuous, prismatic and fixed can be followed."
        )
    place, way = element.find("origin"), element.find("axis")
    origin = np.eye(4)
    if place is not None:
        origin[:3, 3] = _three(place.get("xyz", "0 0 0"), name)
        origin[:3, :3] = Rotation.from_euler("xyz", _three(place.get("rpy", "0 0 0"), name)).as_matrix()
    axis = _three("1 0 0" if way is None else way.get("xyz", "1 0 0"), name)
    length = float(np.linalg.norm(axis))
    if kind != "fixed" and length < 1e-9:
        raise InspireError(f"joint {name!r} has no axis.")
    return Joint(name, kind, origin, axis / max(length, 1e-9), _limits(element))


def _limits(element: ElementTree.Element) -> tuple[float, float]:
    limit = element.find("limit")
    if limit is None or element.get("type") == "continuous":
        return _UNLIMITED
    low, high = float(limit.get("lower", "0")), float(limit.get("upper", "0"))
    return (low, high) if low < high else _UNLIMITED


def _three(text: str, name: str) -> NDArray[np.float64]:
    numbers = np.array([float(word) for word in text.split()])
    if numbers.shape != (3,) or not np.isfinite(numbers).all():
        raise InspireError(f"joint {name!r}: expected three numbers, found {text!r}.")
    return numbers
