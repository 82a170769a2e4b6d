import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.grounding.scenes import images

from inspire_vla.backbones.nano import NanoConfig
from inspire_vla.errors import InspireError
from inspire_vla.grounding.batches import Batches
from inspire_vla.grounding.examination import examine, point_at
from inspire_vla.grounding.images import load_images, mirrored, save_images
from inspire_vla.grounding.naming import COLOURS, KINDS, NamingHead, middles_of_points, names_of_points
from inspire_vla.grounding.objective import Heads
from inspire_vla.grounding.pretraining import (
    PretrainingPlan,
    check_plan,
    load_pretrained,
    load_weights,
    losses,
    make_backbone,
    pretrain,
    read_plan,
)
from inspire_vla.recipes import recipe_file

TINY = NanoConfig(hidden_size=16, layers=1, heads=2, mlp_size=32, stem_width=8, deep_stem=True)
PLAN = PretrainingPlan(nano=TINY, image_size=32, naming_steps=3, steps=8, batch_size=4, warmup_steps=2)


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{i}.npz" for i in range(3)]
    for path in paths:
        save_images(images(count=12), path)
    return paths


def batches(files):
    plan = replace(PLAN)
    model = make_backbone(plan)
    return model, Batches(files, model.text_tokenizer, batch_size=4, questions=6, grid=8, seed=0)


def test_images_survive_their_file(tmp_path):
    before = images(count=3)
    save_images(before, tmp_path / "a.npz")
    after = load_images(tmp_path / "a.npz")
    assert all(np.array_equal(getattr(before, n), getattr(after, n)) for n in ("pixels", "owners", "names"))
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:200])
    with pytest.raises(InspireError, match="damaged"):
        load_images(tmp_path / "a.npz")


def test_every_point_has_the_name_of_what_is_seen_there():
    names = names_of_points(images(), 0, 8)
    assert names.shape == (8, 8, 2)
    assert names[1, 1].tolist() == [KINDS.index("cube"), COLOURS.index("red")]
    assert names[1, 6].tolist() == [KINDS.index("mug"), COLOURS.index("blue")]
    assert names[6, 1].tolist() == [KINDS.index("cabinet"), COLOURS.index("brown")]
    assert names[6, 6].tolist() == [KINDS.index("robot"), 0]
    p = images()
    p.owners[:] = -1
    assert not names_of_points(p, 0, 8).any()


def test_every_point_tells_how_far_the_middle_of_what_is_there_is():
    middles = middles_of_points(images(), 0, 8)
    points = (np.arange(8) * 6 + 3.5) / 48
    assert middles[1, 1] == pytest.approx((0.25 - points[1], 0.25 - points[1]))  # the red cube's quarter
    assert middles[1, 6] == pytest.approx((0.75 - points[6], 0.25 - points[1]))
    assert middles[6, 6] == pytest.approx((0.75 - points[6], 0.75 - points[6]))  # the robot's: the gripper
    p = images()
    p.owners[:] = -1
    assert np.isnan(middles_of_points(p, 0, 8)).all()


def test_in_a_mirror_left_and_right_are_exchanged_and_nothing_else():
    p = images()
    other = mirrored(p, 0)
    assert other.places[0, 0] == pytest.approx((1 - p.places[0, 0, 0], p.places[0, 0, 1]))
    assert np.array_equal(other.pixels[0], p.pixels[0, :, ::-1])
    assert np.array_equal(names_of_points(other, 0, 8)[:, ::-1], names_of_points(p, 0, 8))
    again = mirrored(other, 0)
    assert np.allclose(again.places[0], p.places[0])
    assert not other.places[0, other.names[0] == ""].any()


def test_the_naming_head_gives_each_patch_its_own_points():
    """Only the patch whose points are wrong gets a gradient that tells it so."""
    head = NamingHead(16)
    prefix = torch.randn(1, 4, 16, requires_grad=True)
    points = torch.zeros(1, 8, 8, 2, dtype=torch.long)
    points[..., 0], points[..., 1] = 2, 1
    middles = torch.full((1, 8, 8, 2), torch.nan)
    head(prefix, points, middles)[0].backward()
    before = prefix.grad.clone()
    points[0, :4, 4:, 1] = 5  # above right: patch 1
    prefix.grad = None
    head(prefix, points, middles)[0].backward()
    changed = (prefix.grad - before).abs().amax(dim=(0, 2)) > 1e-7
    assert changed.tolist() == [False, True, False, False]


def test_an_empty_table_has_names_but_no_colours():
    points, middles = torch.zeros(1, 8, 8, 2, dtype=torch.long), torch.full((1, 8, 8, 2), torch.nan)
    loss, numbers = NamingHead(16)(torch.randn(1, 4, 16), points, middles)
    assert torch.isfinite(loss)
    assert numbers["naming_accuracy"] == 0.0


