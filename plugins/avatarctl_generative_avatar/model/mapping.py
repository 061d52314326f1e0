"""From a draw and a label to the styles of a network (spec 4.2, 4.14)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avatarctl_generative_avatar.model.layers import FullyConnected, normalise

LR = 0.01
"""Factor on the learning rate of the layers after the embedding."""
W_AVG_BETA = 0.998


class Mapping(nn.Module):
    """A draw z and a label c, both normalised, through fully connected layers.

    Without `z_dim` it maps the label alone. Without `num_ws` it gives one vector, else as many copies of it.
    """

    w_avg: Tensor

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int | None,
        layers: int,
        *,
        lr: float = LR,
        w_avg: bool = True,
    ) -> None:
        super().__init__()
        self.z_dim, self.num_ws = z_dim, num_ws
        self.embed = FullyConnected(c_dim, w_dim)
        self.names = [f"fc{layer}" for layer in range(layers)]
        for layer, name in enumerate(self.names):
            inputs = z_dim + w_dim if layer == 0 else w_dim
            self.add_module(name, FullyConnected(inputs, w_dim, act="lrelu", lr=lr))
        if w_avg:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self,
        z: Tensor | None,
        c: Tensor,
        psi: float = 1.0,
        cutoff: int | None = None,
        update_w_avg: bool = False,
    ) -> Tensor:
        """Styles [N, num_ws, w_dim], or [N, w_dim].

        Args:
            z: Draws [N, z_dim]; None of a network that maps labels alone.
            c: Labels [N, c_dim].
            psi: Truncation: 1 for none, 0 for the mean style.
            cutoff: How many styles are truncated; None for all.
            update_w_avg: Move the mean style towards that of these.
        """
        w = normalise(self.embed(c))
        if z is not None:
            w = torch.cat([normalise(z), w], dim=-1)
        for name in self.names:
            w = self.get_submodule(name)(w)
        if update_w_avg:
            self.w_avg.copy_(w.detach().mean(0).lerp(self.w_avg, W_AVG_BETA))
        if self.num_ws is None:
            return w
        ws = w[:, None].expand(-1, self.num_ws, -1)
        if psi == 1:
            return ws
        truncated = self.w_avg.lerp(ws[:, :cutoff], psi)
        return truncated if cutoff is None else torch.cat([truncated, ws[:, cutoff:]], dim=1)
