"""Nothing grows from one decision to the next."""

import gc
import tracemalloc

import torch
from tiny import Setting


def live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def test_memory_does_not_grow() -> None:
    setting = Setting(1)
    right = [d.words for d in setting.decode()]
    wrong = [dict.fromkeys(words, "up") for words in right]
    dialogues = setting.dialogues()
    setting.dialogues = lambda: dialogues

    def steps(count: int) -> None:
        for step in range(count):
            setting.decode(guesses=(right, wrong)[step % 2])

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