def test_only_answers_are_supervised(files):
    model, all_batches = batches(files)
    batch = all_batches[0]
    tokenizer = model.text_tokenizer
    for ids, supervised in zip(batch.ids.tolist(), batch.supervised.tolist(), strict=True):
        learned = tokenizer.decode([i for i, s in zip(ids, supervised, strict=True) if s]).split()
        assert set(learned) <= {
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
        asked = tokenizer.decode([i for i, s in zip(ids, supervised, strict=True) if not s])
        assert "?" in asked


@pytest.mark.parametrize("lacking", ["places", "answers"])
def test_a_batch_without_a_kind_of_question_learns_from_the_others(files, lacking):
    """Not the mean of nothing, which is NaN, and with which all weights are lost."""
    model, all_batches = batches(files)
    batch = all_batches[0]
    if lacking == "places":
        batch = replace(batch, places=torch.full_like(batch.places, torch.nan))
    else:
        batch = replace(batch, supervised=torch.zeros_like(batch.supervised))
    heads = Heads(TINY.hidden_size)
    loss, numbers = losses(model, heads, batch, talk=True)
    loss.backward()
    assert all(np.isfinite(number) for number in numbers.values())
    assert numbers["pointing_loss" if lacking == "places" else "answer_loss"] == 0.0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_a_plan_is_written_whole_or_not_at_all(files, tmp_path, monkeypatch):
    """Killed while it was written, it would be a pre-training that cannot go on nor begin anew."""

    def torn(path, text, **_):
        path.write_bytes(text[:20].encode())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", torn)
        with pytest.raises(KeyboardInterrupt):
            pretrain(files, tmp_path / "out", PLAN)
    check_plan(tmp_path / "out", PLAN)
    assert not (tmp_path / "out/plan.json").exists()


def test_places_are_pointed_at_from_the_end_of_their_questions(files):
    model, all_batches = batches(files)
    batch = all_batches[0]
    ends = ~batch.places[..., 0].isnan()
    assert ends.any()
    assert {model.text_tokenizer.decode([i]) for i in batch.ids[ends].tolist()} == {"?"}
    assert not (ends & batch.supervised).any()
    assert ((batch.places[ends] > 0) & (batch.places[ends] < 1)).all()


def test_a_batch_depends_on_its_number_alone(files):
    _, first = batches(files)
    _, second = batches(files)
    for step in (0, 3, 9, 1):
        a, b = first[step], second[step]
        assert torch.equal(a.ids, b.ids)
        assert torch.equal(a.images, b.images)
    assert not torch.equal(first[0].ids, first[1].ids)


def test_interrupted_and_unbroken_trainings_are_equal(files, tmp_path, monkeypatch):
    whole = pretrain(files, tmp_path / "whole", PLAN, save_every=4, log_every=2)

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
            pretrain(files, tmp_path / "broken", PLAN, save_every=4, log_every=2)
    broken = pretrain(files, tmp_path / "broken", PLAN, save_every=4, log_every=2)
    (_, expected), (_, found) = load_weights(whole), load_weights(broken)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    for out in (whole, broken):
        logged = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in logged] == [2, 4, 6, 8]
    assert {"answer_loss", "pointing_loss"} & set(logged[0]) == set()
    assert {"answer_loss", "pointing_loss", "found"} <= set(logged[-1])
    model, heads = load_pretrained(whole, PLAN)
    assert torch.equal(model.state_dict()["place"], expected["place"])
    assert heads.pointing.out.weight.shape[1] == TINY.hidden_size


def test_another_plan_is_refused(files, tmp_path):
    pretrain(files, tmp_path / "run", replace(PLAN, steps=1), log_every=1)
    with pytest.raises(InspireError, match="another steps"):
        pretrain(files, tmp_path / "run", replace(PLAN, steps=2))


def test_one_image_can_be_learned(files):
    """Everything is wired: a little model learns the names and the places of what it has seen often."""
    torch.manual_seed(0)
    model, all_batches = batches(files)
    heads = Heads(16)
    optimiser = torch.optim.Adam([*model.parameters(), *heads.parameters()], lr=1e-2)
    log = []
    for step in range(80):
        loss, numbers = losses(model, heads, all_batches[step], talk=True)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        log.append(numbers)
    for name in ("naming_loss", "pointing_loss", "answer_loss"):
        first, last = (sum(each[name] for each in part) for part in (log[:8], log[-8:]))
        assert last < 0.7 * first, name
    result = examine(model, heads, files, images=24)
    assert result.where_n == result.naming_n == 24
    assert result.naming > 0.5
    assert 0 <= result.found <= 1


def test_the_shipped_plan_reads():
    plan = read_plan(recipe_file("nano_grounding"), steps=11, seed=None)
    assert (plan.steps, plan.seed) == (11, 0)
    assert plan.nano.deep_stem
    with pytest.raises(InspireError, match="no plan"):
        read_plan(recipe_file("nano_tabletop"))


def test_the_examination_asks_about_images_from_all_files(tmp_path):
    model, heads = make_backbone(PLAN), Heads(TINY.hidden_size)
    files = []
    for number in range(3):
        files.append(tmp_path / f"{number}.npz")
        shown = images(count=8)
        shown.pixels[:] = number
        save_images(shown, files[-1])
    asked, places = point_at(model, heads, files, images=6)
    assert [int(pixels.max()) for pixels, _ in asked] == [0, 0, 1, 1, 2, 2]
    assert all(exchange.question.startswith("Where") and exchange.place for _, exchange in asked)
    assert places.shape == (6, 2)
    assert ((places > 0) & (places < 1)).all()
