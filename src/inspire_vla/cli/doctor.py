"""`inspire doctor`."""

import importlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from inspire_vla.errors import reason_of

BOUNDS = {"lerobot": ("0.6.1", "0.6.2"), "mujoco": ("3.3", "3.9"), "transformers": ("5.4", "5.6")}
"""Package → the first version that is known to work, and the first that is not, as in pyproject.toml."""
EXTRAS = {
    "PEFT": ("peft", "LoRA", "-e '.[peft]'"),
    "rerun": ("rerun-sdk", "inspire view", "-e '.[view]'"),
    "num2words": ("num2words", "SmolVLM2", "-e '.[smolvlm]'"),
    "Ray": ("ray", "inspire evaluate --ray", "-e '.[ray]'"),
    "feetech": ("feetech-servo-sdk", "the motors of an SO-100 or SO-101", "'lerobot[feetech]'"),
}
"""What may be missing → its distribution, what it is needed for, what pip installs. docs/index.md lists them too."""

PLATFORMS = {
    "Linux": (True, "tested"),
    "Darwin": (True, "should work; not tested"),
    "Windows": (False, "only imports and clients of a policy server are supported"),
}
"""Supported platforms: platform.system() → whether everything is meant to work, and what that means."""


@dataclass
class Arguments:
    """Check this installation: platform, versions, rendering, plug-in, extras."""


@dataclass(frozen=True)
class Check:
    """One finding. required: nothing runs without it. advice: what to do about it."""

    name: str
    ok: bool
    found: str
    advice: str = ""
    required: bool = True


def run(options: Arguments) -> int:
    """Print the findings. Returns 0 when everything required is there, else 1."""
    from rich.console import Console
    from rich.markup import escape

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    console = Console()
    missing: dict[bool, list[str]] = {True: [], False: []}
    for check in checks():
        if not check.ok:
            missing[check.required].append(check.name)
        mark = "[green]ok  [/]" if check.ok else "[red]no  [/]" if check.required else "[yellow]–   [/]"
        console.print(f"{mark}{check.name:<12} {escape(check.found)}", highlight=False)
        if not check.ok and check.advice:
            console.print(f"                 → {escape(check.advice)}", highlight=False)
    needed, optional = missing[True], missing[False]
    says = f"Needed, and not right here: {', '.join(needed)}." if needed else "All that is needed is here."
    more = f" Optional, and not here: {', '.join(optional)}." if optional else ""
    console.print(says + more, highlight=False)
    return int(bool(needed))


def checks() -> Iterator[Check]:
    """Run all checks, each when it is asked for: some take seconds. A check that raises is a finding that failed."""
    for check in (_platform, _python, _packages, _torch, _rendering, _plugin, _ffmpeg):
        yield _safely(check)
    for check in (_opencv, _libero, _libero_plus, _libero_pro):
        yield _safely(check, required=False)
    yield from map(_extra, EXTRAS)
    yield _safely(_disk)


def _safely(check: Callable[[], Check], *, required: bool = True) -> Check:
    try:
        return check()
    except Exception as error:
        text = (
            f"{type(error).__name__}: {reason_of(error, with_file=True)}{'' if required else ' (optional)'}"
        )
        return Check(check.__name__.strip("_"), False, text, required=required)


def _platform() -> Check:
    name = platform.system()
    ok, support = PLATFORMS.get(name, (False, "not supported"))
    return Check(
        "platform", ok, f"{name} {platform.machine()}: {support}", "Linux is tested; see the README."
    )


def _python() -> Check:
    text = ".".join(map(str, sys.version_info[:3]))
    return Check("python", sys.version_info >= (3, 12), text, "Python 3.12 or later is needed.")


def _packages() -> Check:
    from packaging.version import Version

    parts, wrong = [], []
    for package, (low, high) in BOUNDS.items():
        installed = _version(package)
        parts.append(f"{package} {installed or 'missing'}")
        if installed is None:
            wrong.append(package)
        elif not Version(low) <= Version(installed) < Version(high):
            wrong.append(f"{package} (needed: >= {low}, < {high})")
    return Check(
        "packages", not wrong, ", ".join(parts), f"Reinstall with `make install`: {', '.join(wrong)}."
    )


def _torch() -> Check:
    import torch

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] or ["CPU only"]
    return Check(
        "torch", True, f"{torch.__version__}, {', '.join(devices)}, threads: {torch.get_num_threads()}"
    )


