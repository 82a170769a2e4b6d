"""MiniVLA's residual VQ: an autoencoder whose latent is quantised in several rounds (VQ-BeT, arXiv 2403.03181).

    chunk ──MLP──▶ latent ──nearest of K, subtract, nearest of K, …──▶ `rounds` codes
    codes ──sum of the codebooks' entries──▶ latent ──MLP──▶ chunk

Source: openvla-mini vla-scripts/pretrain_vq.py with vq_bet_official's VqVae and ResidualVQ of vector-quantize-pytorch.
All rounds share the codes 0 … K−1, as they share K token ids in the original. The two small MLPs run in numpy.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from inspire_vla.action_tokenizers import storage
from inspire_vla.action_tokenizers.base import (
    ActionTokenizer,
    GripperConvention,
    checked_actions,
    checked_codes,
)
from inspire_vla.errors import InspireError, counted

_LAYERS = ("encoder.0", "encoder.2", "fc")
_MLP_ARRAYS = tuple(
    f"{mlp}.{layer}.{what}"
    for mlp in ("encoder", "decoder")
    for layer in _LAYERS
    for what in ("weight", "bias")
)


class LearnedVQ(ActionTokenizer):
    """`rounds` codes per chunk. The round-trip error depends on the weights."""

    name: ClassVar[str] = "learned_vq"

    def __init__(
        self,
        codebooks: np.ndarray,
        mlps: Mapping[str, np.ndarray],
        *,
        horizon: int,
        action_scale: float = 1.0,
        gripper: GripperConvention = GripperConvention(),  # noqa: B008  frozen
    ) -> None:
        """
        Args:
            codebooks: (rounds, K, latent).
            mlps: weights and biases under `encoder.…` and `decoder.…`, as in the original's checkpoint.
            horizon: actions of a chunk. The action dimension is the first layer's width divided by it.
            action_scale: actions are divided by it before the encoder.
            gripper: the gripper convention of the codes.

        Raises:
            InspireError: arrays that are missing or whose shapes do not match.
        """
        missing = [name for name in _MLP_ARRAYS if name not in mlps]
        if missing:
            raise InspireError(f"The VQ's weights lack {missing}; found {sorted(mlps)[:12]}.")
        self.codebooks = np.asarray(codebooks, dtype=np.float32)
        self.mlps = {name: np.asarray(mlps[name], dtype=np.float32) for name in _MLP_ARRAYS}
        width = self.mlps["encoder.encoder.0.weight"].shape[1]
        latent = self.mlps["encoder.fc.weight"].shape[0]
        if self.codebooks.ndim != 3 or self.codebooks.shape[2] != latent:
            raise InspireError(
                f"Codebooks must be (rounds, K, latent {latent}), found {self.codebooks.shape}."
            )
        if width % horizon or self.mlps["decoder.fc.weight"].shape[0] != width:
            raise InspireError(
                f"An MLP of width {width} does not hold {counted(horizon, 'action')} of one size."
            )
        if not all(np.isfinite(array).all() for array in (self.codebooks, *self.mlps.values())):
            raise InspireError("The VQ's weights hold NaN or infinite numbers.")
        self.horizon, self.action_dim = horizon, width // horizon
        self.action_scale, self.gripper = float(action_scale), gripper
        self.rounds, self.codes_per_round = self.codebooks.shape[:2]

    @property
    def vocabulary_size(self) -> int:
        return self.codes_per_round

    @property
    def max_codes(self) -> int:
        return self.rounds

    def encode(self, actions: np.ndarray) -> np.ndarray:
        """(…, H, D) → (…, rounds) int64. Actions outside [-1, 1] are clipped, as in the VQ's training."""
        actions = checked_actions(actions, self.horizon, self.action_dim)
        flat = (
            np.clip(self.gripper.to_codes(actions), -1.0, 1.0).reshape(-1, self.horizon * self.action_dim)
            / self.action_scale
        )
        residual = self._mlp("encoder", flat)
        codes = np.empty((len(residual), self.rounds), dtype=np.int64)
        for number, book in enumerate(self.codebooks.astype(np.float64)):
            distance = (book**2).sum(1) - 2 * residual @ book.T  # |residual|² does not change the order
            codes[:, number] = distance.argmin(1)
            residual = residual - book[codes[:, number]]
        return codes.reshape(*actions.shape[:-2], self.rounds)

    def decode(self, codes) -> np.ndarray:
        """(…, rounds) codes → (…, H, D) float32."""
        codes = checked_codes(codes, self.rounds, self.codes_per_round)
        flat = codes.reshape(-1, self.rounds)
        latent = sum(book[flat[:, number]] for number, book in enumerate(self.codebooks.astype(np.float64)))
        actions = self._mlp("decoder", latent) * self.action_scale
        actions = actions.reshape(*codes.shape[:-1], self.horizon, self.action_dim)
        return self.gripper.to_robot(actions).astype(np.float32)

    def allowed_codes(self, prefix: Sequence[int] = ()) -> np.ndarray | None:
        return np.arange(self.codes_per_round) if len(prefix) < self.rounds else None

    def save(self, folder: str | Path) -> None:
        settings: dict[str, Any] = {"horizon": self.horizon, "action_scale": self.action_scale}
        settings |= self.gripper.settings()
        storage.write(folder, self.name, settings, {"codebooks": self.codebooks, **self.mlps})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        settings, arrays = storage.read(folder, cls.name, ("codebooks", *_MLP_ARRAYS))
        return cls(
            arrays.pop("codebooks"),
            arrays,
            horizon=storage.setting(settings, "horizon", int),
            action_scale=storage.setting(settings, "action_scale", (int, float)),
            gripper=GripperConvention.from_settings(settings),
        )

    @classmethod
    def from_published(
        cls,
        weights: Mapping[str, Mapping[str, np.ndarray]],
        *,
        horizon: int,
        action_scale: float = 1.0,
        gripper: GripperConvention = GripperConvention(),  # noqa: B008  frozen
    ) -> Self:
        """Make one of the original's checkpoint {"encoder", "decoder", "vq_embedding"} of arrays.

        Raises InspireError for anything else.
        """
        if not all(part in weights for part in ("encoder", "decoder", "vq_embedding")):
            raise InspireError(
                f"A pretrain_vq checkpoint holds encoder, decoder and vq_embedding; found {sorted(weights)}."
            )
        mlps = {
            f"{part}.{key}": value for part in ("encoder", "decoder") for key, value in weights[part].items()
        }
        books: list[np.ndarray] = []
        while (key := f"layers.{len(books)}._codebook.embed") in weights["vq_embedding"]:
            book = np.asarray(weights["vq_embedding"][key])
            books.append(book.reshape(book.shape[-2:]))  # newer versions have a leading dimension of 1
        if not books or any(name.startswith("project_") for name in weights["vq_embedding"]):
            raise InspireError(f"No plain codebooks in vq_embedding: {sorted(weights['vq_embedding'])[:6]}.")
        return cls(np.stack(books), mlps, horizon=horizon, action_scale=action_scale, gripper=gripper)

    def _mlp(self, name: str, values: np.ndarray) -> np.ndarray:
        """Three linear layers with ReLU between, in float64, so that a batch equals its rows."""
        values = values.astype(np.float64)
        for number, layer in enumerate(_LAYERS):
            values = values @ self.mlps[f"{name}.{layer}.weight"].T.astype(np.float64)
            values = values + self.mlps[f"{name}.{layer}.bias"]
            if number < 2:
                values = np.maximum(values, 0.0)
        return values
