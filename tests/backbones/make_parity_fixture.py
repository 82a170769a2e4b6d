"""Make a parity fixture from the original code and weights, in the environment of the original.

    python make_parity_fixture.py openvla openvla/openvla-7b parity.npz          transformers 4.40, timm 0.9
    python make_parity_fixture.py minivla RUN/checkpoints/latest-checkpoint.pt parity.npz       openvla-mini installed
    python make_parity_fixture.py pi0fast lerobot/pi0fast-base parity.npz        LeRobot's own pi0_fast

A fixture holds input and output, in float32 on the CPU:

    images (image, 224, 224, 3) uint8, so that nothing is resized
    input_ids (T,) int64, the whole text from its first token on
    given () int64, how many of them attend bidirectionally with the images (pi0fast; else 0)
    logits (T', vocabulary) float32 of the whole sequence, images included

Then convert the weights with `inspire convert … --dtype float32 --to FOLDER`, and compare here:

    python -m tests.backbones.test_parity_fixture FOLDER parity.npz
"""

import sys

import numpy as np

PROMPT = "In: What action should the robot take to pick up the red cube?\nOut: "
SEED = 0


def images(count):
    """Noise, so that every patch differs."""
    return np.random.default_rng(SEED).integers(0, 255, (count, 224, 224, 3), dtype=np.uint8)


def write(path, shown, input_ids, given, logits):
    """Write the fixture."""
    np.savez_compressed(
        path, images=shown, input_ids=np.asarray(input_ids, dtype=np.int64), given=np.int64(given),
        logits=np.asarray(logits, dtype=np.float32),
    )  # fmt: skip


def openvla(source, path):
    import torch
    from PIL import Image
    from transformers import AutoModelForVision2Seq, AutoProcessor

    processor = AutoProcessor.from_pretrained(source, trust_remote_code=True)
    model = AutoModelForVision2Seq.from_pretrained(
        source, trust_remote_code=True, torch_dtype=torch.float32
    ).eval()
    shown = images(1)
    inputs = processor(PROMPT, Image.fromarray(shown[0]))
    with torch.no_grad():
        logits = model(**inputs).logits[0]
    write(path, shown, inputs["input_ids"][0], 0, logits)


def minivla(source, path):
    import torch
    from PIL import Image
    from prismatic.models import load_vla

    model = load_vla(source, load_for_training=False).float().eval()
    shown = images(1)
    pixels = model.vision_backbone.get_image_transform()(Image.fromarray(shown[0]))
    pixels = {key: value[None] for key, value in pixels.items()}
    text = "<|im_start|>user\nWhat action should the robot take to pick up the red cube?<|im_end|>\n"
    ids = model.llm_backbone.tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels).logits[0]
    write(path, shown, ids[0], 0, logits)


def pi0fast(source, path):
    import torch
    from lerobot.policies.pi0_fast.modeling_pi0_fast import PI0FastPolicy
    from transformers import AutoTokenizer

    policy = PI0FastPolicy.from_pretrained(source).float().eval()
    paligemma = policy.model.paligemma_with_expert.paligemma
    shown = images(1)
    pixels = torch.from_numpy(shown).permute(0, 3, 1, 2).float() / 127.5 - 1
    tokenizer = AutoTokenizer.from_pretrained("google/paligemma-3b-pt-224")
    prompt = tokenizer.encode("<bos>Task: pick up the red cube, State: 12 200;\n", add_special_tokens=False)
    ids = [*prompt, *tokenizer.encode("Action: ", add_special_tokens=False)]
    with torch.no_grad():
        patches = paligemma.model.get_image_features(pixels)
        patches = getattr(patches, "pooler_output", patches)
        text = paligemma.model.language_model.get_input_embeddings()(torch.tensor([ids]))
        elements = torch.cat([patches, text], 1)
        given, total = patches.shape[1] + len(prompt), elements.shape[1]
        sees = torch.ones(total, total).tril().bool()
        sees[:given, :given] = True
        hidden = paligemma.model.language_model(
            inputs_embeds=elements, attention_mask=torch.where(sees, 0.0, -1e9)[None, None],
            position_ids=torch.arange(total)[None],
        ).last_hidden_state  # fmt: skip
        logits = paligemma.lm_head(hidden)[0]
    write(path, shown, ids, len(prompt), logits)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("openvla", "minivla", "pi0fast"):
        sys.exit(__doc__)
    {"openvla": openvla, "minivla": minivla, "pi0fast": pi0fast}[sys.argv[1]](sys.argv[2], sys.argv[3])
