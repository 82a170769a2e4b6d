"""Joint angles to end-effector positions, with MuJoCo's URDF reader, for datasets that record joint values only.

MuJoCo is imported when a file is read, so that `inspire_vla.labels` itself loads fast.
"""

import hashlib
import re
import warnings
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, counted, did_you_mean, reason_of

if TYPE_CHECKING:
    import mujoco

LARGEST_FILE = 16 * 1024 * 1024
"""Bytes of a URDF; a longer file is refused."""
_JOINT_TYPES = ("revolute", "continuous", "prismatic", "fixed")
_COMPILER = {"fusestatic": "false", "boundmass": "1", "boundinertia": "1"}
"""Keep links behind fixed joints, and give every link some mass: kinematics needs none."""
_UNLIMITED = (-4 * np.pi, 4 * np.pi)
"""Radians: two turns, the range assumed for a joint without limits."""
_ZERO_OFFSET = 1.0
"""Radians by which a robot's zero may differ from the URDF's. Values further outside the limits mean another unit."""
_STILL = 0.12
"""Radians. A robot that stays this close to zero in all joints does not move: the values were not degrees."""


@dataclass(frozen=True, eq=False)
class ForwardKinematics:
    """The chain of joints from a robot's base to one link.

    model: the chain, compiled by MuJoCo. degrees: the joint values are in degrees (LeRobot's default), else radians.
    digest: SHA-256 of the URDF file.
    """

    model: "mujoco.MjModel"
    tip: str
    degrees: bool
    digest: str

    @classmethod
    def read(cls, path: str | Path, tip: str, *, degrees: bool = False) -> Self:
        """Read the chain that ends in link `tip` from a URDF. Mesh files are not needed.

        Raises:
            InspireError: the file is no URDF, it has no such link, or MuJoCo cannot follow one of the joints.
        """
        import mujoco

        path = Path(path)
        try:
            data = path.read_bytes()
            if len(data) > LARGEST_FILE or re.search(rb"<!(DOCTYPE|ENTITY)", data):
                raise InspireError(f"{path} is no plain URDF: it is too large, or it holds a DOCTYPE.")
            robot = ElementTree.fromstring(data)
            links = {str(link.get("name")) for link in robot.findall("link")}
            if tip not in links:
                raise InspireError(f"{path} has no link {tip!r}.{did_you_mean(tip, links)}")
            model = mujoco.MjModel.from_xml_string(_chain(robot, tip))
            if not model.njnt:
                parents = {str(parent.get("link")) for parent in robot.iterfind("joint/parent")}
                raise InspireError(
                    f"no joint of {path} moves link {tip!r}: it is no part of the moving arm. Links at the ends of the "
                    f"arm: {', '.join(sorted(links & _children(robot) - parents)) or 'none'}."
                )
        except InspireError:
            raise
        except (OSError, ElementTree.ParseError, ValueError) as error:
            raise InspireError(f"{path} cannot be read as URDF: {reason_of(error, lines=2)}.") from None
        if not all(np.isfinite(values).all() for values in (model.body_pos, model.body_quat, model.jnt_axis)):
            raise InspireError(f"{path} cannot be read as URDF: an origin or axis is not a finite number.")
        return cls(model, tip, degrees, hashlib.sha256(data).hexdigest())

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the moving joints, from the base to the tip: the order of the joint values."""
        return tuple(self.model.joint(i).name for i in range(self.model.njnt))

    def positions(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Compute the tip's positions: (T, n) joint values → (T, 3) metres in the base frame.

        Raises:
            InspireError: n is not the number of moving joints.
        """
        import mujoco

        numbers = np.asarray(values, dtype=np.float64)
        if numbers.ndim != 2 or numbers.shape[1] != self.model.njnt:
            raise InspireError(
                f"the chain has {counted(self.model.njnt, 'joint')} {list(self.joint_names)}, found values "
                f"{numbers.shape}."
            )
        data = mujoco.MjData(self.model)
        tip = self.model.body(self.tip).id
        positions = np.empty((len(numbers), 3))
        for position, row in zip(positions, numbers * self._units(), strict=True):
            data.qpos[:] = row
            mujoco.mj_kinematics(self.model, data)
            position[:] = data.xpos[tip]
        return positions

    def check_unit(self, values: NDArray[np.floating]) -> None:
        """Compare a dataset's (T, n) joint values with the joints' limits, to find out if the unit is wrong.

        Warns if values read as degrees can hardly be degrees.

        Raises:
            InspireError: values read as radians are too large for radians.
        """
        joint_values = np.asarray(values, dtype=np.float64)
        joint_values = joint_values[np.isfinite(joint_values).all(axis=1)]
        hinges = np.flatnonzero(self._is_hinge())
        if not len(joint_values) or not len(hinges):
            return
        unit, name = (np.pi / 180, "degrees") if self.degrees else (1.0, "radians")
        for joint in hinges:
            low, high = unit * np.quantile(
                joint_values[:, joint], [0.01, 0.99]
            )  # ignores single corrupt frames
            limits = tuple(self.model.jnt_range[joint]) if self.model.jnt_limited[joint] else _UNLIMITED
            if low > limits[0] - _ZERO_OFFSET and high < limits[1] + _ZERO_OFFSET:
                continue
            recorded, possible = (f"{a / unit:.4g} to {b / unit:.4g}" for a, b in ((low, high), limits))
            found = (
                f"joint {self.joint_names[joint]!r} goes from {recorded}, and {possible} {name} are possible"
            )
            if not self.degrees:
                raise InspireError(f"{found}. Did you forget --degrees?")
            warnings.warn(
                f"{found}: are these degrees, from the URDF's zero? Labels may be wrong.", stacklevel=3
            )
        if self.degrees and np.abs(joint_values[:, hinges]).max() * unit < _STILL:
            warnings.warn(
                "no joint goes further than 7 degrees from zero: are these radians? Then leave out --degrees.",
                stacklevel=3,
            )

    def _is_hinge(self) -> NDArray[np.bool_]:
        import mujoco

        return np.asarray(self.model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE)

    def _units(self) -> NDArray[np.float64]:
        """(n,) radians or metres per recorded unit of each joint."""
        return np.where(self._is_hinge() & self.degrees, np.pi / 180, 1.0)


