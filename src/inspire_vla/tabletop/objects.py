"""The objects on the table: shapes, colours, sizes, and their MJCF.

A new shape is one entry of SHAPES and one function that writes its geoms. The body frame of a graspable object is in
its middle. The body frame of a receptacle (plate, bowl, basket, tray, box, cabinet) is where it stands on the table.
"""

from dataclasses import dataclass
from math import cos, pi, sin

from inspire_vla.errors import InspireError, did_you_mean

RGB = tuple[float, float, float]
"""Red, green and blue, from 0 to 1."""
COLOURS: dict[str, RGB] = {
    "red": (0.84, 0.13, 0.14), "blue": (0.13, 0.33, 0.86), "green": (0.13, 0.60, 0.24),
    "yellow": (0.98, 0.82, 0.10), "white": (0.97, 0.97, 0.97), "black": (0.07, 0.07, 0.08),
    "purple": (0.50, 0.20, 0.70), "orange": (0.97, 0.49, 0.07), "pink": (0.98, 0.52, 0.72),
    "brown": (0.47, 0.28, 0.14), "gray": (0.50, 0.52, 0.55), "cyan": (0.16, 0.78, 0.84),
}  # fmt: skip


@dataclass(frozen=True)
class Receptacle:
    """Where objects can be put: a disc (radius half_x_m) or a rectangle (half sides), relative to the body frame."""

    half_x_m: float
    half_y_m: float
    floor_z_m: float
    """Height of the surface on which objects come to rest."""
    rim_z_m: float
    """Height above which a gripper passes freely. Equals the floor for flat receptacles."""
    round: bool = False


@dataclass(frozen=True)
class Shape:
    """What all objects of one kind have in common."""

    graspable: bool
    fixed: bool
    radius_m: float
    """Radius of the footprint. Footprints of two objects must not overlap."""
    height_m: float
    grasp_z_m: float = 0.0
    """Height at which the fingers close, from the body frame."""
    receptacle: Receptacle | None = None


SHAPES: dict[str, Shape] = {
    "cube": Shape(True, False, 0.034, 0.048),
    "cylinder": Shape(True, False, 0.024, 0.064, grasp_z_m=0.006),
    "ball": Shape(True, False, 0.025, 0.050),
    "mug": Shape(True, False, 0.036, 0.072, grasp_z_m=0.010),
    "plate": Shape(False, False, 0.078, 0.012, receptacle=Receptacle(0.055, 0.055, 0.008, 0.012, True)),
    "bowl": Shape(False, False, 0.075, 0.045, receptacle=Receptacle(0.050, 0.050, 0.006, 0.045, True)),
    "basket": Shape(False, True, 0.110, 0.070, receptacle=Receptacle(0.078, 0.078, 0.006, 0.070)),
    "tray": Shape(False, True, 0.125, 0.022, receptacle=Receptacle(0.075, 0.100, 0.006, 0.022)),
    "box": Shape(False, True, 0.075, 0.210, receptacle=Receptacle(0.050, 0.050, 0.210, 0.210)),
    "cabinet": Shape(False, True, 0.140, 0.280, receptacle=Receptacle(0.065, 0.085, 0.280, 0.280)),
}

DRAWER_TRAVEL_M = 0.12
DRAWER = Receptacle(0.045, 0.070, 0.198, 0.260)
"""Inside of a cabinet's top drawer, from the middle of the part that sticks out of the open drawer."""
HANDLE_OUT_M = 0.050
_CABINET_HALF = (0.075, 0.100)


@dataclass(frozen=True)
class ObjectSpec:
    """One object of a scene. `name` is unique in the scene and is the prefix of the names of its bodies and sites.

    Raises InspireError for an unknown kind or colour.
    """

    name: str
    colour: str
    kind: str

    def __post_init__(self) -> None:
        if self.kind not in SHAPES:
            raise InspireError(f"No shape {self.kind!r}.{did_you_mean(self.kind, SHAPES)}")
        if self.colour not in COLOURS:
            raise InspireError(f"No colour {self.colour!r}.{did_you_mean(self.colour, COLOURS)}")

    @property
    def shape(self) -> Shape:
        return SHAPES[self.kind]

    @property
    def rest_z_m(self) -> float:
        """Height of the body frame when the object stands on the table."""
        return self.shape.height_m / 2 if self.shape.graspable else 0.0


def parse_object(name: str) -> ObjectSpec:
    """Parse a name such as "red_cube" or "red_cube_2". Raises InspireError for any other form."""
    words = name.split("_")
    if len(words) not in (2, 3):
        raise InspireError(f"An object's name is colour_shape or colour_shape_number, not {name!r}.")
    return ObjectSpec(name, words[0], words[1])


