"""Ragged rows over one cache equal the rows alone, whatever is truncated; and decisions leave no memory behind."""

import gc
import resource
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.backbones.tiny import Setting, mask_by_definition

from inspire_vla.backbones.attention import PAD
from inspire_vla.decoding import BatchedKVDecoder, Token
from inspire_vla.dialogue import TokenType


@torch.inference_mode()
@pytest.mark.parametrize("seed", range(4))
def test_rows_of_any_length_are_the_rows_alone(seed: int) -> None:
    """Extend by random lengths and truncate at random; what is left equals one forward pass."""
    setting = Setting(seed)
    backbone, rng = setting.backbone, np.random.default_rng(seed)
    rows = len(setting.prefix)
    decoder = BatchedKVDecoder(backbone, setting.prefix)
    kept: list[list[Token]] = [[] for _ in range(rows)]
    hidden: list[list[torch.Tensor]] = [[] for _ in range(rows)]
    passes = 0
    for step in range(6):
        new_tokens = [
            [Token(int(i), TokenType.TEXT) for i in rng.integers(0, 200, rng.integers(step == 0, 5))]
            for _ in range(rows)
        ]
        if not any(new_tokens):
            continue
        outputs = decoder.extend(new_tokens)
        passes += 1
        counts = [int(rng.integers(0, len(tokens) + 1)) for tokens in new_tokens]
        decoder.truncate(counts)
        for row, (tokens, count) in enumerate(zip(new_tokens, counts, strict=True)):
            kept[row] += tokens[:count]
            hidden[row] += outputs[row, :count]
        assert decoder.forward_passes == passes
        lengths = (decoder.token_types != PAD).sum(1)
        assert lengths.tolist() == [setting.prefix.shape[1] + len(row) for row in kept]
    for row, tokens in enumerate(kept):
        if tokens:
            ids, token_types = zip(*tokens, strict=True)
            elements = torch.cat([setting.prefix[[row]], backbone.embed(torch.tensor([ids]))], 1)
            attention_mask = mask_by_definition(setting.prefix.shape[1], list(token_types))
            alone = backbone.extend(elements, attention_mask=attention_mask[None])[
                0, setting.prefix.shape[1] :
            ]
            torch.testing.assert_close(torch.stack(hidden[row]), alone, rtol=1e-3, atol=1e-4)


def live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


@pytest.mark.e2e
def test_ten_thousand_decisions_leave_nothing() -> None:
    """Rows alone and together, drafts right, wrong and none: the process is no bigger in the end than early on."""
    setting = Setting(1)
    right = [d.answers_by_mention for d in setting.decode()]
    wrong = [dict.fromkeys(words, "up") for words in right]
    dialogues = setting.dialogues()
    setting.dialogues = lambda: dialogues
    noted = {}
    for step in range(1, 10_001):
        rows = list(range(4)) if step % 20 == 0 else [step % 4]
        drafts = (right, wrong, [{}] * 4)[step % 3]
        setting.decode(rows, drafts=[drafts[row] for row in rows])
        if step % 1000 == 0:
            noted[step] = (resident_mib(), live_tensors())
    print(noted)
    assert noted[10_000][0] - noted[1000][0] < 4
    assert noted[10_000][1] == noted[1000][1]


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize() / 2**20


def test_memory_does_not_grow() -> None:
    setting = Setting(1)
    right = [d.answers_by_mention for d in setting.decode()]
    wrong = [dict.fromkeys(words, "up") for words in right]
    dialogues = setting.dialogues()
    setting.dialogues = lambda: dialogues

    def steps(count: int) -> None:
        for step in range(count):
            setting.decode(drafts=(right, wrong)[step % 2])

    steps(10)
    tensors = live_tensors()
    tracemalloc.start()
    steps(10)
    before = tracemalloc.get_traced_memory()[0]
    steps(40)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert live_tensors() == tensors
    assert after - before < 20_000, f"{after - before} bytes in 40 steps"
