import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from mmground.registry import MODELS


@MODELS.register_module()
class SwitchNorm2d(nn.Module):
    """Switchable normalisation of feature maps: a learned mixture of three normalisations.

    `Differentiable Learning-to-Normalize via Switchable Normalization
    <https://arxiv.org/abs/1806.10779>`_, Eqs. 3-5: mean and variance are mixtures of those of
    instance, layer and batch normalisation, each with three softmax weights for all channels.
    Variances are biased (divided by the count), as in the definition.

    In eval mode, running statistics replace those of the batch; the other two are always the
    input's own. Statistics and output are computed in float32 also under autocast.

    MMEngine's ``norm_decay_mult`` does not know this module: exempt it from weight decay by
    ``custom_keys``.

    Args:
        num_features: Channels C.
        eps: Added to the mixed variance.
        momentum: Weight of the current batch in the running statistics, as in PyTorch's
            batch normalisation.
        sync: Whether the batch is that of all processes, each of which counts by its pixels.
    """

    # How mmcv names a layer of this kind.
    _abbr_ = 'sn'

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, sync: bool = False
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.sync = sync
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        # Logits of the mixtures: instance, layer, batch.
        self.mean_weight = nn.Parameter(torch.ones(3))
        self.var_weight = nn.Parameter(torch.ones(3))
        self.register_buffer('running_mean', torch.zeros(num_features))
        self.register_buffer('running_var', torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise.

        Args:
            x: Shape (B, C, H, W).

        Returns:
            Of the shape and type of ``x``.

        Raises:
            ValueError: If ``x`` is not of this shape.
        """
        if x.ndim != 4 or x.shape[1] != self.num_features:
            raise ValueError(
                f'SwitchNorm2d({self.num_features}) takes maps (B, {self.num_features}, H, W), '
                f'got {tuple(x.shape)}'
            )
        with torch.autocast(x.device.type, enabled=False):
            return self._normalise(x.to(self.weight.dtype)).to(x.dtype)

    def _normalise(self, x: Tensor) -> Tensor:
        means, variances = self._statistics(x)
        mean = (means * self.mean_weight.softmax(0)[:, None, None]).sum(0)
        var = (variances * self.var_weight.softmax(0)[:, None, None]).sum(0)
        # One scale and one shift per map: a single new map is kept for the backward pass.
        scale = self.weight * torch.rsqrt(var + self.eps)
        shift = self.bias - mean * scale
        return torch.addcmul(shift[..., None, None], x, scale[..., None, None])

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and variances of instance, layer and batch, each (3, B, C)."""
        var_in, mean_in = torch.var_mean(x, dim=(2, 3), correction=0)
        mean_ln = mean_in.mean(1, keepdim=True)
        # Within the instances and between them. A mean of squares less the squared mean would
        # lose the digits of a variance that is small beside the mean.
        var_ln = (var_in + (mean_in - mean_ln) ** 2).mean(1, keepdim=True)
        if self.training:
            mean_bn, var_bn = self._batch_statistics(mean_in, var_in, x.shape[2] * x.shape[3])
        else:
            mean_bn, var_bn = self.running_mean, self.running_var
        means = [mean.expand_as(mean_in) for mean in (mean_in, mean_ln, mean_bn)]
        variances = [var.expand_as(var_in) for var in (var_in, var_ln, var_bn)]
        return torch.stack(means), torch.stack(variances)

    def _batch_statistics(
        self, mean_in: Tensor, var_in: Tensor, num_pixels: int
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance of the batch, each (C, ), which also move the running ones."""
        # Sums over the processes, through which gradients flow.
        reduce = all_reduce if self.sync and get_world_size() > 1 else nn.Identity()
        # What one map counts in the batch.
        share = num_pixels / reduce(mean_in.new_tensor(len(mean_in) * num_pixels))
        mean = reduce(mean_in.sum(0) * share)
        var = reduce((var_in + (mean_in - mean) ** 2).sum(0) * share)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var, self.momentum)
        return mean, var

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f'{self.num_features}, eps={self.eps}, momentum={self.momentum}, sync={self.sync}'
