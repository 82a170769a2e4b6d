"""`inspire label`."""

from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from inspire_vla.cli.options import Names, NotNegative, Positive, PositiveOrNone, refuse_unused
from inspire_vla.errors import InspireError, counted

if TYPE_CHECKING:
    from inspire_vla.labels.calvin import CalvinReport
    from inspire_vla.labels.columns import ModeRule
    from inspire_vla.labels.end_effector import EndEffectorColumns
    from inspire_vla.labels.labeller import Labeller
    from inspire_vla.labels.report import LabelReport
    from inspire_vla.libero.hdf5_import import ImportReport


@dataclass(kw_only=True)
class EndEffector:
    """Labellers demonstration and table: the end effector, where column names do not tell; for demonstration the
    gripper too."""

    position: Annotated[str | None, arg(metavar="COLUMN:0,1,2")] = None
    """Position of the end effector: indices, or names as in observation.state:x,y,z."""
    width: Annotated[str | None, arg(metavar="COLUMN:6,7")] = None
    """Measured opening of the gripper, or its finger joints."""
    gripper_command: Annotated[str | None, arg(name="command", metavar="COLUMN:6")] = None
    """Command to the gripper."""
    arm: Literal["left", "right"] | None = None
    """With two arms: label with this one; by default with the arm that grasps."""
    open_is: Literal["high", "low"] | None = None
    """Which values of the gripper's width mean open, of its command without a width; by default found from the data."""
    metres_per_unit: float = 1.0
    """Unit of positions; 0.001 for millimetres."""
    fingertips_below_m: float = 0.0
    """How far the fingertips are below the recorded point, in metres."""
    urdf: Annotated[str | None, arg(metavar="FILE")] = None
    """Robot description; the end effector's position is then computed from joints: those of --position, by default
    those that are named as in the URDF."""
    tip: Annotated[str | None, arg(metavar="LINK")] = None
    """With --urdf: the link between the fingers."""
    joint_unit: Literal["radians", "degrees", "normalized", "old-degrees"] | None = None
    """With --urdf: unit of the joints, by default found from the data. normalized: LeRobot's −100 … 100. old-degrees:
    an SO-100 or SO-101, recorded with LeRobot until June 2025."""
    calibration: Annotated[str | None, arg(metavar="FILE")] = None
    """With --urdf, for joints in −100 … 100: LeRobot's calibration file of the arm, which gives the joints' ranges. By
    default they are found from the data."""


@dataclass(kw_only=True)
class Import:
    """Sources that are imported: LIBERO's HDF5 demonstrations, and a split of CALVIN."""

    image_size: NotNegative = 128
    """LIBERO: side of the images in pixels, 0 for no images. CALVIN's keep their sizes; 0 leaves them out."""
    keep_noops: bool = False
    """LIBERO: keep actions that do nothing."""
    replay: bool = False
    """LIBERO: execute the actions again and leave failures out."""
    mapping: Annotated[str | None, arg(metavar="JSON")] = None
    """LIBERO: file {instruction: {mention: name}} that overrules the grounding of mentions."""
    processes: Positive = 1
    """Number of processes."""
    render: Literal["full", "fast"] = "full"
    """LIBERO: how images are drawn, as in `inspire collect`."""
    scene: Annotated[str | None, arg(metavar="A..D")] = None
    """CALVIN: which table; by default what the split says."""


@dataclass(kw_only=True)
class Arguments:
    """Label a LeRobot dataset with the directions of objects, or import LIBERO's or CALVIN's demonstrations."""

    source: Positional[Annotated[Path, arg(metavar="DATASET")]]
    """A LeRobot dataset (v3): a folder, or user/name in LeRobot's cache or on the hub. LIBERO's HDF5 demonstrations (a
    file or folder) and a split of CALVIN are imported with labels; --out is then a new dataset. The importer of CALVIN
    was never run on real CALVIN data."""
    labeller: str = "demonstration"
    """demonstration: from end-effector path and gripper; truth: from privileged columns; table:FILE: object positions
    per frame (parquet or CSV); package.module:function: custom."""
    out: Path | None = None
    """Folder of the labelled copy, created. Its videos and images are hard links to those of the dataset."""
    dry_run: bool = False
    """Only print what is found: columns, the gripper's sign, grasps, objects and their roles. Nothing is
    written, also with --out or --in-place."""
    in_place: bool = False
    """Label the dataset itself; the original is kept as NAME.before_labels."""
    modes: Names = ("direction",)
    """Reasoning modes: direction, direction_3d, distance, distance_fine, position."""
    frame: str = "robot"
    """robot, official_libero, or the words at +x,+y,+z, as front,left,up."""
    close_m: Annotated[float | None, arg(metavar="METRES")] = None
    """Answer `close` below this distance."""
    no_grasped: bool = False
    """Never answer `grasped`."""
    mentions: Annotated[Path | None, arg(metavar="JSON")] = None
    """File of mention overrides, {instruction: [{mention, role}, …]}, as `inspire mentions --write` writes it."""
    max_objects: PositiveOrNone = None
    """Width of the columns; by default what the tasks need."""
    min_confidence: float = 0.0
    """Leave out labels with a lower confidence, from 0 to 1."""
    review: Annotated[Path | None, arg(metavar="HTML")] = None
    """Write a page of images and labels to check."""
    language_column: bool = False
    """Also write rows of LeRobot's language column, for its recipes."""
    end_effector: OmitArgPrefixes[EndEffector] = field(default_factory=EndEffector)
    imported: OmitArgPrefixes[Import] = field(default_factory=Import)


