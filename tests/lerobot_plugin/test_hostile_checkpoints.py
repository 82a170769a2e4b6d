"""A checkpoint of a stranger runs no code and writes no file, by whatever road it is loaded; it is refused by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lerobot
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from inspire_vla.cli import main
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.checkpoint_files import ADAPTER_CONFIG, CONFIG, POSTPROCESSOR, PREPROCESSOR
from inspire_vla.lerobot_plugin.checkpoint_schema import TOKENIZER_STEP, check_checkpoint, read_train_config
from inspire_vla.lerobot_plugin.checkpoints import SHIPPED
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.lerobot_plugin.processor_inspire_vla import InspireVLATokenizerStep
from inspire_vla.lerobot_plugin.text_files import unpacked
from inspire_vla.lerobot_plugin.tokenizer_files import check_tokenizer_files, without_code_names

Attack = Callable[[Path, Path], None]


def edit(path: Path, change: Callable[[Any], None]) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def step(name: str = PREPROCESSOR, at: int = 0, **changes: Any) -> Attack:
    """Change one step of a processor; a value of None removes the key. MARK stands for the file of evidence."""

    def attack(folder: Path, mark: Path) -> None:
        def change(pipeline: Any) -> None:
            text = json.dumps(pipeline["steps"][at] | changes).replace("MARK", str(mark))
            pipeline["steps"][at] = {k: v for k, v in json.loads(text).items() if v is not None}

        edit(folder / name, change)

    return attack


def more_settings(at: int, **settings: Any) -> Attack:
    def attack(folder: Path, mark: Path) -> None:
        edit(folder / PREPROCESSOR, lambda pipeline: pipeline["steps"][at]["config"].update(settings))

    return attack


def tokenizer_file(name: str, content: str) -> Attack:
    """Add a file to those that the tokenizer step holds."""

    def attack(folder: Path, mark: Path) -> None:
        (path,) = folder.glob("*inspire_vla_tokenizer.safetensors")
        inside = name.replace("MARK", str(mark)).replace("UP", "../" * 12)
        data = np.frombuffer(content.replace("MARK", str(mark)).encode(), np.uint8)
        save_file(load_file(path) | {inside: data}, path)

    return attack


def tokenizer_setting(key: str, value: Any) -> Attack:
    def attack(folder: Path, mark: Path) -> None:
        (path,) = folder.glob("*inspire_vla_tokenizer.safetensors")
        files, name = load_file(path), "text_tokenizer/tokenizer_config.json"
        config = json.loads(files[name].tobytes()) | {key: value}
        files[name] = np.frombuffer(json.dumps(config).encode(), np.uint8)
        save_file(files, path)

    return attack


def adapter(**settings: Any) -> Attack:
    def attack(folder: Path, mark: Path) -> None:
        base = {"peft_type": "LORA", "base_model_name_or_path": str(SHIPPED / "nano_inspire")}
        (folder / ADAPTER_CONFIG).write_text(json.dumps(base | settings), encoding="utf-8")
        shutil.copy(folder / "model.safetensors", folder / "adapter_model.safetensors")

    return attack


def train_config(**settings: Any) -> Attack:
    def attack(folder: Path, mark: Path) -> None:
        edit(folder / "train_config.json", lambda config: config.update(settings))

    return attack


POPEN = {"registry_name": None, "config": {"args": "touch MARK", "shell": True}, "state_file": None}
CODE = "open('MARK', 'w')"
ATTACKS: dict[str, tuple[Attack, str]] = {
    "class": (step(**POPEN | {"class": "subprocess.Popen"}), r"names the class 'subprocess\.Popen'"),
    "class_beside_name": (step(at=1, **{"class": "subprocess.Popen"}), "names the class"),
    "post_class": (step(POSTPROCESSOR, **POPEN | {"class": "subprocess.Popen"}), "names the class"),
    "remote_code": (
        step(
            registry_name="action_tokenizer_processor",
            config={"action_tokenizer_name": "x/y", "trust_remote_code": True},
        ),
        "the step 'action_tokenizer_processor', which is not run",
    ),
    "text_tokenizer": (
        step(registry_name="tokenizer_processor", config={"tokenizer_name": "x/y"}),
        "the step 'tokenizer_processor'",
    ),
    "our_step_in_post": (step(POSTPROCESSOR, registry_name=TOKENIZER_STEP), "which is not run"),
    "settings": (more_settings(0, trust_remote_code=True), "trust_remote_code"),
    "settings_of_ours": (more_settings(3, tokenizer="x/y"), "tokenizer"),
    "tasks_of_no_suite": (more_settings(3, training_tasks={"x": ["y"]}), "that training_suites lacks"),
    "tasks": (
        more_settings(3, training_tasks={"tabletop_seen": [{"a": 1}]}),
        r"training_tasks\.tabletop_seen",
    ),
    "device": (more_settings(4, device="cpu; touch MARK"), "device"),
    "state_up": (step(at=2, state_file="../other.safetensors"), "no plain name"),
    "state_absolute": (step(at=3, state_file="/etc/passwd"), "no plain name"),
    "state_pickle": (step(at=3, state_file="state.bin"), "no plain name"),
    "file_up": (tokenizer_file("text_tokenizer/UPMARK", "x"), "holds a file"),
    "file_absolute": (tokenizer_file("text_tokenizer/MARK", "x"), "holds a file"),
    "file_up_json": (tokenizer_file("text_tokenizer/../../x.json", "{}"), "holds a file"),
    "file_code": (tokenizer_file("text_tokenizer/code.py", CODE), "holds a file"),
    "file_pickle": (tokenizer_file("action_tokenizer/x.pkl", CODE), "holds a file"),
    "file_elsewhere": (tokenizer_file("cache/x.json", "{}"), "holds a file"),
    "auto_map": (tokenizer_setting("auto_map", {"AutoTokenizer": [None, "code.Tokenizer"]}), "auto_map"),
    "hub_class": (tokenizer_setting("tokenizer_class", "evil/repo--code.Tokenizer"), "tokenizer_class"),
    "kernel": (tokenizer_file("text_tokenizer/config.json", '{"attn_implementation": "x/y"}'), "attn"),
    "nested_kernel": (
        tokenizer_file("text_tokenizer/config.json", '{"text_config": {"_attn_implementation": "x/y:z"}}'),
        "attn",
    ),
    "processor": (
        tokenizer_file("text_tokenizer/processor_config.json", '{"auto_map": {"AutoProcessor": "code.P"}}'),
        "auto_map",
    ),
    "other_policy": (
        lambda folder, mark: edit(folder / CONFIG, lambda config: config.update(type="pi0_fast")),
        "of type 'pi0_fast'",
    ),
    "adapter_module": (adapter(auto_mapping={"parent_library": "antigravity"}), "module 'antigravity'"),
    "adapter_core": (adapter(megatron_config={}, megatron_core="antigravity"), "megatron"),
    "adapter_kind": (adapter(peft_type="CUSTOM"), "peft_type"),
    "reward_model": (train_config(reward_model={"type": "reward_classifier", "model_name": "x/y"}), "reward"),
    "job": (train_config(job={"target": "a100-large"}), "trains on 'a100-large'"),
    "hub_env": (train_config(env={"type": "hub", "hub_path": "x/y"}), "environment from the hub"),
    "policy_path": (train_config(policy={"path": "x/y"}), "trains a policy of type None"),
}


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED / "nano_inspire", tmp_path / "stranger"))


def roads(folder: Path) -> dict[str, Callable[[], object]]:
    """Every way in which a checkpoint's files are read."""
    return {
        "serve, evaluate, convert": lambda: load_policy(folder, device="cpu"),
        "LeRobot's commands": lambda: InspireVLAPolicy.from_pretrained(folder),
    }


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_runs_nothing(name: str, stranger: Path, tmp_path: Path) -> None:
    attack, told = ATTACKS[name]
    mark = tmp_path / "mark"
    attack(stranger, mark)
    before = sorted(tmp_path.rglob("*"))
    for load in roads(stranger).values():
        with pytest.raises(InspireError, match=told):
            load()
    assert not mark.exists()
    assert sorted(tmp_path.rglob("*")) == before


