"""How much do words and scenes tell of places? LIBERO-90 against the tabletop at every `layout_randomness`.

A policy may learn an accidental correlation instead of looking where the data allow it. Two numbers say how far they
do, both shares of the variance of things' places (x, y on the table), over the scenes of training:

    by scene   explained by (scene, thing): 1 would be a fixed place in every scene
    by name    explained by the thing's name alone, whatever the scene: 1 would be "the plate is always there"

    python benchmarks/layout_statistics.py            prints a table; LIBERO-90's row needs the extra `libero`
"""

import re
from collections import defaultdict

import numpy as np

from inspire_vla.libero.tasks import LiberoMissing, task_files
from inspire_vla.tabletop.scenes import SCENES

_DRAWS = 200
_REGION = re.compile(r"\((\w+)\s*\(:target (\w+)\)\s*\(:ranges\s*\(\s*\(([-\d.e\s]+)\)", re.DOTALL)
_INIT = re.compile(r"\(On (\w+?)_(\d+) (\w+)\)")

Draws = dict[tuple[str, str], list[np.ndarray]]
"""(scene, name of a thing) → places (n, 2), metres; one array for each thing of that name."""


def libero_90(rng: np.random.Generator) -> Draws:
    """Places as LIBERO-90's task files draw them: uniform within a region of the table."""
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
    """Places of the training scenes' things."""
    draws: Draws = defaultdict(list)
    for scene in SCENES.values():
        layouts = [scene.sample_layout(rng, randomness) for _ in range(_DRAWS)]
        for thing in scene.objects:
            draws[scene.name, thing].append(np.array([layout[thing][:2] for layout in layouts]))
    return draws


def explained(draws: Draws, key) -> float:
    """Share of the variance of places that `key(scene, name)` explains. Names met in one scene only count as well."""
    groups: dict[object, list[np.ndarray]] = defaultdict(list)
    for pair, things in draws.items():
        groups[key(*pair)] += things
    everything = np.concatenate([place for things in groups.values() for place in things])
    total = everything.var(axis=0).sum() * len(everything)
    within = sum(
        np.concatenate(things).var(axis=0).sum() * sum(map(len, things)) for things in groups.values()
    )
    return float(1 - within / total)


def main() -> None:
    rng = np.random.default_rng(0)
    rows: list[tuple[str, Draws]] = []
    try:
        rows.append(("LIBERO-90", libero_90(rng)))
    except LiberoMissing as missing:
        print(missing)
    rows += [
        (f"tabletop, layout_randomness {r:g}", tabletop(rng, r))
        for r in (0, 0.1, 0.2, 0.25, 0.3, 0.5, 0.7, 1)
    ]
    print(f"{'':34} scenes  things/scene  scenes/name  by scene  by name")
    for name, draws in rows:
        scenes = {scene for scene, _ in draws}
        names = {thing for _, thing in draws}
        things = sum(map(len, draws.values())) / len(scenes)
        print(
            f"{name:34} {len(scenes):6}  {things:12.1f}  {len(draws) / len(names):11.1f}"
            f"  {explained(draws, lambda s, n: (s, n)):8.2f}  {explained(draws, lambda s, n: n):7.2f}"
        )


if __name__ == "__main__":
    main()
