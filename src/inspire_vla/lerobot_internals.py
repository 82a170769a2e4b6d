"""What this package reaches into the inside of LeRobot 0.6.1 for, besides training.

Trainings have lerobot_plugin/lerobot_host.py; this module needs no torch, so labels can be written without it.
tests/test_lerobot_internals.py fails when one of these places changes.
"""

import ast
import importlib.util
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

_TRAIN_CONFIGS = ("train", "default", "policies")
"""Modules of lerobot/configs/ in which the settings of lerobot-train are."""


def register_styles(styles: Iterable[str]) -> None:
    """Add styles of language rows to LeRobot's sets of known styles. datasets/language.py has no function for it.

    In place, because other modules hold these sets.
    """
    from lerobot.datasets import language

    names = tuple(styles)
    for known in (language.EXTENDED_STYLES, language.STYLE_REGISTRY, language.EVENT_ONLY_STYLES):
        known.update(names)


@contextmanager
def fast_image_embedding() -> Iterator[None]:
    """Embed the images of an episode that a LeRobotDataset saves all at once. datasets/dataset_writer.py.

    LeRobot embeds them row by row, which takes most of the time of a save, and writes a random fingerprint into the
    file.
    """
    import datasets
    from lerobot.datasets import dataset_writer

    original = dataset_writer.embed_images

    def embed(dataset: datasets.Dataset) -> datasets.Dataset:
        table = datasets.table.embed_table_storage(dataset.data.table)
        embedded = datasets.Dataset(
            datasets.table.InMemoryTable(table), info=dataset.info, fingerprint="inspire"
        )
        return embedded.with_format(**dataset.format)

    dataset_writer.embed_images = embed
    try:
        yield
    finally:
        dataset_writer.embed_images = original


def lazy_vector_env(makers: Sequence[Callable[[], Any]]) -> Any:
    """One environment for each maker, in processes that start at the first reset. envs/utils.py.

    It freezes environments whose episode has ended.
    """
    from lerobot.envs.utils import _LazyAsyncVectorEnv

    return _LazyAsyncVectorEnv(list(makers))


def libero_suite(name: str) -> Any:
    """A suite of the installed LIBERO, with its `tasks`. envs/libero.py. Raises ValueError for an unknown name.

    The line that LIBERO prints about the order of its tasks is dropped: it would stand in the midst of our output.
    """
    from lerobot.envs import libero

    with redirect_stdout(io.StringIO()):
        return libero._get_suite(name)


def train_options(sources: Iterable[Path], policy: str) -> tuple[dict[str, str], set[str]]:
    """What lerobot-train takes on its command line, read in its source: to import LeRobot takes many seconds.

    Args:
        sources: files in which the settings of a policy are.
        policy: their class.

    Returns:
        Its options without "--", each with its type as the source has it, such as "int | None"; and those below which
        are others that are not known here, such as "env".
    """
    spec = importlib.util.find_spec("lerobot")
    root = Path((spec and spec.origin) or "").parent
    files = [*(root / f"configs/{name}.py" for name in _TRAIN_CONFIGS), *sources]
    trees = (ast.parse(file.read_text(encoding="utf-8")) for file in files)
    classes = {node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    known, more = dict[str, str](), set[str]()

    def read(name: str, prefix: str) -> None:
        for base in classes[name].bases:
            if isinstance(base, ast.Name) and base.id in classes:
                read(base.id, prefix)
        for line in classes[name].body:
            if not isinstance(line, ast.AnnAssign) or "init=False" in ast.unparse(line):
                continue
            option = prefix + ast.unparse(line.target)
            types = {str(getattr(n, "id", "") or getattr(n, "attr", "")) for n in ast.walk(line.annotation)}
            known[option] = ast.unparse(line.annotation)
            for part in types:
                inside = policy if option == "policy" else part
                if inside in classes:
                    read(inside, f"{option}.")
                elif inside.endswith("Config"):
                    more.add(option)

    read("TrainPipelineConfig", "")
    return known, more