def body_xml(spec: ObjectSpec) -> str:
    """Return the object's body, for <worldbody>. Fixed objects are mocap bodies, which only a reset moves."""
    geoms = _GEOMS[spec.kind](spec.name, COLOURS[spec.colour])
    if spec.shape.fixed:
        return f'<body name="{spec.name}" mocap="true">{geoms}</body>'
    if spec.shape.graspable:
        geoms += f'<site name="{spec.name}"/>'
    return f'<body name="{spec.name}"><freejoint name="{spec.name}"/>{geoms}</body>'


def contact_xml(spec: ObjectSpec) -> str:
    """Return the object's contact exclusions: a cabinet does not collide with its own drawer."""
    if spec.kind != "cabinet":
        return ""
    return f'<contact><exclude body1="{spec.name}" body2="{spec.name}_drawer"/></contact>'


DEFAULTS = """
<default class="solid"><geom condim="4" friction="1.0 0.02 0.001" group="0"/></default>
<default class="rolling"><geom condim="6" friction="1.0 0.02 0.004" group="0"/></default>
<default class="hidden"><geom condim="4" friction="1.0 0.02 0.001" group="3"/></default>"""


def _rgba(rgb: RGB, shade: float = 1.0) -> str:
    return " ".join(f"{min(1.0, c * shade + (0.05 if shade > 1 else 0)):.3f}" for c in rgb) + " 1"


def _geom(
    kind: str, size: str, colour: str, *, pos: str = "0 0 0", klass: str = "solid", extra: str = ""
) -> str:
    return f'<geom type="{kind}" size="{size}" pos="{pos}" rgba="{colour}" class="{klass}" {extra}/>'


def _cube(name: str, rgb: RGB) -> str:
    return _geom("box", "0.024 0.024 0.024", _rgba(rgb), extra='mass="0.06"')


def _cylinder(name: str, rgb: RGB) -> str:
    return _geom("cylinder", "0.024 0.032", _rgba(rgb), extra='mass="0.07"')


def _ball(name: str, rgb: RGB) -> str:
    return _geom("sphere", "0.025", _rgba(rgb), klass="rolling", extra='mass="0.05"')


def _mug(name: str, rgb: RGB) -> str:
    wall, inside = _rgba(rgb), _rgba(rgb, 0.45)
    body = _geom("cylinder", "0.027 0.036", wall, extra='mass="0.07"')
    coffee = _geom("cylinder", "0.021 0.001", inside, pos="0 0 0.0362", klass="visual")
    handle = "".join(
        _geom("box", size, wall, pos=pos, klass="visual")
        for size, pos in (
            ("0.010 0.006 0.005", "0.034 0 0.019"),
            ("0.010 0.006 0.005", "0.034 0 -0.015"),
            ("0.005 0.006 0.022", "0.043 0 0.002"),
        )
    )
    return body + coffee + handle


def _ring(
    radius: float,
    height: float,
    thickness: float,
    z: float,
    n: int,
    colour: str,
    klass: str,
    lean: float = 0.0,
) -> str:
    half_side = radius * sin(pi / n) / cos(pi / n) + thickness * 0.5
    return "".join(
        _geom(
            "box",
            f"{thickness / 2} {half_side:.4f} {height / 2}",
            colour,
            pos=f"{radius * cos(a):.5f} {radius * sin(a):.5f} {z}",
            klass=klass,
            extra=f'euler="{a:.5f} {lean} 0" mass="0.005"',
        )
        for a in (2 * pi * i / n for i in range(n))
    )


def _plate(name: str, rgb: RGB) -> str:
    return (
        _geom("box", "0.055 0.055 0.004", "1 1 1 1", pos="0 0 0.004", klass="hidden", extra='mass="0.3"')
        + _geom("cylinder", "0.076 0.0035", _rgba(rgb), pos="0 0 0.0075", klass="visual")
        + _geom("cylinder", "0.053 0.0006", _rgba(rgb, 0.80), pos="0 0 0.0110", klass="visual")
        + f'<site name="{name}" pos="0 0 0.010"/>'
    )


def _bowl(name: str, rgb: RGB) -> str:
    return (
        _geom("cylinder", "0.052 0.003", _rgba(rgb, 0.7), pos="0 0 0.003", extra='mass="0.25"')
        + _ring(0.063, 0.042, 0.006, 0.024, 12, _rgba(rgb), "solid", lean=0.25)
        + f'<site name="{name}" pos="0 0 0.025"/>'
    )


