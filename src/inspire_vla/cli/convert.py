"""inspire convert: published weights become a checkpoint of ours."""

import argparse

from inspire_vla.errors import InspireError

KINDS = ("openvla", "minivla", "pi0fast", "image_text", "lora")


def convert_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--from", dest="kind", choices=KINDS, required=True, help="what the weights are")
    sub.add_argument("path", help="folder (or .pt file) of the published weights")
    sub.add_argument("--to", dest="out", required=True, help="folder of the checkpoint, to be made")
    sub.add_argument(
        "--allow-partial", action="store_true", help="write it though tensors are missing or unexpected"
    )
    sub.add_argument("--tokenizer", help="folder of the language model's tokenizer, where it comes apart")
    sub.add_argument("--vq", help="minivla: folder of its pretrain_vq weights")
    sub.add_argument("--fast", help="pi0fast: folder of the FAST processor's files")
    sub.add_argument("--statistics", metavar="DATASET", help="whose units, where the model knows several")
    sub.add_argument(
        "--gripper", default="as_trained", help="as_trained (default), or libero: -1 open … +1 closed"
    )
    sub.add_argument("--cameras", nargs="+", metavar="NAME", help="observation.images.NAME of each image")
    for name in ("--action-dim", "--chunk-size", "--state-dim"):
        sub.add_argument(name, type=int, help="default: the checkpoint's")
    sub.add_argument(
        "--prompt", default="openpi", help="pi0fast: openpi (default) or lerobot, who trained it"
    )
    sub.add_argument("--dtype", default="bfloat16", help="of the weights; default: %(default)s")
    sub.add_argument("--action-tokens", default="added", help="image_text: added (default) or reserved")


def convert(options: argparse.Namespace) -> None:
    """Convert, and print what was matched."""
    from inspire_vla.lerobot_plugin.convert import Options
    from inspire_vla.lerobot_plugin.convert import convert as convert_weights

    names = Options.__dataclass_fields__
    given = {name: value for name, value in vars(options).items() if name in names and value is not None}
    if "cameras" in given:
        given["cameras"] = tuple(given["cameras"])
    for name in ("action_dim", "chunk_size", "state_dim"):
        if given.get(name, 1) < 1:
            raise InspireError(f"--{name.replace('_', '-')} must be at least 1, found {given[name]}.")
    report = convert_weights(
        options.kind, options.path, options.out, allow_partial=options.allow_partial, options=Options(**given)
    )
    print(report)
    print(f"Checkpoint: {report.out}")
