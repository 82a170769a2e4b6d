"""InSpire: vision-language-action models that answer where objects are before they act (arXiv 2505.13888).

The names below are imported when they are first used, so `import inspire_vla` loads neither torch nor numpy.

    find_mentions, relate, label_arrays   label demonstrations: objects of an instruction, their directions
    load_policy, decode                   act with a trained policy
    evaluate, compare                     measure policies on a benchmark
    serve, PolicyClient                   run a policy on a robot
    split_steps, InstructionSequence      a long instruction, one step after the other
"""

TYPE_CHECKING = False  # as `typing` has it, which takes time to load: see __main__.py
if TYPE_CHECKING:
    from typing import Any

    from inspire_vla.decoding import decode
    from inspire_vla.errors import InspireError
    from inspire_vla.evaluation import compare, evaluate
    from inspire_vla.instruction import find_mentions, split_steps
    from inspire_vla.labels import label_arrays
    from inspire_vla.lerobot_plugin.agent import load_policy
    from inspire_vla.policies import serve
    from inspire_vla.serving.client import PolicyClient
    from inspire_vla.serving.instruction_sequence import InstructionSequence
    from inspire_vla.spatial import relate

__version__ = "0.1.0"

__all__ = [
    "InspireError",
    "InstructionSequence",
    "PolicyClient",
    "__version__",
    "compare",
    "decode",
    "evaluate",
    "find_mentions",
    "label_arrays",
    "load_policy",
    "relate",
    "serve",
    "split_steps",
]

_MODULES = {
    "InspireError": "errors",
    "InstructionSequence": "serving.instruction_sequence",
    "PolicyClient": "serving.client",
    "compare": "evaluation",
    "decode": "decoding",
    "evaluate": "evaluation",
    "find_mentions": "instruction",
    "label_arrays": "labels",
    "load_policy": "lerobot_plugin.agent",
    "relate": "spatial",
    "serve": "policies",
    "split_steps": "instruction",
}


def __getattr__(name: str) -> "Any":
    import importlib

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
