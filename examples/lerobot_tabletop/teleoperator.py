"""A LeRobot `Teleoperator` for the simulated robot: the benchmark's scripted expert in place of a person."""

from dataclasses import dataclass
from typing import Any

from lerobot.teleoperators import Teleoperator, TeleoperatorConfig

from inspire_vla.errors import InspireError
from inspire_vla.tabletop.expert import Expert
from lerobot_tabletop.robot import ACTION, CONNECTED


@TeleoperatorConfig.register_subclass("tabletop_expert")
@dataclass(kw_only=True)
class ExpertTeleopConfig(TeleoperatorConfig):
    """No options. The expert controls the robot that is connected in the same process."""


class ExpertTeleop(Teleoperator):
    """Reads the simulator's state and needs no leader arm."""

    config_class = ExpertTeleopConfig
    name = "tabletop_expert"

    def __init__(self, config: ExpertTeleopConfig) -> None:
        super().__init__(config)
        self._connected = False

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(ACTION, float)

    @property
    def feedback_features(self) -> dict[str, Any]:
        return {}

    @property
    def is_connected(self) -> bool:
        return self._connected

    @property
    def is_calibrated(self) -> bool:
        return True

    def connect(self, calibrate: bool = True) -> None:
        self._connected = True

    def calibrate(self) -> None:
        pass

    def configure(self) -> None:
        pass

    def get_action(self) -> dict[str, Any]:
        """Return the expert's action. Raises InspireError unless exactly one robot is connected."""
        if len(CONNECTED) != 1:
            raise InspireError(f"The expert controls one simulated robot; {len(CONNECTED)} are connected.")
        return dict(zip(ACTION, map(float, Expert(CONNECTED[0].env).action()), strict=True))

    def send_feedback(self, feedback: dict[str, Any]) -> None:
        pass

    def disconnect(self) -> None:
        self._connected = False