def _children(robot: ElementTree.Element) -> set[str]:
    """Links that hang on a joint."""
    return {str(child.get("link")) for child in robot.iterfind("joint/child")}


def _chain(robot: ElementTree.Element, tip: str) -> str:
    """Return a URDF that holds only the joints and links between the base and `tip`, without geometry.

    Raises:
        InspireError: a joint of another type than `_JOINT_TYPES`.
    """
    joint_above = {
        child.get("link"): joint for joint in robot.findall("joint") for child in joint.findall("child")
    }
    chain = ElementTree.Element("robot", name="chain")
    ElementTree.SubElement(ElementTree.SubElement(chain, "mujoco"), "compiler", _COMPILER)
    link: str | None = tip
    while link is not None:
        ElementTree.SubElement(chain, "link", name=link)
        element = joint_above.pop(link, None)  # removed, so that a loop ends
        if element is None:
            break
        if element.get("type") not in _JOINT_TYPES:
            raise InspireError(
                f"joint {element.get('name')!r} has the type {element.get('type')!r}. Possible: "
                f"{', '.join(_JOINT_TYPES)}."
            )
        joint = ElementTree.SubElement(chain, "joint", element.attrib)
        kept = {"parent", "child", "origin", "axis"} | (
            {"limit"} if element.get("type") != "continuous" else set()
        )
        joint.extend(part for part in element if part.tag in kept)
        parent = element.find("parent")
        link = None if parent is None else parent.get("link")
    return ElementTree.tostring(chain, encoding="unicode")
