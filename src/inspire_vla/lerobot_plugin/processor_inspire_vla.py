"""LeRobot's standard pipelines around the policy: rename, batch, device, normalise, and back."""

from typing import Any

from lerobot.processor import PolicyAction, PolicyProcessorPipeline, make_default_pre_post_processors

from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig


def make_inspire_vla_pre_post_processors(
    config: InspireVLAConfig, dataset_stats: dict[str, dict[str, Any]] | None = None
) -> tuple[
    PolicyProcessorPipeline[dict[str, Any], dict[str, Any]],
    PolicyProcessorPipeline[PolicyAction, PolicyAction],
]:
    """Pre- and post-processor of an InSpire policy. The dialogue is rendered in the policy, which decodes it too.

    Images stay in [0, 1]; state and actions are normalised as `config.normalization_mapping` says.
    """
    return make_default_pre_post_processors(config, dataset_stats, normalizer_device=config.device)
