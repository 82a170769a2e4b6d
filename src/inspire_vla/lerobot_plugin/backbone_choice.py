"""Configuration → backbone, with the action codes placed in its vocabulary."""

from pathlib import Path

from inspire_vla.action_tokenizers import ActionTokenizer, ActionVocabulary
from inspire_vla.backbones.base import Backbone
from inspire_vla.backbones.nano import Nano
from inspire_vla.backbones.text_tokenizer import FOLDER as SHIPPED
from inspire_vla.backbones.text_tokenizer import load_text_tokenizer
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig


def make_backbone(
    config: InspireVLAConfig, action_tokenizer: ActionTokenizer, text_tokenizer_folder: Path | None = None
) -> tuple[Backbone, ActionVocabulary]:
    """The configured backbone with fresh weights, and where the action codes stand among its token ids.

    Args:
        text_tokenizer_folder: the checkpoint's own text tokenizer, so that words the package learns later do not
            move the action codes of a checkpoint that exists.
    """
    tokenizer = load_text_tokenizer(text_tokenizer_folder or SHIPPED)
    vocabulary = ActionVocabulary.appended(len(tokenizer), action_tokenizer.vocabulary_size)
    features = list(config.image_features.values())
    state = config.robot_state_feature
    backbone = Nano(
        config.nano,
        text_tokenizer=tokenizer,
        vocabulary_size=vocabulary.id_range[1],
        cameras=len(features),
        image_size=(features[0].shape[1], features[0].shape[2]),
        state_dim=state.shape[0] if state else 0,
    )
    return backbone, vocabulary