def _rendering() -> Check:
    from inspire_vla.tabletop.rendering import choose_gl_backend

    backend = choose_gl_backend()
    if backend == "disable":
        return Check(
            "rendering", False, "neither EGL nor OSMesa answers",
            "Debian or Ubuntu: apt-get install libegl1 libgl1-mesa-dri (EGL), or libosmesa6 (OSMesa).",
        )  # fmt: skip
    code = (
        "from inspire_vla.tabletop.benchmark import TabletopBenchmark as B; b = B(); s = b.suites()[0]; "
        "o, _ = b.make(s, b.tasks(s)[0]).reset(seed=0); print(o['pixels']['image'].std() > 1)"
    )
    probe = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
        env={**os.environ, "MUJOCO_GL": backend},
    )  # fmt: skip
    ok = probe.stdout.strip() == "True"
    problem = "" if ok else (probe.stderr.strip().splitlines() or ["the image is empty"])[-1]
    return Check("rendering", ok, f"MUJOCO_GL={backend} {problem}".strip(), "Unset MUJOCO_GL and try again.")


def _plugin() -> Check:
    import lerobot.configs
    import lerobot.envs.configs

    importlib.import_module("lerobot_policy_inspire_vla")
    if _version("lerobot_policy_inspire_vla") is None:
        advice = "pip install -e . in the repository."
        return Check("plug-in", False, "the distribution is not installed", advice)
    policies = lerobot.configs.PreTrainedConfig.get_known_choices()
    environments = lerobot.envs.configs.EnvConfig.get_known_choices()
    registered = {
        "policy inspire_vla": "inspire_vla" in policies,
        "env inspire_tabletop": "inspire_tabletop" in environments,
    }
    text = ", ".join(
        f"{name} {'registered' if there else 'not registered'}" for name, there in registered.items()
    )
    return Check("plug-in", all(registered.values()), text)


def _ffmpeg() -> Check:
    import av

    from inspire_vla.reports.video import CODECS

    codecs = [codec for codec in CODECS if codec in av.codecs_available]
    return Check("video", bool(codecs), f"PyAV {av.__version__}, {codecs}", "Reinstall the package `av`.")


def _libero() -> Check:
    if find_spec("libero") is None:
        advice = "`make libero` installs it, with its assets and the headless OpenCV kept."
        return Check("LIBERO", False, "not installed (optional)", advice, required=False)
    from inspire_vla.libero.installation import assets_here

    advice = "`make libero` downloads them from the Hugging Face hub, or links those of ../shared/libero."
    found = "installed, with assets" if assets_here() else "installed, its 3-D assets are missing (optional)"
    return Check("LIBERO", assets_here(), found, advice, required=False)


def _libero_plus() -> Check:
    from inspire_vla.libero.installation import LiberoMissing
    from inspire_vla.libero.tasks import plus_tasks

    try:
        found = f"installed in LIBERO's place, {len(plus_tasks('libero_plus_spatial'))} tasks of spatial"
        return Check("LIBERO-Plus", True, found, required=False)
    except LiberoMissing:
        return Check(
            "LIBERO-Plus", False, "not installed (optional)", "docs/libero.md says how.", required=False
        )


def _libero_pro() -> Check:
    from inspire_vla.libero.installation import LiberoMissing
    from inspire_vla.libero.tasks import PRO_SUITES, pro_suite

    installed = 0
    for suite in PRO_SUITES:
        with suppress(LiberoMissing):
            installed += bool(pro_suite(suite))
    text = f"{installed} of {len(PRO_SUITES)} suites installed" if installed else "not installed (optional)"
    return Check("LIBERO-PRO", bool(installed), text, "docs/libero.md says how.", required=False)


def _extra(name: str) -> Check:
    distribution, purpose, wanted = EXTRAS[name]
    found, advice = _version(distribution), f"pip install -c constraints.txt {wanted}"
    text = found or f"not installed (optional: {purpose})"
    return Check(name, found is not None, text, advice, required=False)


def _opencv() -> Check:
    """Several distributions install the package `cv2`; the last one installed replaces the others."""
    kinds = [
        f"opencv-{kind}{suffix}" for suffix in ("", "-headless") for kind in ("python", "contrib-python")
    ]
    installed = [f"{kind} {_version(kind)}" for kind in kinds if _version(kind)]
    return Check(
        "OpenCV", len(installed) == 1 and "headless" in installed[0], ", ".join(installed) or "not installed",
        "LIBERO's installation brings opencv-python, which needs a display's libraries. `make libero` keeps the "
        "headless one alone; by hand: pip uninstall opencv-python, then pip install --force-reinstall --no-deps "
        "-c constraints.txt opencv-python-headless.",
        required=False,
    )  # fmt: skip


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _disk() -> Check:
    free = shutil.disk_usage(".").free / 2**30
    return Check("disk", free > 1, f"{free:.0f} GiB free here", "Datasets and checkpoints need a few GiB.")
