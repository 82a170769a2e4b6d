import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.grounding.scenes import images

from inspire_vla.backbones.nano import NanoConfig
from inspire_vla.errors import InspireError
from inspire_vla.files import write_json
from inspire_vla.grounding import images as module_of_images
from inspire_vla.grounding import pretraining as module_of_pretraining
from inspire_vla.grounding.batches import COLOURS, KINDS, Batches, dense_classes, dense_offsets
from inspire_vla.grounding.evaluation import evaluate, point_at
from inspire_vla.grounding.heads import DenseHead, Heads, losses
from inspire_vla.grounding.images import draw_images, load_images, mirrored, save_images
from inspire_vla.grounding.pretraining import (
    PretrainingConfig,
    check_config,
    load_pretrained,
    load_weights,
    make_backbone,
    make_heads,
    pretrain,
    read_recipe,
    with_dtype,
)
from inspire_vla.grounding.questions import kind_and_colour
from inspire_vla.libero.random_scenes import FIXTURES, OBJECTS
from inspire_vla.recipes import PRETRAINING_RECIPES, recipe_file

TINY = NanoConfig(hidden_size=16, layers=1, heads=2, mlp_size=32, stem_width=8, deep_stem=True)
CONFIG = PretrainingConfig(nano=TINY, image_size=32, dense_steps=3, steps=8, batch_size=4, warmup_steps=2)


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{i}.npz" for i in range(3)]
    for path in paths:
        save_images(images(count=12), path)
    return paths


def batches(files):
    model = make_backbone(CONFIG)
    return model, Batches(files, model.text_tokenizer, batch_size=4, questions=6, grid=8, seed=0)


def test_images_round_trip_through_their_file(tmp_path):
    before = images(count=3)
    save_images(before, tmp_path / "a.npz")
    after = load_images(tmp_path / "a.npz")
    assert all(
        np.array_equal(getattr(before, n), getattr(after, n)) for n in ("pixels", "segmentation", "names")
    )
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:200])
    with pytest.raises(InspireError, match=r"damaged \(.*\)\. Delete it, and run the same command"):
        load_images(tmp_path / "a.npz")


def test_every_point_has_the_class_of_the_object_there():
    classes = dense_classes(images(), 0, 8)
    assert classes.shape == (8, 8, 2)
    assert classes[1, 1].tolist() == [KINDS.index("cube"), COLOURS.index("red")]
    assert classes[1, 6].tolist() == [KINDS.index("mug"), COLOURS.index("blue")]
    assert classes[6, 1].tolist() == [KINDS.index("cabinet"), COLOURS.index("brown")]
    assert classes[6, 6].tolist() == [KINDS.index("robot"), 0]
    p = images()
    p.segmentation[:] = -1
    assert not dense_classes(p, 0, 8).any()


def test_every_point_has_the_offset_to_the_centre_of_its_object():
    offsets = dense_offsets(images(), 0, 8)
    points = (np.arange(8) * 6 + 3.5) / 48
    assert offsets[1, 1] == pytest.approx((0.25 - points[1], 0.25 - points[1]))  # the red cube's quarter
    assert offsets[1, 6] == pytest.approx((0.75 - points[6], 0.25 - points[1]))
    assert offsets[6, 6] == pytest.approx((0.75 - points[6], 0.75 - points[6]))  # the robot's: the gripper
    p = images()
    p.segmentation[:] = -1
    assert np.isnan(dense_offsets(p, 0, 8)).all()


def test_a_flip_exchanges_left_and_right_and_nothing_else():
    p = images()
    other = mirrored(p, 0)
    assert other.positions[0, 0] == pytest.approx((1 - p.positions[0, 0, 0], p.positions[0, 0, 1]))
    assert np.array_equal(other.pixels[0], p.pixels[0, :, ::-1])
    assert np.array_equal(dense_classes(other, 0, 8)[:, ::-1], dense_classes(p, 0, 8))
    again = mirrored(other, 0)
    assert np.allclose(again.positions[0], p.positions[0])
    assert not other.positions[0, other.names[0] == ""].any()


def test_the_dense_head_gives_each_patch_its_own_points():
    """Only the patch whose targets change gets another gradient."""
    head = DenseHead(16)
    prefix = torch.randn(1, 4, 16, requires_grad=True)
    points = torch.zeros(1, 8, 8, 2, dtype=torch.long)
    points[..., 0], points[..., 1] = 2, 1
    offsets = torch.full((1, 8, 8, 2), torch.nan)
    head(prefix, points, offsets)[0].backward()
    before = prefix.grad.clone()
    points[0, :4, 4:, 1] = 5  # top right: patch 1
    prefix.grad = None
    head(prefix, points, offsets)[0].backward()
    changed = (prefix.grad - before).abs().amax(dim=(0, 2)) > 1e-7
    assert changed.tolist() == [False, True, False, False]


def test_an_empty_table_has_kinds_but_no_colours():
    points, offsets = torch.zeros(1, 8, 8, 2, dtype=torch.long), torch.full((1, 8, 8, 2), torch.nan)
    loss, numbers = DenseHead(16)(torch.randn(1, 4, 16), points, offsets)
    assert torch.isfinite(loss)
    assert numbers["dense_accuracy"] == 0.0


