"""What reasoning costs on a GPU, for models of published sizes with random weights in bfloat16, batch 1.

    python benchmarks/gpu.py                      # or: make gpu
    python benchmarks/gpu.py --families openvla --objects 2
    python benchmarks/gpu.py --page               # writes docs/performance.md from the results, runs nothing
    python benchmarks/gpu.py --tiny               # the same code at toy sizes, on a CPU, in a minute

It needs torch, transformers and timm; neither LeRobot nor the network nor an installation of this package. It stops
after `--seconds`, and it may be killed at any time: each result is in the file as soon as it is measured. The same
command goes on with what is missing.

Three entries per family, the first kind for all families first:

    decision      base model, drafts accepted, one draft rejected, one cache without drafts, the paper's way
    cuda_graphs   the same with a static cache and CUDA graphs; families that decode action codes only
    training      a step of base and InSpire with LoRA, in pairs

The first rounds warm up and are not kept. The ways of a decision are timed in turn on one observation, in random order;
ratios are taken within an observation, or within a pair of training steps.
"""

import argparse
import gc
import importlib
import importlib.util
import os
import platform
import random
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

START = time.monotonic()
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]  # without an installation
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if importlib.util.find_spec("jaxtyping") is None:  # only annotations use it

    class _Shaped:
        def __class_getitem__(cls, item: object) -> type:
            return object

    sys.modules["jaxtyping"] = types.ModuleType("jaxtyping")
    for _name in ("Bool", "Float", "Int", "UInt8", "Shaped"):
        setattr(sys.modules["jaxtyping"], _name, _Shaped)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from overhead import gpu_page  # noqa: E402
from overhead.real_sizes import SIZES, TINY, Model, make, time_rows  # noqa: E402
from overhead.timing import MethodTimer, spread, summary  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402

from inspire_vla.backbones.attention import PREFIX, make_attention_mask  # noqa: E402
from inspire_vla.backbones.flow import FlowContext, flow_loss  # noqa: E402
from inspire_vla.backbones.hf_decoder import cuda_graphs  # noqa: E402
from inspire_vla.dialogue import render  # noqa: E402
from inspire_vla.errors import InspireError  # noqa: E402
from inspire_vla.files import write_json  # noqa: E402

WEIGHT = {"decision": 3, "cuda_graphs": 3, "training": 2}
"""Kinds of entries, the most important first, and their shares of the time."""
WARM_UP = {"decision": 1, "cuda_graphs": 3, "training": 2}
"""Rounds that are not kept. CUDA graphs compile in the first and are recorded in the second."""
LORA_RANK = 32
BATCH_SIZES = (8, 4, 2, 1)
"""Of a training step: the first that fits into memory."""


class Skipped(Exception):
    """An entry that cannot be measured here. The text says why."""


@dataclass(frozen=True)
class Settings:
    """What to run, and how long.

    Attributes:
        rows: observations per number of objects, and pairs of training steps.
        deadline: on the clock of `time.monotonic`.
    """

    tiny: bool
    device: str
    dtype: torch.dtype
    depth: float
    objects: tuple[int, ...]
    rows: int
    deadline: float

    def model(self, family: str) -> Model:
        return make((TINY if self.tiny else SIZES)[family], self.device, self.dtype, self.depth)