def test_train_from_refuses_before_lerobot_reads_it(
    stranger: Path, labelled_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ATTACKS["class"][0](stranger, tmp_path / "mark")
    words = [
        "train",
        "--dataset",
        str(labelled_dataset),
        "--from",
        str(stranger),
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(words) == 2
    assert "names the class" in capsys.readouterr().err
    assert not (tmp_path / "mark").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("command", "makes"),
    [
        ("scripts/lerobot_eval.py", "make_policy("),
        ("scripts/lerobot_train.py", "make_policy("),
        ("async_inference/policy_server.py", "policy_class.from_pretrained("),
        ("rollout/context.py", "policy_class.from_pretrained("),
    ],
)
def test_lerobots_commands_make_the_policy_before_the_processors(command: str, makes: str) -> None:
    """So the check in `InspireVLAPolicy.from_pretrained` comes first."""
    source = (Path(lerobot.__file__).parent / command).read_text(encoding="utf-8")
    assert source.index(makes) < source.index(" = make_pre_post_processors(")


def test_our_step_checks_itself_where_lerobot_loads_it_alone(tmp_path: Path) -> None:
    with pytest.raises(InspireError, match="code"):
        InspireVLATokenizerStep(code="x/y")
    with pytest.raises(InspireError, match="leads out of its folder"), unpacked({"../x.json": b"{}"}):
        pass


def test_what_we_write_and_ship_passes() -> None:
    for shipped in SHIPPED.glob("nano_*/policy_preprocessor.json"):
        check_checkpoint(shipped.parent)
        assert read_train_config(shipped.parent / "train_config.json").policy["type"] == "inspire_vla"


def test_a_published_model_is_converted_without_the_code_it_names() -> None:
    files = {
        "config.json": json.dumps({"model_type": "qwen2_vl", "auto_map": {"AutoModel": "code.M"}}).encode(),
        "tokenizer.json": b'{"model": {"vocab": {"auto_map": 7}}}',
    }
    kept = without_code_names(files)
    assert json.loads(kept["config.json"]) == {"model_type": "qwen2_vl"}
    assert kept["tokenizer.json"] == files["tokenizer.json"]
    written = {f"text_tokenizer/{name}": content for name, content in kept.items()}
    check_tokenizer_files(written | {"action_tokenizer/action_tokenizer.json": b"{}"})
