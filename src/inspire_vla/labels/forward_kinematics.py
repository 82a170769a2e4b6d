"""Joint angles to end-effector positions, with MuJoCo's URDF reader, for datasets that record joint values only.

MuJoCo is imported when a file is read, so that `inspire_vla.labels` itself loads fast.
"""

import hashlib
import re
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


@dataclass(frozen=True, eq=False)
class ForwardKinematics:
    """The chain of joints from a robot's base to one link.

    model: the chain, compiled by MuJoCo. digest: SHA-256 of the URDF file.
    """

    model: "mujoco.MjModel"
    tip: str
    digest: str

    @classmethod
    def read(cls, path: str | Path, tip: str) -> Self:
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
        return cls(model, tip, hashlib.sha256(data).hexdigest())

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the moving joints, from the base to the tip: the order of the joint values."""
        return tuple(self.model.joint(i).name for i in range(self.model.njnt))

    def link_before(self, joint: int) -> str:
        """The link from which a moving joint hangs."""
        return str(self.model.body(self.model.body_parentid[self.model.jnt_bodyid[joint]]).name)

    def positions(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """The tip's positions: (T, n) radians, or metres where a joint slides → (T, 3) metres in the base frame.

        Raises:
            InspireError: n is not the number of moving joints.
        """
        import mujoco

        numbers = self.joint_values(values)
        data = mujoco.MjData(self.model)
        tip = self.model.body(self.tip).id
        positions = np.empty((len(numbers), 3))
        for position, row in zip(positions, numbers, strict=True):
            data.qpos[:] = row
            mujoco.mj_kinematics(self.model, data)
            position[:] = data.xpos[tip]
        return positions

    def joint_values(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """(T, n) values, one for each moving joint. Raises InspireError for another number of values."""
        numbers = np.asarray(values, dtype=np.float64)
        if numbers.ndim != 2 or numbers.shape[1] != self.model.njnt:
            raise InspireError(
                f"the chain has {counted(self.model.njnt, 'joint')} {list(self.joint_names)}, found values "
                f"{numbers.shape}."
            )
        return numbers

    @property
    def is_hinge(self) -> NDArray[np.bool_]:
        """(n,) whether a joint turns; one that does not slides."""
        import mujoco

        return np.asarray(self.model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE)

    @property
    def limits(self) -> NDArray[np.float64]:
        """(n, 2) lowest and highest value of each joint in radians or metres, NaN where the URDF gives none."""
        return np.where(self.model.jnt_limited[:, None], self.model.jnt_range, np.nan)


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