class Results:
    """The file of results, written after each change."""

    def __init__(self, path: Path, origin: dict[str, Any]) -> None:
        """Raises InspireError for a file that was measured under other conditions."""
        self.path = path
        data = gpu_page.read(path) or {"origin": origin, "entries": {}}
        fixed = ("commit", "versions", "machine", "dtype", "depth", "tiny")
        other = [name for name in fixed if data["origin"].get(name) != origin[name]]
        if other:
            raise InspireError(
                f"{path} was measured with another {' and '.join(other)}. Name another file with --out, or remove it."
            )
        self.data = data

    def __getitem__(self, name: str) -> dict[str, Any]:
        return self.data["entries"].get(name, {})

    def put(self, name: str, **values: Any) -> None:
        entry = self.data["entries"].setdefault(name, {})
        entry |= values
        for reason in ("skipped", "failed"):  # of an earlier try
            if reason not in values:
                entry.pop(reason, None)
        write_json(self.path, self.data)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--families", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--kinds", nargs="+", choices=list(WEIGHT), default=list(WEIGHT))
    parser.add_argument("--objects", type=int, nargs="+", choices=(1, 2, 3), default=[2, 1, 3])
    parser.add_argument("--rows", type=int, help="observations per number of objects (default 20; tiny: 2)")
    parser.add_argument("--seconds", type=float, default=440, help="no new measurement begins after so long")
    parser.add_argument("--limit", type=float, default=475, help="the process ends after so long")
    parser.add_argument("--depth", type=float, default=1.0, help="share of the layers, if memory is short")
    parser.add_argument("--device", help="default: cuda, or cpu where there is none and with --tiny")
    parser.add_argument("--commit", help="where git does not know it")
    parser.add_argument("--out", type=Path, help=f"default: {gpu_page.RESULTS.relative_to(ROOT)}")
    parser.add_argument("--tiny", action="store_true", help="toy sizes in float32, for tests")
    parser.add_argument("--page", action="store_true", help="only write docs/performance.md")
    args = parser.parse_args()
    if args.page:
        gpu_page.write(args.out or gpu_page.RESULTS)
        return
    device = args.device or ("cuda" if torch.cuda.is_available() and not args.tiny else "cpu")
    if device == "cpu" and not args.tiny and args.depth == 1:
        parser.error("no GPU was found: give --tiny, or --device cpu with a small --depth")
    if device != "cpu" and not torch.cuda.is_available():
        parser.error(f"torch {torch.__version__} finds no GPU")
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    name = "gpu_tiny.json" if args.tiny else "gpu_cpu.json"
    out = args.out or (gpu_page.RESULTS if device != "cpu" and not args.tiny else ROOT / "runs" / name)
    if args.tiny and out.resolve() == gpu_page.RESULTS:
        parser.error("toy sizes are not published: name another file with --out")
    watchdog = threading.Timer(max(1.0, args.limit - (time.monotonic() - START)), _end, [out])
    watchdog.daemon = True  # a compiler cannot be interrupted in another way
    watchdog.start()
    settings = Settings(
        args.tiny,
        device,
        dtype,
        args.depth,
        tuple(args.objects),
        args.rows or (2 if args.tiny else 20),
        START + args.seconds,
    )
    try:
        results = Results(out, origin(settings, args.commit))
        measure(settings, results, args.families, args.kinds)
    except InspireError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print(f"Stopped; {out} has what was measured. The same command goes on.")
    if out.resolve() == gpu_page.RESULTS:
        gpu_page.write(out)
    print(f"Results: {out}")


def _end(out: Path) -> None:
    print(f"The time is over; {out} has what was measured. The same command goes on.", flush=True)
    os._exit(0)


def measure(settings: Settings, results: Results, families: list[str], kinds: list[str]) -> None:
    """Measure what is missing. An entry that fails is noted, and the next one begins."""
    todo = [(kind, family) for kind in kinds for family in families]
    for number, (kind, family) in enumerate(todo):
        name = f"{family}/{kind}"
        if results[name].get("complete"):
            continue
        left = settings.deadline - time.monotonic()
        if left < 0:
            print(f"{name}: no time left", flush=True)
            continue
        share = WEIGHT[kind] / sum(WEIGHT[k] for k, _ in todo[number:])
        until = time.monotonic() + left * share
        if settings.device != "cpu":
            torch.cuda.reset_peak_memory_stats()
        try:
            if kind == "training":
                measure_training(name, settings, results, until)
            else:
                measure_decisions(family, kind, settings, results, until)
        except Skipped as reason:
            results.put(name, skipped=str(reason))
        except Exception as error:  # also what compilers and drivers raise
            text = str(error).strip().splitlines()
            results.put(name, failed=f"{type(error).__name__}: {text[0] if text else ''}"[:300])
        finally:
            torch.compiler.reset()
            gc.collect()
            if settings.device != "cpu":
                torch.cuda.empty_cache()
        shown = {k: v for k, v in results[name].items() if k in ("skipped", "failed", "complete")}
        print(f"{name}: {shown or 'to be continued'}, {time.monotonic() - START:.0f} s", flush=True)


