"""Named recipes: LeRobot training configurations, and configurations of the grounding pre-training."""

from pathlib import Path

from inspire_vla.errors import InspireError, did_you_mean

FSDP = Path(__file__).parent / "accelerate" / "fsdp.yaml"
"""Configuration of accelerate for training on several GPUs."""
INSPIRE_DIRECTION = Path(__file__).parent / "messages" / "inspire_direction.yaml"
"""Recipe of messages for LeRobot: the dialogue, from the rows of `inspire label --language-column`."""
RECIPES = {file.stem: file for file in sorted(Path(__file__).parent.glob("*.yaml"))}


def recipe_file(name: str) -> Path:
    """Return the file of a recipe. Raises InspireError, which lists the known ones."""
    if name not in RECIPES:
        raise InspireError(f"Unknown recipe {name!r}.{did_you_mean(name, RECIPES)}")
    return RECIPES[name]
