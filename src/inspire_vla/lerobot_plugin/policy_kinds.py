"""The kinds of policy: the backbones with their action heads, and LeRobot's own policies. Loads no torch."""

POLICY_TYPE = "inspire_vla"
ACTION_HEADS = {
    "nano": ("tokens", "flow"),
    "minivla": ("tokens",),
    "openvla": ("tokens",),
    "pi0fast": ("tokens",),
    "image_text": ("tokens",),
    "smolvla": ("flow",),
    "pi05": ("flow",),
}
"""The action heads of each backbone, its default first. tokens: an action tokenizer, whose codes the language model
generates. flow: an expert that denoises an action chunk over the keys and values of the language model."""
LEROBOT = {"pi0_fast": ("π0-FAST", "pi0fast"), "smolvla": ("SmolVLA", "smolvla"), "pi05": ("π0.5", "pi05")}
"""LeRobot's policies by their type: a name, and the kind as which they are converted."""
