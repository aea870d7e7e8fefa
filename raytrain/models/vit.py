"""ViT and DeiT, as torchvision's VisionTransformer, with stochastic depth and with or without class token."""

from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer
from torchvision.ops import StochasticDepth

from raytrain.models.arithmetic import patches
from raytrain.models.spec import VitSpec, drop_rates


class MeanVit(VisionTransformer):  # type: ignore[misc]
    """torchvision's network without its class token: the head reads the mean over the patches."""

    def __init__(self, **kwargs: int) -> None:
        super().__init__(**kwargs)
        del self.class_token
        self.seq_length -= 1
        self.encoder.pos_embedding = nn.Parameter(self.encoder.pos_embedding.detach()[:, 1:].clone())

    def forward(self, x: Tensor) -> Tensor:
        """Images [b, 3, s, s] to logits [b, classes]."""
        tokens: Tensor = self.encoder(self._process_input(x))
        logits: Tensor = self.heads(tokens.mean(1))
        return logits


def vit(spec: VitSpec, classes: int, image_size: int) -> nn.Module:
    """The network for pictures of `image_size`. Raises UsageError where the patches do not tile it."""
    patches(spec, image_size)
    kind = VisionTransformer if spec.class_token else MeanVit
    model: nn.Module = kind(
        image_size=image_size,
        patch_size=spec.patch,
        num_layers=spec.depth,
        num_heads=spec.heads,
        hidden_dim=spec.width,
        mlp_dim=spec.hidden,
        num_classes=classes,
    )
    _drop_branches(model, spec)
    return model


def _drop_branches(model: nn.Module, spec: VitSpec) -> None:
    """Put stochastic depth where each branch ends: in the place of its dropout, which published training has at 0.

    Neither has parameters, so torchvision's names stay.
    """
    layers = model.get_submodule("encoder.layers").children()
    for layer, rate in zip(layers, drop_rates(spec.drop_path, spec.depth), strict=True):
        layer.dropout = StochasticDepth(rate, "row")
        mlp = layer.get_submodule("mlp")
        assert isinstance(mlp, nn.Sequential)
        mlp[-1] = StochasticDepth(rate, "row")
