"""What LeRobot imports when it looks for plug-ins: registers the policy and the environment on import.

LeRobot finds plug-ins by distribution name and imports the package of the same name; everything else
lives in `inspire_vla`. LeRobot only logs an import error here, so `inspire doctor` repeats this import
and shows what went wrong.
"""

import importlib

from inspire_vla import __version__

REGISTERING_MODULES = (
    "inspire_vla.lerobot_plugin.configuration_inspire_vla",  # --policy.type=inspire_vla
    "inspire_vla.tabletop.lerobot_env",  # --env.type=inspire_tabletop
)

__all__ = ["REGISTERING_MODULES", "__version__"]

for _module in REGISTERING_MODULES:
    importlib.import_module(_module)
