"""Recordings in the shapes that people publish, each with its truth: small LeRobot v3 datasets, made in a moment.

In all of them an end effector goes to an object, grasps it, carries it to a goal, lets go and moves away, on smooth
paths with some noise. They differ in how this is recorded: columns, names, units, signs, and when the
gripper is closed.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TASK = "put the red cube on the plate"
FPS = 15
EPISODES = 6


@dataclass
class Motion:
    """One demonstration of T frames.

    path: (T, 3) metres. width: (T,) 0 closed … 1 open, around the object `resting`. command: (T,) 0 close, 1 open.
    held: (T,). places: of the object and of the goal, (3,) each.
    """

    path: np.ndarray
    width: np.ndarray
    command: np.ndarray
    held: np.ndarray
    places: tuple[np.ndarray, np.ndarray]

    def __len__(self) -> int:
        return len(self.path)


def ease(a: np.ndarray, b: np.ndarray, frames: int) -> np.ndarray:
    """(frames, 3): from a to b, slow at both ends."""
    s = np.linspace(0, 1, frames, endpoint=False)[:, None]
    return a + (b - a) * (3 * s**2 - 2 * s**3)


def motion(
    rng: np.random.Generator,
    *,
    resting: float = 0.35,
    closing: int = 4,
    begins_closed: bool = False,
    opens_near: bool = False,
    released_to: float = 1.0,
    ends_holding: bool = False,
    misses: bool = False,
    noise: float = 0.002,
) -> Motion:
    """Make one demonstration.

    Args:
        resting: width around the object. closing: frames in which the fingers close and open.
        begins_closed: the gripper is closed in the rest pose, at both ends; with `opens_near` it opens on the way.
        released_to: width after the release. ends_holding: the object is only lifted.
        misses: the gripper closes beside the object first, rises, opens and tries again.
        noise: of the width.
    """
    home = np.array([0.25, 0.02, 0.34]) + rng.normal(0, 0.01, 3)
    thing = np.array([rng.uniform(0.32, 0.5), rng.uniform(0.05, 0.24), 0.03])
    goal = np.array([rng.uniform(0.32, 0.5), rng.uniform(-0.26, -0.06), 0.11])
    above = np.array([0, 0, 0.12])
    legs, miss = [ease(home, thing + above, 14)], 0
    if misses:
        aside = thing + np.array([0.03, 0.02, 0])
        legs += [ease(thing + above, aside, 9), np.tile(aside, (closing + 3, 1))]
        miss = sum(map(len, legs)) - 2
        legs += [ease(aside, thing + above, 8), np.tile(thing + above, (closing + 2, 1))]
    legs += [ease(thing + above, thing, 9), np.tile(thing, (closing + 3, 1))]
    grasp = sum(map(len, legs)) - 2
    legs += [ease(thing, thing + above, 8)]
    if not ends_holding:
        legs += [ease(thing + above, goal + above, 15), ease(goal + above, goal, 8)]
        drop = sum(map(len, legs)) + 2
        legs += [np.tile(goal, (closing + 3, 1)), ease(goal, goal + above, 8), ease(goal + above, home, 12)]
    else:
        legs += [np.tile(thing + above, (6, 1))]
        drop = sum(map(len, legs))
    path = np.concatenate(legs) + rng.normal(0, 0.0004, (sum(map(len, legs)), 3))
    frames, time = len(path), np.arange(len(path))
    told = grasp - closing
    command = np.where((time >= told) & (time < drop), 0.0, 1.0)
    width = np.interp(time, [told, grasp, drop - 1, drop - 1 + closing], [1, resting, resting, released_to])
    if ends_holding:
        width = np.interp(time, [told, grasp], [1, resting])
    if misses:  # closed until it has risen
        command[miss - closing : miss + 10] = 0.0
        levels = [miss - closing, miss, miss + 10, miss + 10 + closing]
        width = np.minimum(width, np.interp(time, levels, [1, 0.02, 0.02, 1]))
    if begins_closed:
        opens = grasp - closing - 9 if opens_near else 5
        command[:opens] = 0.0
        width[: opens + 4] = np.interp(time[: opens + 4], [opens, opens + 4], [0.02, 1])
        if not ends_holding:
            command[-8:] = 0.0
            width[-8:] = np.interp(np.arange(8), [0, 5], [released_to, 0.02])
    held = (time >= grasp) & (time < drop)
    width = np.clip(width + rng.normal(0, noise, frames), 0, 1.02)
    return Motion(path, width, command, held, (thing, goal))


Row = Callable[[Motion, np.random.Generator], dict[str, np.ndarray]]
"""A demonstration → its columns, (T, n)."""


@dataclass(frozen=True)
class Kind:
    """How a recording is made.

    record: see `Row`. names: column → names of its values, in the form in which info.json has them. options: of
    `motion`. tasks: instructions, in turn. labels: options of the labeller.
    """

    record: Row
    names: dict[str, Any]
    robot: str = "bench"
    options: dict[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = (TASK,)
    labels: dict[str, Any] = field(default_factory=dict)


def pad(*parts: Any) -> np.ndarray:
    """Columns side by side: numbers become constant columns."""
    frames = max(len(part) for part in parts if isinstance(part, np.ndarray))
    return np.column_stack(
        [part if isinstance(part, np.ndarray) else np.full(frames, part) for part in parts]
    )


def steps(m: Motion) -> np.ndarray:
    """(T, 3): the next displacement, as delta actions are."""
    return np.diff(m.path, axis=0, append=m.path[-1:])


def turns(m: Motion) -> np.ndarray:
    """(T, 3): angles that drift a little."""
    return np.cumsum(np.random.default_rng(len(m)).normal(0, 0.01, (len(m), 3)), axis=0)


def late(values: np.ndarray, frames: int) -> np.ndarray:
    """The values, some frames later."""
    return np.concatenate([values[:1].repeat(frames, 0), values[: len(values) - frames]])


def write(kind: Kind, root: Path, seed: int = 0) -> list[Motion]:
    """Write a dataset to `root` and return the demonstrations that it records."""
    rng = np.random.default_rng(seed)
    motions = [motion(rng, **kind.options) for _ in range(EPISODES)]
    tables: list[dict[str, np.ndarray]] = [kind.record(m, rng) for m in motions]
    features: dict[str, Any] = {}
    for column, values in tables[0].items():
        size = values.shape[1] if values.ndim == 2 else 1
        features[column] = {"dtype": "float32", "shape": [size], "names": kind.names.get(column)}
    (root / "meta").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    lengths = [len(m) for m in motions]
    info = {
        "codebase_version": "v3.0",
        "fps": FPS,
        "robot_type": kind.robot,
        "features": features,
        "total_episodes": EPISODES,
        "total_frames": sum(lengths),
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    }
    (root / "meta/info.json").write_text(json.dumps(info), encoding="utf-8")
    tasks = {"task_index": list(range(len(kind.tasks))), "task": list(kind.tasks)}
    pq.write_table(pa.table(tasks), root / "meta/tasks.parquet")
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    listed = {"episode_index": list(range(EPISODES)), "length": lengths}
    pq.write_table(pa.table(listed), root / "meta/episodes/chunk-000/file-000.parquet")
    columns = {}
    for column in tables[0]:
        values = np.concatenate([table[column] for table in tables]).astype(np.float32)
        size = features[column]["shape"][0]
        flat = pa.array(values.ravel())
        columns[column] = flat if size == 1 else pa.FixedSizeListArray.from_arrays(flat, size)
    episodes = np.repeat(np.arange(EPISODES), lengths)
    columns |= {
        "episode_index": episodes,
        "task_index": episodes % len(kind.tasks),
        "frame_index": np.concatenate([np.arange(n) for n in lengths]),
        "index": np.arange(len(episodes)),
        "timestamp": np.concatenate([np.arange(n) / FPS for n in lengths]).astype(np.float32),
    }
    pq.write_table(pa.table(columns), root / "data/chunk-000/file-000.parquet")
    return motions


# --- right: the labels must be those of the truth

POSE = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
SO101 = ["ee.x", "ee.y", "ee.z", "ee.wx", "ee.wy", "ee.wz", "ee.gripper_pos"]
PANDA = ["panda_joint_1", "panda_joint_2", "panda_joint_3", "panda_joint_4"]


def pose(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A pose and a width; actions are steps and a command −1 close, +1 open."""
    return {
        "observation.state": pad(m.path, turns(m), m.width),
        "action": pad(8 * steps(m), 0.0, 0.0, 0.0, 2 * m.command - 1),
    }