def test_only_answers_are_supervised(files):
    model, all_batches = batches(files)
    batch = all_batches[0]
    tokenizer = model.text_tokenizer
    for ids, supervised in zip(batch.ids.tolist(), batch.loss_mask.tolist(), strict=True):
        words = tokenizer.decode([i for i, s in zip(ids, supervised, strict=True) if s]).split()
        assert set(words) <= {
            "yes",
            "no",
            "nothing",
            "red",
            "blue",
            "brown",
            "cube",
            "mug",
            "cabinet",
        }
        prompt = tokenizer.decode([i for i, s in zip(ids, supervised, strict=True) if not s])
        assert "?" in prompt


@pytest.mark.parametrize("lacking", ["points", "answers"])
def test_a_batch_without_a_kind_of_question_has_a_finite_loss(files, lacking):
    """The mean over no questions would be NaN and destroy the weights."""
    model, all_batches = batches(files)
    batch = all_batches[0]
    if lacking == "points":
        batch = replace(batch, points=torch.full_like(batch.points, torch.nan))
    else:
        batch = replace(batch, loss_mask=torch.zeros_like(batch.loss_mask))
    heads = Heads(TINY.hidden_size)
    loss, numbers = losses(model, heads, batch, questions=True)
    loss.backward()
    assert all(np.isfinite(number) for number in numbers.values())
    assert numbers["pointing_loss" if lacking == "points" else "answer_loss"] == 0.0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_configuration_is_written_atomically(files, tmp_path, monkeypatch):
    """A pre-training killed while writing it can start again."""

    def torn(path, text, **_):
        path.write_bytes(text[:20].encode())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", torn)
        with pytest.raises(KeyboardInterrupt):
            pretrain(files, tmp_path / "out", CONFIG)
    check_config(tmp_path / "out", CONFIG)
    assert not (tmp_path / "out/config.json").exists()


def test_points_are_targets_at_the_end_of_their_questions(files):
    model, all_batches = batches(files)
    batch = all_batches[0]
    ends = ~batch.points[..., 0].isnan()
    assert ends.any()
    assert {model.text_tokenizer.decode([i]) for i in batch.ids[ends].tolist()} == {"?"}
    assert not (ends & batch.loss_mask).any()
    assert ((batch.points[ends] > 0) & (batch.points[ends] < 1)).all()


def test_a_batch_depends_on_its_step_alone(files):
    _, first = batches(files)
    _, second = batches(files)
    for step in (0, 3, 9, 1):
        a, b = first[step], second[step]
        assert torch.equal(a.ids, b.ids)
        assert torch.equal(a.images, b.images)
    assert not torch.equal(first[0].ids, first[1].ids)


def test_a_resumed_training_equals_an_uninterrupted_one(files, tmp_path, monkeypatch):
    whole = pretrain(files, tmp_path / "whole", CONFIG, save_every=4, log_every=2)

    from inspire_vla.grounding import pretraining

    calls = []

    def dying(*args, **kwargs):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return losses(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(pretraining, "losses", dying)
        with pytest.raises(KeyboardInterrupt):
            pretrain(files, tmp_path / "broken", CONFIG, save_every=4, log_every=2)
    broken = pretrain(files, tmp_path / "broken", CONFIG, save_every=4, log_every=2)
    (_, expected), (_, resumed) = load_weights(whole), load_weights(broken)
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    for out in (whole, broken):
        logged = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in logged] == [2, 4, 6, 8]
    assert {"answer_loss", "pointing_loss"} & set(logged[0]) == set()
    assert {"answer_loss", "pointing_loss", "pointing_accuracy"} <= set(logged[-1])
    model, heads = load_pretrained(whole, CONFIG)
    assert torch.equal(model.state_dict()["place"], expected["place"])
    assert heads.pointing.out.weight.shape[1] == TINY.hidden_size


def test_another_configuration_is_refused(files, tmp_path):
    pretrain(files, tmp_path / "run", replace(CONFIG, dense_steps=0, steps=1), log_every=1)
    with pytest.raises(InspireError, match=r"other settings \(steps: there 1, now 2\)"):
        pretrain(files, tmp_path / "run", replace(CONFIG, dense_steps=0, steps=2))


def test_one_image_can_be_learned(files):
    """All losses fall on images that are seen often."""
    torch.manual_seed(0)
    model, all_batches = batches(files)
    heads = Heads(16)
    optimiser = torch.optim.Adam([*model.parameters(), *heads.parameters()], lr=5e-3)
    log = []
    for step in range(160):
        loss, numbers = losses(model, heads, all_batches[step], questions=True)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        log.append(numbers)
    for name in ("dense_loss", "pointing_loss", "answer_loss"):
        first, last = (sum(each[name] for each in part) for part in (log[:8], log[-8:]))
        assert last < 0.7 * first, name
    result = evaluate(model, heads, files, images=24)
    assert result.recognition_n == 24
    assert result.pointing_n == sum(kind.n for kind in result.pointing_by_kind.values())
    assert result.pointing_by_kind["name"].n == result.pointing_by_kind["gripper"].n == 24
    assert result.recognition_accuracy > 0.25  # one of dozens of names by chance
    assert 0 <= result.pointing_accuracy <= 1