def measure_decisions(family: str, kind: str, settings: Settings, results: Results, until: float) -> None:
    name, on_gpu = f"{family}/{kind}", settings.device != "cpu"
    model = settings.model(family)
    if kind == "cuda_graphs":
        if model.flow is not None:
            raise Skipped("a flow expert's policy has no pass of one token, which alone is a graph")
        # On a CPU the static cache runs without a compiler.
        model.backbone.use_static_cache(longest(model, settings), cuda_graphs if on_gpu else None)
    timer = MethodTimer(model.backbone, model.grammar, model.flow)
    warm = [(-1 - n, count) for n in range(WARM_UP[kind]) for count in settings.objects]
    for _ in time_rows(model, timer, warm, per_question=settings.rows):
        pass
    rows = list(results[name].get("rows", []))
    done = {(row["repeat"], row["objects"]) for row in rows}
    todo = [(n, count) for n in range(settings.rows) for count in settings.objects]
    missing = [each for each in todo if each not in done]
    for row in time_rows(model, timer, missing, per_question=settings.rows):
        rows.append(row)
        results.put(
            name,
            title=model.size.title,
            parameters=model.parameters,
            compiled=kind == "cuda_graphs" and on_gpu,
            memory_gib=peak_gib(settings),
            complete=len(rows) >= len(todo),
            summary=summary(rows),
            rows=rows,
        )
        if time.monotonic() > until:
            break


