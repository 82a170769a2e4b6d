"""Put a thing somewhere, without physics."""

import numpy as np

from inspire_vla.tabletop.objects import Thing


def put_thing(model, data, item: Thing, position_m: tuple[float, float, float], yaw_rad: float) -> None:
    """Set a thing's body frame in the base frame; fixed things are mocap bodies, the others have a free joint."""
    pose = [*position_m, np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2)]
    if item.shape.fixed:
        slot = model.body(item.name).mocapid[0]
        data.mocap_pos[slot], data.mocap_quat[slot] = pose[:3], pose[3:]
    else:
        at = model.joint(item.name).qposadr[0]
        data.qpos[at : at + 7] = pose