LEROBOT, LIBERO, CALVIN = "A LeRobot dataset", "The import of LIBERO's HDF5", "The import of CALVIN"
USED_BY = {
    LEROBOT: {
        "labeller", "dry_run", "in_place", "mentions", "max_objects", "min_confidence", "language_column",
        *(option.name for option in fields(EndEffector)),
    },
    LIBERO: {"image_size", "keep_noops", "replay", "mapping", "processes", "render"},
    CALVIN: {"image_size", "scene", "processes"},
}  # fmt: skip
"""Kind of source → the options that it uses besides those that all use."""


def run(options: Arguments) -> None:
    from inspire_vla.labels.columns import ModeRule
    from inspire_vla.labels.find_dataset import find_dataset, lerobot_home
    from inspire_vla.spatial import get_frame

    check_planned(options)
    options.source = source = find_dataset(options.source)
    if options.in_place and source.resolve().is_relative_to((lerobot_home() / "hub").resolve()):
        raise InspireError(f"{source} is the cache of the hub, where nothing is changed; give --out FOLDER.")
    kind = _kind(source)
    others = set().union(*USED_BY.values()) - USED_BY[kind]
    if kind != LEROBOT:
        then = "leave that out. It can be given when the new dataset is labelled, by a call of its own."
        refuse_unused(options, USED_BY[LEROBOT], kind, then)
    refuse_unused(options, others, kind)
    rule = ModeRule(options.close_m, not options.no_grasped)
    print(f"frame {get_frame(options.frame)}")
    {LEROBOT: _label, LIBERO: _import_libero, CALVIN: _import_calvin}[kind](options, rule)


def check_planned(options: Arguments) -> None:
    """Check what does not depend on the dataset, before it is read. Raises InspireError."""
    from inspire_vla.files import check_file
    from inspire_vla.labels.columns import ModeRule, answer_column
    from inspire_vla.labels.labelling import check_confidence
    from inspire_vla.spatial import get_frame

    if options.out is not None and options.in_place:
        raise InspireError("--out and --in-place exclude each other.")
    if not (options.out is not None or options.in_place or options.dry_run):
        raise InspireError("Give one of --out FOLDER, --in-place and --dry-run.")
    if options.dry_run and options.review:
        raise InspireError("--review shows labels, and --dry-run writes none; leave out one of them.")
    for mode in options.modes:
        answer_column(mode)
    ModeRule(options.close_m, not options.no_grasped)
    get_frame(options.frame)
    check_confidence(options.min_confidence)
    if options.review:
        check_file(options.review, ".html")


def _kind(source: Path) -> str:
    from inspire_vla.files import files_below

    if (source / "lang_annotations").is_dir():  # first: a split of CALVIN has millions of files
        return CALVIN
    if source.suffix == ".hdf5" or (
        source.is_dir()
        and not (source / "meta/info.json").is_file()
        and any(path.suffix == ".hdf5" for path in files_below(source))
    ):
        return LIBERO
    return LEROBOT


def _import_libero(options: Arguments, rule: "ModeRule") -> None:
    from inspire_vla.libero.grounding import read_mapping
    from inspire_vla.libero.hdf5_import import import_demonstrations

    importing = options.imported
    if not importing.image_size:
        refuse_unused(options, ["render"], "An import without images")
    assert options.out is not None  # neither --in-place nor --dry-run
    report = import_demonstrations(
        [options.source],
        options.out,
        image_size=importing.image_size or None,
        drop_noops=not importing.keep_noops,
        replay=importing.replay,
        modes=options.modes,
        frame=options.frame,
        rule=rule,
        mapping=read_mapping(importing.mapping) if importing.mapping else None,
        processes=importing.processes,
        render=importing.render,
        progress=True,
        announce=print,
    )
    _finish(options, report)


def _import_calvin(options: Arguments, rule: "ModeRule") -> None:
    from inspire_vla.labels.calvin import import_calvin

    if options.imported.image_size:
        refuse_unused(options, ["image_size"], CALVIN, "its images keep their sizes. 0 leaves them out.")
    assert options.out is not None  # neither --in-place nor --dry-run
    report = import_calvin(
        options.source,
        options.out,
        scene=options.imported.scene,
        images=options.imported.image_size > 0,
        modes=options.modes,
        frame=options.frame,
        rule=rule,
        processes=options.imported.processes,
        progress=True,
        announce=print,
    )
    _finish(options, report)


