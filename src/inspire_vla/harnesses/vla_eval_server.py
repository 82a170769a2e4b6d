"""A model server of vla-evaluation-harness (`vla-eval`) for our checkpoints.

    python -m inspire_vla.harnesses.vla_eval_server --args.checkpoint=runs/inspire --args.convention=libero

The harness runs the simulator and sends one observation a control step:

    {"images": {"agentview": (H, W, 3) uint8, …}, "states": (state_dim,), "task_description": instruction}

A convention says what a benchmark sends and expects. The server declares it in the harness's own specs, and the harness
warns about what does not match before an episode starts. The last answers of an episode are the drafts of its next
decision, and policies with several observation steps get the images of each step.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from inspire_vla.backbones.devices import check_device
from inspire_vla.episode_conventions import MAX_UNDECODABLE_IN_A_ROW
from inspire_vla.errors import InspireError, did_you_mean, reason_of
from inspire_vla.harnesses import how_to_install
from inspire_vla.observation_history import ObservationHistory
from inspire_vla.serving.observations import (
    EXAMPLE_INSTRUCTION,
    STATE_KEY,
    ObservationReader,
    Options,
    check_cameras,
)
from inspire_vla.serving.runtime import check_port

try:
    from vla_eval.model_servers.base import SessionContext
    from vla_eval.model_servers.predict import PredictModelServer
    from vla_eval.model_servers.serve import run_server
    from vla_eval.specs import (
        GRIPPER_01,
        GRIPPER_CLOSE_POS,
        IMAGE_RGB,
        LANGUAGE,
        POSITION_DELTA,
        RAW,
        ROTATION_AA,
        ROTATION_EULER,
        STATE_EEF_POS_AA_GRIP,
        DimSpec,
    )
except ModuleNotFoundError as error:
    if error.name != "vla_eval":
        raise
    if __name__ == "__main__":
        sys.exit(f"error: {how_to_install('vla-eval')}")
    raise ModuleNotFoundError(how_to_install("vla-eval"), name=error.name) from None

LOG = logging.getLogger(__name__)
MAX_PORT = 65_535


@dataclass(frozen=True)
class Convention:
    """What a benchmark sends and expects.

    Attributes:
        action: specs of the seven numbers, three of position, three of rotation, one of the gripper.
        open_gripper: the command that opens the gripper.
        cameras: camera of the policy → camera of the benchmark.
        state: spec of the state.
        parameters: of the benchmark, besides those that follow from the policy's inputs.
    """

    action: Mapping[str, DimSpec]
    open_gripper: float
    cameras: Mapping[str, str]
    state: DimSpec
    parameters: Mapping[str, Any] = field(default_factory=dict)


CONVENTIONS = {
    # Our LIBERO data and LeRobot's take robosuite's axis-angle, which does not choose the shorter of two rotations.
    "libero": Convention(
        {"position": POSITION_DELTA, "rotation": ROTATION_AA, "gripper": GRIPPER_CLOSE_POS},
        open_gripper=-1.0,
        cameras={"image": "agentview", "image2": "wrist", "wrist": "wrist"},
        state=STATE_EEF_POS_AA_GRIP,
        parameters={"quat_no_antipodal": True},
    ),
    # The benchmark opens above 0.5, which is the command of Bridge and Fractal, although its spec says the opposite.
    "simpler": Convention(
        {"position": POSITION_DELTA, "rotation": ROTATION_EULER, "gripper": GRIPPER_01},
        open_gripper=1.0,
        cameras={"image": "primary"},
        state=RAW,
    ),
}


@dataclass
class _Episode:
    history: ObservationHistory
    drafts: dict[str, str] | None = None
    gripper: float = 0.0
    undecodable: int = 0


class InspireModelServer(PredictModelServer):
    """Serves one checkpoint to vla-eval.

    Args:
        checkpoint: a folder, the name of an included one, or user/name on the hub.
        convention: `libero` (also for LIBERO-Plus and LIBERO-PRO) or `simpler`.
        cameras: camera of the policy → camera of the benchmark, where the convention's names are others.
        device: cpu, cuda, …; by default the checkpoint's.
        chunk_size: actions of a chunk that are executed; by default the checkpoint's `n_action_steps`.
        max_batch_size: most observations that are decided in one batch.
        settings: other arguments of `PredictModelServer`.

    Raises:
        InspireError: no such checkpoint or convention, a camera that no benchmark sends, other than seven actions, or a
            chunk that the policy cannot give.
    """

    def __init__(
        self,
        checkpoint: str,
        convention: str = "libero",
        cameras: dict[str, str] | None = None,
        device: str | None = None,
        *,
        chunk_size: int | None = None,
        max_batch_size: int = 16,
        **settings: Any,
    ) -> None:
        from inspire_vla.policies import agent_factory, configured, inputs

        if convention not in CONVENTIONS:
            raise InspireError(f"Unknown convention {convention!r}.{did_you_mean(convention, CONVENTIONS)}")
        self.convention = CONVENTIONS[convention]
        takes = inputs(checkpoint)
        if takes["action_dim"] != 7:
            raise InspireError(f"{convention} takes 7 actions; {checkpoint} has {takes['action_dim']}.")
        check_device(device)
        check_cameras(cameras or {}, takes["cameras"])
        known = {**self.convention.cameras, **(cameras or {})}
        lacking = [camera for camera in takes["cameras"] if camera not in known]
        if lacking:
            raise InspireError(
                f"{convention} knows no camera for {lacking}; it has {known}. Say which one the benchmark sends: "
                f"--args.cameras.{lacking[0]}=NAME."
            )
        self.cameras = {camera: known[camera] for camera in takes["cameras"]}
        longest = configured(checkpoint)["chunk_size"]
        if chunk_size is not None and not 1 <= chunk_size <= longest:
            raise InspireError(f"chunk_size must lie between 1 and {longest}, found {chunk_size}.")
        self.agent = agent_factory(checkpoint, device)()
        self.reader = ObservationReader.of(self.agent.config, self.cameras)
        self._episodes: dict[str, _Episode] = {}
        if chunk_size is None:
            chunk_size = self.agent.n_action_steps
        super().__init__(chunk_size=chunk_size, max_batch_size=max_batch_size, **settings)
        self.agent.act([self.reader.example()], [EXAMPLE_INSTRUCTION])  # warm-up, before a client waits

    def get_action_spec(self) -> dict[str, DimSpec]:
        return dict(self.convention.action)

    def get_observation_spec(self) -> dict[str, DimSpec]:
        spec = dict.fromkeys(self.cameras.values(), IMAGE_RGB) | {"language": LANGUAGE}
        return spec | ({"state": self.convention.state} if self.reader.state_dim else {})

    def get_observation_params(self) -> dict[str, Any]:
        """Return what the benchmark is told: to send the state and the wrist camera, where the policy takes them."""
        needs = {
            "send_state": bool(self.reader.state_dim),
            "send_wrist_image": "wrist" in self.cameras.values(),
        }
        return {name: True for name, needed in needs.items() if needed} | dict(self.convention.parameters)

    async def on_episode_start(self, config: dict[str, Any], ctx: SessionContext) -> None:
        self._episodes[ctx.session_id] = _Episode(
            ObservationHistory(self.agent.n_obs_steps), gripper=self.convention.open_gripper
        )
        await super().on_episode_start(config, ctx)

    async def on_episode_end(self, result: dict[str, Any], ctx: SessionContext) -> None:
        self._episodes.pop(ctx.session_id, None)
        await super().on_episode_end(result, ctx)

    async def on_observation(self, obs: dict[str, Any], ctx: SessionContext) -> None:
        """Keep the images of every step, also of those that are answered from the current chunk.

        Raises InspireError for what fails in this episode alone: `predict_batch` would end all of its batch.
        """
        episode = self._episodes.get(ctx.session_id)
        if episode is None:
            raise InspireError("An observation came before the start of an episode.")
        if episode.undecodable >= MAX_UNDECODABLE_IN_A_ROW:
            raise InspireError(f"Undecodable actions {episode.undecodable} times in a row.")
        sent = obs.get("images") or {}
        lacking = sorted(set(self.cameras.values()) - set(sent))
        if lacking:
            raise InspireError(f"The policy needs the images {lacking}; the benchmark sends {sorted(sent)}.")
        _options(obs)
        images = {camera: np.asarray(sent[camera]) for camera in set(self.cameras.values())}
        await super().on_observation({**obs, "images": episode.history.stack(images)}, ctx)

    def predict_batch(
        self, obs_batch: list[dict[str, Any]], ctx_batch: list[SessionContext]
    ) -> list[dict[str, Any]]:
        """Decide for several episodes at once; return chunks (chunk_size, 7)."""
        requests = [self._read(obs) for obs in obs_batch]
        episodes = [self._episodes[ctx.session_id] for ctx in ctx_batch]
        decisions = self.agent.act(
            [request.observation for request in requests],
            [request.instruction for request in requests],
            drafts=[episode.drafts for episode in episodes],
        )
        results = []
        for episode, decision, ctx in zip(episodes, decisions, ctx_batch, strict=True):
            episode.drafts = decision.answers_by_mention
            LOG.info("step %d of %s: %s", ctx.step, ctx.episode_id[:8], episode.drafts)
            results.append({"actions": self._actions(decision.actions, episode)})
        return results

    def _read(self, obs: Mapping[str, Any]) -> Any:
        message = dict(obs["images"])
        state = obs.get("states", obs.get("state"))
        if state is not None:
            message[STATE_KEY] = np.asarray(state)
        return self.reader.read(message, _options(obs))

    def _actions(self, actions: np.ndarray | None, episode: _Episode) -> np.ndarray:
        """The chunk, or a step of holding still with the last gripper command if the tokens stand for no action."""
        if actions is None:
            episode.undecodable += 1
            return np.array([[0, 0, 0, 0, 0, 0, episode.gripper]], dtype=np.float32)
        episode.undecodable = 0
        chunk = np.asarray(actions, dtype=np.float32)[: self.chunk_size]
        episode.gripper = float(chunk[-1, -1])
        return chunk


def _options(obs: Mapping[str, Any]) -> Options:
    """The instruction of an observation. Raises InspireError where there is none, or one that is too long."""
    options = Options.read({"prompt": str(obs.get("task_description") or "")})
    if not options.prompt:
        raise InspireError("The benchmark sends no instruction: `task_description` is missing or empty.")
    return options


def main() -> None:
    """Run the server of the command line. Bad arguments and a busy port end it with one line."""
    try:
        check_port(*_address(sys.argv[1:]))  # before the policy is loaded, which takes long
        run_server(InspireModelServer)
    except InspireError as error:
        sys.exit(f"error: {error}")
    except ExceptionGroup as group:  # of the server's tasks
        refused = group.subgroup(OSError)
        if refused is None:
            raise
        sys.exit(
            f"error: Cannot listen: {reason_of(refused.exceptions[0])}. Choose another port: --port 8001."
        )
    except KeyboardInterrupt:
        sys.exit(130)


def _address(words: Sequence[str]) -> tuple[str, int]:
    """Host and port of the command line and its --config files, as vla-eval reads them: the last one counts."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", action=_Config)
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", default=8000)
    parser.add_argument("--address")
    options, _ = parser.parse_known_args(words)
    host, _, port = str(options.address or "").rpartition(":")
    if options.address and not _is_port(port):
        raise InspireError(f"address is written HOST:PORT, found {options.address!r}.")
    if not _is_port(port or options.port):
        raise InspireError(f"port is a number from 0 to {MAX_PORT}, found {options.port!r}.")
    return host or str(options.host), int(port or options.port)


def _is_port(given: Any) -> bool:
    return str(given).isdecimal() and int(given) <= MAX_PORT


class _Config(argparse.Action):
    """Takes host, port and address of a YAML file. What is wrong with the rest of it, vla-eval says."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        try:
            settings = yaml.safe_load(Path(values).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise InspireError(f"--config {values} cannot be read: {reason_of(error)}.") from None
        if not isinstance(settings, dict):
            raise InspireError(f"--config {values} holds no settings, such as `port: 8000`.")
        for name in ("host", "port", "address"):
            if name in settings:
                setattr(namespace, name, settings[name])


if __name__ == "__main__":
    main()