def longest(model: Model, settings: Settings) -> int:
    """Columns of the longest sequence, rounded up to whole blocks of 64."""
    with torch.inference_mode():
        prefix = model.backbone.encode_observation(model.images(0), None).shape[1]
    texts = [model.grammar.plan(model.dialogue(count)).texts for count in settings.objects]
    text = max(sum(map(len, each)) + 4 * len(each) for each in texts)
    return -(-(prefix + text + 7 * model.size.horizon) // 64) * 64


def measure_training(name: str, settings: Settings, results: Results, until: float) -> None:
    if importlib.util.find_spec("peft") is None:
        raise Skipped("peft is not installed")
    for rows in BATCH_SIZES if settings.device != "cpu" else (2,):
        try:
            _train(name, rows, settings, results, until)
            return
        except torch.OutOfMemoryError:
            if rows == BATCH_SIZES[-1]:
                raise
        gc.collect()
        torch.cuda.empty_cache()


def _train(name: str, rows: int, settings: Settings, results: Results, until: float) -> None:
    model = settings.model(name.partition("/")[0])
    steps = TrainingSteps(model, rows)
    pairs: list[list[float]] = []
    for number, pair in enumerate(steps.pairs(WARM_UP["training"] + settings.rows)):
        if number < WARM_UP["training"]:
            continue
        pairs.append(pair)
        base, inspire = np.array(pairs).T
        results.put(
            name,
            title=model.size.title,
            parameters=model.parameters - steps.added,
            lora_parameters=steps.added,
            batch_size=rows,
            memory_gib=peak_gib(settings),
            complete=len(pairs) >= settings.rows,
            ms={"base": spread(1e3 * base), "inspire": spread(1e3 * inspire)},
            ratio=spread(inspire / base),
            pairs=(1e3 * np.array(pairs)).round(3).tolist(),
        )
        if time.monotonic() > until:
            return


class TrainingSteps:
    """Loss, gradient and AdamW step of a LoRA, for the base model and InSpire with the same weights and images."""

    def __init__(self, model: Model, rows: int) -> None:
        peft = importlib.import_module("peft")
        self.model, self.rows = model, rows
        holder = nn.Module()
        holder.backbone = model.backbone
        if model.flow is not None:
            holder.expert = model.flow.expert
        before = model.parameters
        adapter = peft.LoraConfig(
            r=LORA_RANK, lora_alpha=LORA_RANK, target_modules=model.backbone.lora_targets
        )
        peft.inject_adapter_in_model(adapter, holder)
        self.added = model.parameters - before
        for name in model.backbone.trained_whole:
            holder.get_submodule(name).requires_grad_(True)
        parameters = [p for p in holder.train().parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-6)
        self.images, self.rng = model.images(0, rows), np.random.default_rng(0)
        self.order = random.Random(0)

    def pairs(self, count: int) -> Iterator[list[float]]:
        """(seconds of base, seconds of InSpire), in random order within a pair."""
        for _ in range(count):
            times = [0.0, 0.0]
            for inspire in self.order.sample((False, True), 2):
                times[inspire] = self._seconds(inspire)
            yield times

    def _seconds(self, inspire: bool) -> float:
        on_gpu = self.model.backbone.device.type == "cuda"
        wait: Callable[[], object] = torch.cuda.synchronize if on_gpu else lambda: None
        clock = time.perf_counter if on_gpu else time.process_time
        wait()
        start = clock()
        self.loss(inspire).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        wait()
        return clock() - start

    def loss(self, inspire: bool) -> Tensor:
        """Cross-entropy of answers and action codes, or of answers, and the error of a flow expert's velocity."""
        model, backbone = self.model, self.model.backbone
        dialogue = model.dialogue(2, reasoning=inspire)
        if inspire:
            dialogue = dialogue.with_answers([model.grammar.answers.words[0]] * 2)
        codes = None
        if model.grammar.action_vocabulary is not None:
            codes = model.grammar.action_vocabulary.to_ids(self.rng.integers(0, 256, 7 * model.size.horizon))
        rendered = render(dialogue, backbone.text_tokenizer, codes)
        ids, types, mask = (
            torch.from_numpy(array).to(backbone.device).expand(self.rows, -1)
            for array in (rendered.ids, rendered.token_types.astype(np.int64), rendered.loss_mask)
        )
        prefix = backbone.encode_observation(self.images, None)
        read = slice(None, -1 if model.flow is None else None)  # nothing is predicted behind the last code
        text = backbone.embed_sequence(ids[:, read], types[:, read], model.states(self.rows))
        column_types = torch.cat([types.new_full(prefix.shape[:2], PREFIX), types[:, read]], dim=1)
        attention_mask = make_attention_mask(column_types, bidirectional_prefix=backbone.bidirectional_prefix)
        # The state before an id predicts it.
        before = mask.new_zeros(self.rows, prefix.shape[1] - 1)
        behind = mask.new_zeros(self.rows, 0 if model.flow is None else 1)
        loss_mask = torch.cat([before, mask, behind], dim=1)
        embeddings = torch.cat([prefix, text], dim=1)
        if model.flow is None:
            logits = backbone(embeddings, loss_mask, attention_mask=attention_mask)
            return cross_entropy(logits.float(), ids[mask])
        logits, key_values = backbone.forward_with_key_values(
            embeddings, loss_mask, attention_mask=attention_mask
        )
        expert = model.flow.expert
        noise, moment = (
            torch.from_numpy(array.astype(np.float32)).to(backbone.device)
            for array in (
                expert.sample_noise(self.rows, self.rng),
                expert.sample_time(self.rows, self.rng),
            )
        )
        context = FlowContext.of(key_values, column_types, expert.horizon)
        loss = flow_loss(expert, context, torch.zeros_like(noise[..., :7]), noise=noise, time=moment)
        return loss + cross_entropy(logits.float(), ids[mask]) if inspire else loss


def peak_gib(settings: Settings) -> float | None:
    """The largest GPU memory since the entry began; None on a CPU."""
    return None if settings.device == "cpu" else round(torch.cuda.max_memory_allocated() / 2**30, 2)


def origin(settings: Settings, commit: str | None) -> dict[str, Any]:
    """What a reader needs to repeat a run. Names no user and no host."""
    machine: dict[str, Any] = {"device": settings.device, "processor": platform.machine()}
    if settings.device != "cpu":
        machine["gpu"] = torch.cuda.get_device_name()
        machine["memory_gib"] = round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
        machine["cuda"] = torch.version.cuda
    versions = {"python": platform.python_version()}
    for package in ("torch", "transformers", "timm", "peft", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "command": "make gpu" if not settings.tiny else "gpu.py --tiny",
        "commit": commit or _commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions,
        "machine": machine,
        "dtype": str(settings.dtype).removeprefix("torch."),
        "depth": settings.depth,
        "tiny": settings.tiny,
    }


def _commit() -> str:
    try:
        command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


if __name__ == "__main__":
    main()