def _label(options: Arguments, rule: "ModeRule") -> None:
    from inspire_vla.instruction import read_overrides
    from inspire_vla.labels.labelling import check_confidence
    from inspire_vla.labels.lerobot_files import LeRobotFiles
    from inspire_vla.labels.plan import plan_labels
    from inspire_vla.labels.storage import label_dataset
    from inspire_vla.spatial import get_frame

    mentions = read_overrides(options.mentions) if options.mentions else {}
    labeller = chosen_labeller(options)
    check_confidence(options.min_confidence, labeller)
    if options.dry_run:
        plan = plan_labels(LeRobotFiles.open(options.source), labeller, mentions)
        plan.check(options.max_objects, language=options.language_column)
        print(plan)
        return
    label_dataset(
        options.source,
        labeller,
        out=options.out,
        in_place=options.in_place,
        modes=options.modes,
        frame=get_frame(options.frame),
        rule=rule,
        mentions=mentions,
        max_objects=options.max_objects,
        min_confidence=options.min_confidence,
        language=options.language_column,
        progress=True,
        announce=print,
        finish=partial(_finish, options),
    )


def _finish(options: Arguments, report: "LabelReport | ImportReport | CalvinReport") -> None:
    print(report)
    if options.review:
        from inspire_vla.reports.label_review import write_review

        print(f"To check: {write_review(report.root, options.review, progress=True)}")


def how_to_resume(options: Arguments) -> str:
    """What a stopped call leaves, and what the same call does."""
    from inspire_vla.labels.kept_tracks import kept_episodes
    from inspire_vla.labels.labelled_copy import is_labelled

    if options.dry_run:
        return ""
    target = options.source if options.in_place else options.out
    assert target is not None
    if is_labelled(target):
        return f"{target} is labelled. The same command writes what is missing beside it."
    kept, again = "", "keeps what is finished"
    if _kind(options.source) == LEROBOT:
        again = "computes the labels again and keeps the files that are written"
        if episodes := kept_episodes(target):
            kept = f" The labels of {counted(episodes, 'episode')} are kept."
            again = "goes on with the others"
    return f"{options.source} is unchanged.{kept} The same command {again}."


def chosen_labeller(options: Arguments) -> "Labeller":
    """Return the labeller that the options describe. Raises InspireError for an option that it would not use."""
    from inspire_vla.labels.column_values import ColumnValues
    from inspire_vla.labels.demonstration_labeller import DemonstrationLabeller
    from inspire_vla.labels.registry import get_labeller
    from inspire_vla.labels.table_labeller import TableLabeller

    labeller = get_labeller(options.labeller)
    # a custom labeller may be an instance of these classes, configured
    kind, given = options.labeller.partition(":")[0], options.end_effector
    unit: dict[str, Any] = {name: getattr(given, name) for name in ("metres_per_unit", "fingertips_below_m")}
    if kind == "demonstration" and isinstance(labeller, DemonstrationLabeller):
        open_is_high = None if given.open_is is None else given.open_is == "high"
        columns = _columns(options)
        if columns is not None:
            return replace(labeller, end_effector=columns, open_is_high=open_is_high, **unit)
        texts = {"width_values": given.width, "command_values": given.gripper_command}
        gripper: dict[str, Any] = {name: ColumnValues.parse(text) for name, text in texts.items() if text}
        return replace(labeller, open_is_high=open_is_high, arm=given.arm, **unit, **gripper)
    if kind == "table" and isinstance(labeller, TableLabeller):
        refuse_unused(given, ["width", "gripper_command", "open_is"], f"labeller {options.labeller}")
        return replace(labeller, end_effector=_columns(options), arm=given.arm, **unit)
    refuse_unused(given, list(vars(given)), f"labeller {options.labeller}")
    return labeller


def _columns(options: Arguments) -> "EndEffectorColumns | None":
    """The columns that --position and the options about it name; None without --position and --urdf."""
    from inspire_vla.labels.end_effector import EndEffectorColumns
    from inspire_vla.labels.find_joints import find_joints
    from inspire_vla.labels.forward_kinematics import ForwardKinematics
    from inspire_vla.labels.joint_units import RecordedJoints
    from inspire_vla.labels.lerobot_files import LeRobotFiles
    from inspire_vla.labels.motor_calibration import read_calibration

    given, recorded = options.end_effector, None
    position, why = given.position, "given"
    if given.urdf:
        if not given.tip:
            raise InspireError("--urdf needs --tip LINK, the link between the fingers.")
        kinematics = ForwardKinematics.read(given.urdf, given.tip)
        motors = read_calibration(given.calibration) if given.calibration else {}
        recorded = RecordedJoints(kinematics, given.joint_unit, motors)
        if position is None:
            joints = find_joints(kinematics.joint_names, LeRobotFiles.open(options.source).names(), given.arm)
            position, why = str(joints), "named as the joints of the URDF"
    elif given.tip or given.joint_unit or given.calibration:
        raise InspireError(
            "--tip, --joint-unit and --calibration describe the joints of a robot; give --urdf FILE too."
        )
    if not position:
        return None
    if given.arm and given.position:
        raise InspireError("--position says which arm is used; leave out --arm.")
    columns = EndEffectorColumns.parse(
        position, given.width, given.gripper_command, joints=recorded, needs_gripper=False
    )
    return replace(columns, arm=given.arm or "", reasons={**columns.reasons, "position": why})