def _walls(hx: float, hy: float, height: float, t: float, colour: str, z0: float = 0.0) -> str:
    z = z0 + height / 2
    return "".join(
        _geom("box", f"{sx:.4f} {sy:.4f} {height / 2:.4f}", colour, pos=f"{x:.4f} {y:.4f} {z:.4f}")
        for sx, sy, x, y in (
            (t, hy + 2 * t, hx + t, 0), (t, hy + 2 * t, -hx - t, 0), (hx, t, 0, hy + t), (hx, t, 0, -hy - t),
        )
    )  # fmt: skip


def _basket(name: str, rgb: RGB) -> str:
    floor = _geom("box", "0.078 0.078 0.003", _rgba(rgb, 0.6), pos="0 0 0.003")
    band = _walls(0.0785, 0.0785, 0.010, 0.0045, _rgba(rgb, 1.25), 0.060).replace(
        'class="solid"', 'class="visual"'
    )
    return (
        floor
        + _walls(0.078, 0.078, 0.070, 0.004, _rgba(rgb))
        + band
        + f'<site name="{name}" pos="0 0 0.035"/>'
    )


def _tray(name: str, rgb: RGB) -> str:
    floor = _geom("box", "0.075 0.100 0.003", _rgba(rgb, 0.8), pos="0 0 0.003")
    return floor + _walls(0.075, 0.100, 0.022, 0.004, _rgba(rgb)) + f'<site name="{name}" pos="0 0 0.012"/>'


def _box(name: str, rgb: RGB) -> str:
    return (
        # One solid geom carries what lies on the box: cylinders fell through a thin lid above another solid geom.
        _geom("box", "0.055 0.055 0.1049", _rgba(rgb), pos="0 0 0.1049")
        + _geom("box", "0.060 0.060 0.004", _rgba(rgb, 1.2), pos="0 0 0.206", klass="visual")
        + f'<site name="{name}" pos="0 0 0.210"/>'
    )


def _cabinet(name: str, rgb: RGB) -> str:
    hx, hy = _CABINET_HALF
    wood, light, metal = _rgba(rgb), _rgba(rgb, 1.25), "0.85 0.86 0.88 1"
    body = (
        _geom("box", f"{hx} {hy} 0.091", wood, pos="0 0 0.091")
        + _geom("box", f"{hx} 0.010 0.046", wood, pos=f"0 {hy - 0.010} 0.228")
        + _geom("box", f"{hx} 0.010 0.046", wood, pos=f"0 {0.010 - hy} 0.228")
        + _geom("box", f"0.006 {hy} 0.046", wood, pos=f"{0.006 - hx} 0 0.228")
        + _geom("box", f"{hx + 0.004} {hy + 0.004} 0.004", light, pos="0 0 0.276")
        + _geom("box", f"0.003 {hy - 0.012} 0.075", light, pos=f"{hx + 0.001} 0 0.093", klass="visual")
        + _geom("box", "0.012 0.020 0.007", metal, pos=f"{hx + 0.012} 0 0.105", klass="visual")
        + f'<site name="{name}" pos="0 0 0.280"/>'
    )
    x = hx - 0.005  # front of the closed drawer
    drawer = f"""<body name="{name}_drawer" pos="0 0 0">
      <joint name="{name}_drawer" type="slide" axis="1 0 0" range="0 {DRAWER_TRAVEL_M}" damping="6" frictionloss="0.6"/>
      <inertial pos="0 0 0.22" mass="0.4" diaginertia="0.002 0.002 0.002"/>
      {_geom("box", "0.006 0.086 0.038", light, pos=f"{x + 0.006} 0 0.228")}
      {_geom("box", "0.004 0.078 0.030", light, pos=f"{x - 0.122} 0 0.222")}
      {_geom("box", "0.061 0.004 0.030", light, pos=f"{x - 0.061} 0.075 0.222")}
      {_geom("box", "0.061 0.004 0.030", light, pos=f"{x - 0.061} -0.075 0.222")}
      {_geom("box", "0.061 0.078 0.003", _rgba(rgb, 0.7), pos=f"{x - 0.061} 0 0.195")}
      {_geom("box", "0.018 0.006 0.007", metal, pos=f"{x + 0.026} 0 0.228", klass="visual")}
      {_geom("box", "0.007 0.013 0.018", metal, pos=f"{x + HANDLE_OUT_M} 0 0.230")}
      <site name="{name}_handle" pos="{x + HANDLE_OUT_M} 0 0.230"/>
      <site name="{name}_drawer" pos="{x - 0.056} 0 0.198"/>
    </body>"""
    return body + drawer


_GEOMS = {
    "cube": _cube, "cylinder": _cylinder, "ball": _ball, "mug": _mug, "plate": _plate, "bowl": _bowl,
    "basket": _basket, "tray": _tray, "box": _box, "cabinet": _cabinet,
}  # fmt: skip