def mirrored(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The width is 1 closed … 0 open, and +1 closes."""
    return {
        "observation.state": pad(m.path, turns(m), 1 - m.width),
        "action": pad(8 * steps(m), 0.0, 0.0, 0.0, 1 - 2 * m.command),
    }


def leader(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """An arm with a leader: per cent, the command is the leader's angle, and the width follows it two frames later."""
    squeezed = np.where(m.held, 0.6 * m.width, m.width) * 92 + 3
    return {
        "observation.state": pad(m.path, turns(m), 3 + 92 * late(m.width, 2)),
        "action": pad(late(m.path, 0), turns(m), squeezed),
    }


def degrees_below_zero(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """An OpenArm's gripper: 0 closed, −65 degrees open."""
    return {
        "observation.state": pad(m.path, turns(m), -65 * m.width),
        "action": pad(m.path, turns(m), -65 * np.where(m.held, 0.1, m.width)),
    }


def only_width(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """No command: actions are steps alone."""
    return {"observation.state": pad(m.path, m.width), "action": pad(8 * steps(m), 0.0)}


def only_command(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """No width."""
    return {"observation.state": m.path, "action": pad(8 * steps(m), 1 - 2 * m.command)}


def pulses(m: Motion) -> np.ndarray:
    """(T,): −1 in one frame in which the gripper begins to close, +1 where it opens, else 0."""
    return np.diff(m.command, prepend=m.command[:1])


def trigger(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"observation.state": m.path, "action": pad(8 * steps(m), pulses(m))}


def gamepad(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """0 closes, 1 stays, 2 opens, while a button is pressed for some frames."""
    pressed = np.convolve(pulses(m), np.ones(3), "full")[: len(m)].clip(-1, 1)
    return {"observation.state": pad(m.path, m.width), "action": pad(steps(m), 1 + pressed)}


def spikes(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Some corrupt widths."""
    columns = only_width(m, rng)
    columns["observation.state"][int(rng.integers(20, 50)), 3] = -7.0
    return columns


def velocities_first(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "observation.state": pad(FPS * steps(m), turns(m), m.path, m.width),
        "action": pose(m, rng)["action"],
    }


def deltas_and_forces(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "observation.state": pad(steps(m), rng.normal(0, 3, (len(m), 3)), m.path, m.width),
        "action": pose(m, rng)["action"],
    }


def gripper_speed(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "observation.state": pad(m.path, m.width, FPS * np.diff(m.width, append=m.width[-1])),
        "action": pose(m, rng)["action"],
    }


def split_columns(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """DROID's way: one column for each kind of value, the gripper 0 open … 1 closed."""
    return {
        "observation.state.cartesian_velocity": pad(FPS * steps(m), turns(m)),
        "observation.state.cartesian_position": pad(m.path, turns(m)),
        "observation.state.gripper_position": 1 - m.width,
        "observation.state.joint_position": pad(turns(m), turns(m), 0.3),
        "action": pad(steps(m), turns(m), 1 - m.command),
    }


def openpi(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """openpi's columns for LIBERO: eight values without names, two mirrored fingers."""
    finger = 0.04 * m.width
    return {
        "state": pad(m.path, turns(m), finger, -finger),
        "actions": pad(20 * steps(m) + rng.normal(0, 0.01, (len(m), 3)), 0.0, 0.0, 0.0, 1 - 2 * m.command),
    }


def quaternion(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    from scipy.spatial.transform import Rotation

    found = Rotation.from_euler("xyz", turns(m) * 5 + [np.pi, 0, 0]).as_quat()
    return {"observation.state": pad(m.path, found, m.width), "action": pose(m, rng)["action"]}


def either_arm(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Two arms, of which one works in each episode; the other one moves a little, and its gripper rests closed."""
    rest = np.array([0.3, 0.4, 0.2]) + np.cumsum(rng.normal(0, 0.0005, (len(m), 3)), axis=0)
    idle = pad(rest, turns(m), 0.03 + rng.normal(0, 0.002, len(m)))
    works = pad(m.path, turns(m), m.width)
    parts = [works, idle] if rng.random() < 0.5 else [idle, works]
    return {"observation.state": pad(*parts), "action": pad(*parts) + 0.0}


ARMS = [f"{arm}_{name}" for arm in ("left", "right") for name in ("x", "y", "z", "rx", "ry", "rz", "gripper")]
STATE = "observation.state"

RIGHT: dict[str, Kind] = {
    "plain": Kind(pose, {STATE: POSE}),
    "mirrored": Kind(mirrored, {STATE: POSE, "action": [*POSE]}),
    "begins_closed": Kind(pose, {STATE: POSE}, options={"begins_closed": True}),
    "begins_closed_mirrored": Kind(
        mirrored, {STATE: POSE}, options={"begins_closed": True, "opens_near": True}
    ),
    "begins_closed_only_command": Kind(
        only_command,
        {STATE: ["x", "y", "z"], "action": ["dx", "dy", "dz", "gripper"]},
        options={"begins_closed": True},
    ),
    "begins_closed_only_width": Kind(
        only_width, {STATE: ["x", "y", "z", "gripper"]}, options={"begins_closed": True, "opens_near": True}
    ),
    "so101_leader": Kind(
        leader, {STATE: SO101, "action": SO101}, robot="so101_follower", options={"begins_closed": True}
    ),
    "openarm": Kind(
        degrees_below_zero,
        {STATE: SO101, "action": SO101},
        robot="openarm_follower",
        options={"begins_closed": True},
    ),
    "wide_object": Kind(pose, {STATE: POSE}, options={"resting": 0.6}),
    "wide_object_leader": Kind(
        leader, {STATE: SO101, "action": SO101}, robot="koch_follower", options={"resting": 0.58}
    ),
    "wide_object_only_width": Kind(
        only_width, {STATE: ["tcp_x", "tcp_y", "tcp_z", "jaw"]}, options={"resting": 0.52}
    ),
    "released_to_60": Kind(
        only_width, {STATE: ["x", "y", "z", "gripper"]}, options={"released_to": 0.6, "resting": 0.3}
    ),
    "closes_in_one_frame": Kind(
        only_width, {STATE: ["x", "y", "z", "gripper"]}, options={"closing": 1, "resting": 0.45}
    ),
    "misses_first": Kind(pose, {STATE: POSE}, options={"misses": True}),
    "misses_first_only_width": Kind(
        only_width, {STATE: ["x", "y", "z", "gripper"]}, options={"misses": True, "resting": 0.45}
    ),
    "corrupt_widths": Kind(spikes, {STATE: ["x", "y", "z", "gripper"]}),
    "noisy_width": Kind(only_width, {STATE: ["x", "y", "z", "gripper"]}, options={"noise": 0.01}),
    "names_as_dict": Kind(pose, {STATE: {name: i for i, name in enumerate(POSE)}}),
    "names_nested": Kind(pose, {STATE: {"motors": [POSE[:3], POSE[3:]]}}),
    "gripper_is_a_pose": Kind(
        pose, {STATE: [f"gripper_{n}" for n in ("x", "y", "z", "roll", "pitch", "yaw", "open")]}
    ),
    "gripper_closed_by_name": Kind(mirrored, {STATE: [*POSE[:6], "gripper_closed"]}),
    "gripper_velocity": Kind(
        gripper_speed, {STATE: ["eef_x", "eef_y", "eef_z", "gripper_pos", "gripper_vel"]}
    ),
    "trigger": Kind(
        trigger, {STATE: ["x", "y", "z"], "action": ["delta_x", "delta_y", "delta_z", "gripper"]}
    ),
    "gamepad": Kind(
        gamepad,
        {
            STATE: ["ee_x", "ee_y", "ee_z", "gripper"],
            "action": {"delta_x": 0, "delta_y": 1, "delta_z": 2, "gripper": 3},
        },
    ),
    "velocities_first": Kind(
        velocities_first,
        {
            STATE: [
                "vel_x",
                "vel_y",
                "vel_z",
                "rx",
                "ry",
                "rz",
                "tcp_pos_x",
                "tcp_pos_y",
                "tcp_pos_z",
                "gripper",
            ]
        },
    ),
    "deltas_and_forces": Kind(
        deltas_and_forces,
        {
            STATE: [
                "delta_x",
                "delta_y",
                "delta_z",
                "force_x",
                "force_y",
                "force_z",
                "x",
                "y",
                "z",
                "gripper_width",
            ]
        },
    ),
    "split_columns": Kind(
        split_columns,
        {
            "observation.state.cartesian_velocity": POSE[:6],
            "observation.state.cartesian_position": POSE[:6],
            "observation.state.gripper_position": ["gripper"],
        },
    ),
    "openpi": Kind(openpi, {"state": ["state"], "actions": ["actions"]}, robot="panda"),
    "quaternion": Kind(quaternion, {}, labels={"width_values": "observation.state:7"}),
    "either_arm": Kind(either_arm, {STATE: ARMS, "action": [f"{name}_target" for name in ARMS]}),
    "only_lifted": Kind(
        only_width,
        {STATE: ["x", "y", "z", "gripper"]},
        options={"ends_holding": True, "begins_closed": True},
        tasks=("pick up the red cube",),
    ),
    "positions_by_name": Kind(
        pose,
        {STATE: ["p0", "p1", "p2", "r0", "r1", "r2", "g"]},
        labels={
            "position": "observation.state:p0,p1,p2",
            "width": "observation.state:g",
            "command": "action:6",
        },
    ),
}


# --- refused: the message must say what to do


def joints(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Seven angles in radians and a gripper."""
    x, y, z = m.path.T
    angles = pad(np.arctan2(y, x), 1.1 - 2 * z, 2.2 * x - 1, 0.3, z - 1.4, 2 * y, 0.2)
    return {"observation.state": pad(angles, m.width), "action": pose(m, rng)["action"]}


def seven(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"observation.state": pad(joints(m, rng)[STATE][:, :6], m.width), "action": pose(m, rng)["action"]}


def fourteen(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    state = seven(m, rng)[STATE]
    return {"observation.state": pad(state, state + 0.1), "action": pad(state, state)}


def velocities_only(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"observation.state": pad(FPS * steps(m), m.width), "action": pose(m, rng)["action"]}


def millimetres(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"observation.state": pad(1000 * m.path, m.width), "action": pose(m, rng)["action"]}


def normalised(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    scaled = (m.path - [0.37, 0.0, 0.19]) / [0.13, 0.25, 0.16]
    return {"observation.state": pad(scaled, m.width), "action": pose(m, rng)["action"]}


def toggled(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """1 in the frame in which a button changes the gripper's state."""
    return {"observation.state": m.path, "action": pad(steps(m), np.abs(pulses(m)))}


def random_gripper(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The gripper opens and closes at any time."""
    state = np.repeat(rng.integers(0, 2, len(m) // 9 + 1), 9)[: len(m)].astype(float)
    return {"observation.state": pad(m.path, state), "action": pad(steps(m), 0.0)}


def two_points(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "observation.state": pad(m.path, m.path + np.array([0, 0, 0.15]), m.width),
        "action": pose(m, rng)["action"],
    }


def two_grippers(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    other = 0.5 + 0.5 * np.sin(np.arange(len(m)) / 5)
    return {"observation.state": pad(m.path, m.width, other), "action": pad(steps(m), 0.0)}


def positions_only(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"observation.state": pad(m.path), "action": pad(steps(m))}


def inverted_so101(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    columns = leader(m, rng)
    return {name: pad(values[:, :6], 100 - values[:, 6]) for name, values in columns.items()}


def not_numbers(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Every episode has a frame of NaN."""
    columns = pose(m, rng)
    columns[STATE][5] = np.nan
    return columns


REFUSED: dict[str, tuple[Kind, Sequence[str]]] = {
    "not_numbers": (
        Kind(not_numbers, {STATE: POSE}),
        ("every episode has values that are no numbers (NaN)", "(x, y, z)", "--position"),
    ),
    "motors": (
        Kind(joints, {STATE: [f"motor_{i}" for i in range(8)]}),
        ("a joint, by its name", "--urdf", "--position"),
    ),
    "joints": (
        Kind(joints, {STATE: [f"joint_{i}" for i in range(7)] + ["gripper"]}),
        ("a joint, by its name, in radians", "--urdf FILE --tip LINK"),
    ),
    "seven_without_names": (Kind(seven, {}), ("(no name)", "--urdf", "--position observation.state:0,1,2")),
    "eight_without_names": (Kind(joints, {}), ("(no name)", "--urdf")),
    "fourteen_without_names": (Kind(fourteen, {}), ("(no name)", "--position")),
    "velocities_only": (Kind(velocities_only, {STATE: ["vx", "vel_y", "vel_z", "gripper"]}), ("--position",)),
    "object_positions_only": (
        Kind(only_width, {STATE: ["cube_x", "cube_y", "cube_z", "gripper"]}),
        ("Perhaps it is --position observation.state:0,1,2",),
    ),
    "millimetres": (
        Kind(millimetres, {STATE: ["x", "y", "z", "gripper"]}),
        ("cannot be metres", "--metres-per-unit"),
    ),
    "normalised": (Kind(normalised, {STATE: ["x", "y", "z", "gripper"]}), ("normalised", "--position")),
    "toggled": (
        Kind(toggled, {STATE: ["x", "y", "z"], "action": ["dx", "dy", "dz", "gripper"]}),
        ("short pulses of one kind", "--width"),
    ),
    "random_gripper": (
        Kind(random_gripper, {STATE: ["x", "y", "z", "gripper"]}),
        ("--open-is high", "--open-is low"),
    ),
    "two_points": (
        Kind(two_points, {STATE: ["ee_x", "ee_y", "ee_z", "flange_x", "flange_y", "flange_z", "gripper"]}),
        ("--position observation.state:0,1,2", "--position observation.state:3,4,5"),
    ),
    "two_grippers": (
        Kind(two_grippers, {STATE: ["x", "y", "z", "gripper_left", "gripper_right"]}),
        ("--width observation.state:gripper_left", "--width observation.state:gripper_right"),
    ),
    "no_gripper": (Kind(positions_only, {STATE: ["x", "y", "z"]}), ("no gripper is found", "--width")),
    "inverted_so101": (
        Kind(
            inverted_so101,
            {STATE: SO101, "action": SO101},
            robot="so101_follower",
            options={"begins_closed": True},
        ),
        ("contradictory", "--open-is high: robot type so101_follower", "--open-is low: "),
    ),
}
