"""From the rendered features to a picture twice as large (spec 4.12)."""

from __future__ import annotations

from torch import Tensor, nn

from avatarctl.device import Noise
from avatarctl_generative_avatar.model.backbone import SynthesisBlock
from avatarctl_generative_avatar.model.decoder import FEATURES
from avatarctl_generative_avatar.model.layers import fir_filter, resize
from avatarctl_generative_avatar.model.sizes import GeneratorSizes
from avatarctl_generative_avatar.settings_model import NoiseMode

LIMIT = 256.0
"""Of activations: published for half precision, kept in float32."""


class SuperResolution(nn.Module):
    """Two blocks of synthesis: the first at the rays' resolution, the second at the picture's."""

    resample_filter: Tensor

    def __init__(self, sizes: GeneratorSizes) -> None:
        super().__init__()
        self.resolution = sizes.rays
        wide, narrow = sizes.sr_channels, sizes.sr_channels // 2
        self.block0 = SynthesisBlock(FEATURES, wide, sizes.w_dim, sizes.rays, 3, up=1, limit=LIMIT)
        self.block1 = SynthesisBlock(wide, narrow, sizes.w_dim, sizes.rays * 2, 3, limit=LIMIT)
        self.register_buffer("resample_filter", fir_filter())

    def forward(
        self,
        rgb: Tensor,
        features: Tensor,
        ws: Tensor,
        *,
        antialias: bool = True,
        noise_mode: NoiseMode = "none",
        noise: Noise | None = None,
    ) -> Tensor:
        """The picture [N, 3, 2R', 2R'], not clamped.

        Args:
            rgb: Rendered colours [N, 3, R, R]; resized if R is not the working resolution R'.
            features: [N, 32, R, R].
            ws: Styles [N, num_ws, w_dim].
            antialias: Filter where it is resized to less.
            noise_mode: Noise of the layers.
            noise: Where random noise is drawn from.
        """
        # parity: all layers use the last style (spec 4.12).
        styles = [ws[:, -1]] * 3
        x = resize(features, self.resolution, antialias=antialias)
        picture = resize(rgb, self.resolution, antialias=antialias)
        for block in (self.block0, self.block1):
            x, picture = block(x, picture, styles, noise_mode, noise)
        return picture
