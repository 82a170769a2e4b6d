"""Published weights are renamed by rules; what no rule knows is named."""

import torch

from inspire_vla.backbones.published_weights import count_layers, rename_weights


def test_the_first_rule_that_matches_a_whole_name_renames_it_or_leaves_it_out():
    source = {
        name: torch.zeros(1) for name in ("model.layers.0.w", "model.layers.1.w", "model.extra.w", "head")
    }
    rules = [
        (r"model\.extra\..*", None),
        (r"model\.(.*)", r"decoder.\1"),
        (r"model\..*", "never"),
        (r"hea", "x"),
    ]
    renamed = rename_weights(source, rules)
    assert list(renamed.state) == ["decoder.layers.0.w", "decoder.layers.1.w"]
    assert renamed.state["decoder.layers.1.w"] is source["model.layers.1.w"]
    assert (renamed.dropped, renamed.unknown) == (("model.extra.w",), ("head",))


def test_layers_are_counted_by_their_highest_number():
    assert count_layers(("a.layers.2.w", "a.layers.11.w", "b.layers.30.w", "a.layers.norm"), "a.layers") == 12
