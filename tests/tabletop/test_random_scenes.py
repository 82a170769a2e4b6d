import numpy as np
import pytest

from inspire_vla.grounding.batches import COLOURS as COLOUR_NAMES
from inspire_vla.grounding.batches import KINDS
from inspire_vla.grounding.images import GRIPPER, ROBOT
from inspire_vla.tabletop import random_scenes as module
from inspire_vla.tabletop.objects import COLOURS, SHAPES, parse_object
from inspire_vla.tabletop.random_scenes import random_scenes


@pytest.fixture(scope="module")
def drawn():
    return random_scenes(3, 48)


def test_the_seed_fixes_everything(drawn):
    again = random_scenes(3, 2)
    assert np.array_equal(again.pixels, drawn.pixels[:2])
    assert np.array_equal(again.positions, drawn.positions[:2])
    assert not np.array_equal(drawn.pixels[0], drawn.pixels[1])


def test_what_is_named_is_seen_where_it_is_said_to_be(drawn):
    """The recorded point of an object shows the object, unless it is occluded. Most are not."""
    hits = total = 0
    for row in range(len(drawn.pixels)):
        for i, name in enumerate(drawn.names[row]):
            u, v = drawn.positions[row, i]
            in_view = 0.05 < u < 0.95 and 0.05 < v < 0.95
            if not name or name == GRIPPER or str(name).endswith("handle") or not in_view:
                continue
            if drawn.visibility[row, i] < 0.002:
                continue
            x, y = int(u * 48), int(v * 48)
            total += 1
            hits += i in drawn.segmentation[row, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
    assert total > 50
    assert hits / total > 0.9


def test_colours_are_those_of_the_names(drawn):
    """The pixels of a red object are red, and so on."""
    means: dict[str, list[np.ndarray]] = {}
    for row in range(len(drawn.pixels)):
        big = drawn.pixels[row].reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
        for i, name in enumerate(drawn.names[row]):
            if name and (drawn.segmentation[row] == i).sum() > 4:
                means.setdefault(str(name).split("_")[0], []).append(
                    big[drawn.segmentation[row] == i].mean(axis=0)
                )
    for colour, samples in means.items():
        if colour in ("red", "green", "blue"):
            mean = np.mean(samples, axis=0)
            assert int(mean.argmax()) == int(np.argmax(COLOURS[colour]))
    assert means


def test_names_are_the_benchmarks_and_the_robot_is_in_the_images(drawn):
    for name in set(drawn.names.flatten()) - {"", GRIPPER}:
        parse_object(str(name).removesuffix("_handle"))
    assert (drawn.segmentation == ROBOT).any(axis=(1, 2)).mean() > 0.9


def test_the_pre_training_knows_every_shape_and_colour():
    assert set(KINDS) - {"nothing", "robot"} == set(SHAPES)
    assert set(COLOUR_NAMES) - {"none"} == set(COLOURS)


def test_places_on_the_table_are_those_of_the_image(drawn):
    """What is further right on the table is further right in the image; what is further in front is lower."""
    compared = 0
    for row in range(len(drawn)):
        standing = np.flatnonzero(~np.isnan(drawn.on_table[row, :, 0]))
        kinds = [str(name).split("_")[1] for name in drawn.names[row] if name and name != GRIPPER]
        for i in standing:
            for j in standing:
                (right, front), (u, v) = (
                    (of[row, i] - of[row, j]).tolist() for of in (drawn.on_table, drawn.positions)
                )
                if right > 0.15 and abs(front) < 0.1:
                    assert u > 0
                if front > 0.15 and abs(right) < 0.1 and kinds[i] == kinds[j]:  # of equal height
                    assert v > 0
                    compared += 1
    assert compared > 20


def test_what_does_not_stand_on_the_table_has_no_place_there(drawn):
    objects = np.array(
        [[bool(name) and name != GRIPPER and "handle" not in name for name in row] for row in drawn.names]
    )
    places = ~np.isnan(drawn.on_table[..., 0])
    assert not (places & ~objects).any()
    in_air = (objects & ~places).sum(axis=1)
    assert set(in_air.tolist()) == {0, 1}  # one object at most is held


def test_most_scenes_hold_objects_of_the_same_name():
    rng = np.random.default_rng(0)
    scenes = [[name.rsplit("_", 1)[0] for name in module._draw_names(rng)] for _ in range(200)]
    counts = [max(names.count(name) for name in names) for names in scenes]
    assert np.mean([count > 1 for count in counts]) > 0.6
    assert max(counts) == module.MAX_DUPLICATES
    assert all(any(names.count(name) == 1 for name in names) for names in scenes[:20])
