"""What LeRobot imports when it looks for plug-ins: registers the policy, the environment and the styles of
our language rows on import.

LeRobot finds plug-ins by distribution name and imports the package of the same name; everything else
lives in `inspire_vla`. LeRobot only logs an import error here, so `inspire doctor` repeats this import
and shows what went wrong.
"""

import importlib

from inspire_vla import __version__
from inspire_vla.labels.language_column import register_styles

REGISTERING_MODULES = (
    "inspire_vla.lerobot_plugin.processor_inspire_vla",  # the tokenizer step of saved preprocessors
    "inspire_vla.lerobot_plugin.configuration_inspire_vla",  # --policy.type=inspire_vla
    "inspire_vla.tabletop.lerobot_env",  # --env.type=inspire_tabletop
)

__all__ = ["REGISTERING_MODULES", "__version__"]

for _module in REGISTERING_MODULES:
    importlib.import_module(_module)

register_styles()  # of the rows that `inspire label --language-column` writes