def test_the_shipped_recipe_reads():
    config = read_recipe(PRETRAINING_RECIPES["nano_grounding"], steps=3001, seed=None)
    assert (config.steps, config.seed) == (3001, 0)
    assert config.nano.deep_stem
    with pytest.raises(InspireError, match="no recipe"):
        read_recipe(recipe_file("nano_tabletop"))


def test_the_recipe_for_libero_has_a_class_for_every_object_of_its_scenes():
    config = read_recipe(PRETRAINING_RECIPES["nano_grounding_libero"])
    assert config.scenes == "libero"
    looks = [kind_and_colour(f"{call}_1") for call in (OBJECTS | FIXTURES).values()]
    assert {kind for kind, _ in looks} == set(config.kinds[2:])
    assert {colour for _, colour in looks} == set(config.colours[1:])
    heads = make_heads(config)
    assert (heads.dense.kinds, heads.dense.colours) == (len(config.kinds), len(config.colours))


def test_images_of_another_benchmark_are_refused():
    with pytest.raises(InspireError, match=r"'red cube'.*another benchmark"):
        dense_classes(images(), 0, 8, ("nothing", "robot", "plate"), ("none", ""))


@pytest.mark.parametrize(("name", "value"), [("scenes", "libreo"), ("dtype", "float16")])
def test_an_unknown_choice_of_a_recipe_is_refused(name, value):
    with pytest.raises(InspireError, match=f"Unknown {name} '{value}'"):
        replace(CONFIG, **{name: value})


def test_a_pretraining_from_before_a_setting_existed_goes_on(tmp_path):
    """Its file lacks the newer settings, whose defaults are what it was trained with."""
    settings = {k: v for k, v in asdict(CONFIG).items() if k not in ("scenes", "kinds", "colours", "dtype")}
    write_json(tmp_path / "config.json", settings)
    check_config(tmp_path, CONFIG)
    with pytest.raises(InspireError, match="dtype: there 'float32', now 'bfloat16'"):
        check_config(tmp_path, replace(CONFIG, dtype="bfloat16"))


def test_dtype_auto_is_what_this_machine_is_fast_in_and_stays_what_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(module_of_pretraining, "fast_dtype", lambda device: "bfloat16")
    auto = replace(CONFIG, dtype="auto")
    assert with_dtype(auto, tmp_path, "cpu").dtype == "bfloat16"
    write_json(
        tmp_path / "config.json", asdict(CONFIG)
    )  # begun on a machine without instructions for bfloat16
    assert with_dtype(auto, tmp_path, "cpu").dtype == "float32"
    assert with_dtype(CONFIG, tmp_path / "new", "cpu").dtype == "float32"


def test_losses_in_bfloat16_are_those_of_float32_nearly(files):
    torch.manual_seed(0)
    model, all_batches = batches(files)
    heads = Heads(16)
    exact, _ = losses(model, heads, all_batches[3], questions=True)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = losses(model, heads, all_batches[3], questions=True)
    assert rounded.dtype == torch.float32
    assert rounded.item() != exact.item()
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)


def test_files_are_drawn_once(tmp_path, monkeypatch):
    monkeypatch.setattr(module_of_images, "IMAGES_PER_FILE", 2)

    def draw(seed, count, size):
        shown = images(count=count, size=size)
        shown.pixels[:] = seed % 251
        return shown

    files = draw_images(draw, tmp_path, 3, image_size=32)
    assert [int(load_images(file).pixels.max()) for file in files] == [0, 1]
    stamp = files[0].stat().st_mtime_ns
    files[1].unlink()
    assert draw_images(draw, tmp_path, 3, image_size=32) == files
    assert files[0].stat().st_mtime_ns == stamp
    assert files[1].exists()
    with pytest.raises(InspireError, match="count"):
        draw_images(draw, tmp_path, 0)


def test_the_evaluation_asks_about_images_from_all_files(tmp_path):
    model, heads = make_backbone(CONFIG), Heads(TINY.hidden_size)
    files = []
    for number in range(3):
        files.append(tmp_path / f"{number}.npz")
        shown = images(count=8)
        shown.pixels[:] = number
        save_images(shown, files[-1])
    pairs, points = point_at(model, heads, files, images=6)
    assert [int(pixels.max()) for pixels, _ in pairs] == [0, 0, 1, 1, 2, 2]
    assert all(question.text.startswith("Where") and question.point for _, question in pairs)
    assert points.shape == (6, 2)
    assert ((points > 0) & (points < 1)).all()


def test_a_pretraining_that_would_train_no_question_is_refused():
    with pytest.raises(InspireError, match="--dense-steps"):
        replace(CONFIG, steps=CONFIG.dense_steps)
