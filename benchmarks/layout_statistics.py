"""How much scenes and names tell about positions: LIBERO-90, and the tabletop by `layout_randomness`.

A policy may learn such a correlation instead of using the image. Three numbers measure it. All are fractions of the
variance of the objects' positions (x, y on the table) over the training scenes:

    by object  explained by (scene, object): 1 is a fixed position in every scene
    by scene   explained by (scene, name), where equal objects of a scene have one name
    by name    explained by the object's name alone: 1 is the same position in all scenes

    python benchmarks/layout_statistics.py            LIBERO-90 needs the extra `libero`
"""

import re
from collections import defaultdict

import numpy as np

from inspire_vla.libero.installation import LiberoMissing
from inspire_vla.libero.tasks import task_files
from inspire_vla.tabletop.scenes import SCENES

_DRAWS = 200
_REGION = re.compile(r"\((\w+)\s*\(:target (\w+)\)\s*\(:ranges\s*\(\s*\(([-\d.e\s]+)\)", re.DOTALL)
_INIT = re.compile(r"\(On (\w+?)_(\d+) (\w+)\)")

Draws = dict[tuple[str, str], list[np.ndarray]]
"""(scene, object's name) → positions (n, 2) in metres; one array for each object of that name."""


def libero_90(rng: np.random.Generator) -> Draws:
    """Positions as LIBERO-90's task files sample them: uniform in a region of the table."""
    scenes = {}
    for path in task_files("libero_90"):
        scenes.setdefault(re.match(r"[A-Z_]+SCENE\d+", path.stem).group(), path)  # type: ignore[union-attr]
    draws: Draws = defaultdict(list)
    for scene, path in scenes.items():
        text = path.read_text(encoding="utf-8")
        ranges = {
            f"{target}_{name}": [float(number) for number in numbers.split()]
            for name, target, numbers in _REGION.findall(text)
        }
        for kind, _, region in _INIT.findall(text[text.index("(:init") :]):
            if region in ranges:
                x0, y0, x1, y1 = ranges[region]
                draws[scene, kind].append(rng.uniform((x0, y0), (x1, y1), (_DRAWS, 2)))
    return draws


def tabletop(rng: np.random.Generator, randomness: float) -> Draws:
    """Positions of the objects of the training scenes."""
    draws: Draws = defaultdict(list)
    for scene in SCENES.values():
        layouts = [scene.sample_layout(rng, randomness) for _ in range(_DRAWS)]
        for name, spec in scene.objects.items():
            look = f"{spec.colour}_{spec.kind}"  # equal objects have one name, as in LIBERO
            draws[scene.name, look].append(np.array([layout[name][:2] for layout in layouts]))
    return draws


def explained(draws: Draws, key) -> float:
    """Return the fraction of the variance of positions that `key(scene, name)` explains."""
    groups: dict[object, list[np.ndarray]] = defaultdict(list)
    for pair, arrays in draws.items():
        groups[key(*pair)] += arrays
    everything = np.concatenate([position for arrays in groups.values() for position in arrays])
    total = everything.var(axis=0).sum() * len(everything)
    within = sum(
        np.concatenate(arrays).var(axis=0).sum() * sum(map(len, arrays)) for arrays in groups.values()
    )
    return float(1 - within / total)


def _each_alone(draws: Draws) -> Draws:
    """Give every object of a scene a name of its own."""
    return {
        (scene, f"{name}_{number}"): [positions]
        for (scene, name), arrays in draws.items() for number, positions in enumerate(arrays)
    }  # fmt: skip


def main() -> None:
    rng = np.random.default_rng(0)
    rows: list[tuple[str, Draws]] = []
    try:
        rows.append(("LIBERO-90", libero_90(rng)))
    except LiberoMissing as missing:
        print(missing)
    rows += [(f"tabletop, layout_randomness {r:g}", tabletop(rng, r)) for r in (0, 0.25, 0.5)]
    print(f"{'':34} scenes  objects/scene  scenes/name  by object  by scene  by name")
    for name, draws in rows:
        scenes = {scene for scene, _ in draws}
        names = {name for _, name in draws}
        objects = sum(map(len, draws.values())) / len(scenes)
        print(
            f"{name:34} {len(scenes):6}  {objects:13.1f}  {len(draws) / len(names):11.1f}"
            f"  {explained(_each_alone(draws), lambda s, n: (s, n)):9.2f}"
            f"  {explained(draws, lambda s, n: (s, n)):8.2f}  {explained(draws, lambda s, n: n):7.2f}"
        )


if __name__ == "__main__":
    main()
