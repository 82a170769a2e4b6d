"""Named recipes: LeRobot training configurations, and configurations of the grounding pre-training."""

from collections.abc import Mapping
from pathlib import Path

from inspire_vla.errors import InspireError, did_you_mean, possible

_HERE = Path(__file__).parent
FSDP = _HERE / "accelerate" / "fsdp.yaml"
"""Configuration of accelerate for training on several GPUs."""
INSPIRE_DIRECTION = _HERE / "messages" / "inspire_direction.yaml"
"""Recipe of messages for LeRobot: the dialogue, from the rows of `inspire label --language-column`."""
RECIPES = {file.stem: file for file in sorted(_HERE.glob("*.yaml"))}
"""The recipes of `inspire train`."""
PRETRAINING_RECIPES = {file.stem: file for file in sorted((_HERE / "pretraining").glob("*.yaml"))}
"""The recipes of `inspire pretrain`."""


def recipe_file(name: str, recipes: Mapping[str, Path] = RECIPES) -> Path:
    """Return the file of a recipe. Raises InspireError, which lists those of `recipes`."""
    if name in recipes:
        return recipes[name]
    commands = {"train": RECIPES, "pretrain": PRETRAINING_RECIPES}
    owner = next((command for command, its in commands.items() if name in its), None)
    if owner:
        raise InspireError(f"{name!r} is a recipe of `inspire {owner}`.{possible(recipes)}")
    raise InspireError(f"Unknown recipe {name!r}.{did_you_mean(name, recipes)}")
