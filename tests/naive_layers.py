"""Layers as loops over their definitions, in double precision: what tensor code is checked against.

A map is (C, h, w); weights are taken from the module that is checked.
"""

import math

import torch


def randomise_norms(module):
    """Give all batch statistics and affine parameters of normalisations values that matter."""
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if 'running_var' in name:
            value.data.uniform_(0.5, 2.0)
        elif 'running_mean' in name:
            value.data.uniform_(-0.5, 0.5)
        elif value.ndim == 1 and value.is_floating_point():
            value.data.normal_(0.5, 0.5)
    return module


def conv(maps, layer):
    """A convolution of stride 1 with zero padding: a sum over the kernel at every cell."""
    weight, maps = layer.weight.double(), maps.double()
    (pad, _), (dilation, _), size = layer.padding, layer.dilation, weight.shape[-1]
    _, height, width = maps.shape
    per_group = len(weight) // layer.groups
    out = torch.zeros(len(weight), height, width, dtype=torch.float64)
    for channel in range(len(weight)):
        first = channel // per_group * weight.shape[1]
        own = maps[first : first + weight.shape[1]]
        for y in range(height):
            for x in range(width):
                total = 0.0 if layer.bias is None else layer.bias[channel].double()
                for i in range(size):
                    for j in range(size):
                        row, column = y - pad + i * dilation, x - pad + j * dilation
                        if 0 <= row < height and 0 <= column < width:
                            total = total + (weight[channel, :, i, j] * own[:, row, column]).sum()
                out[channel, y, x] = total
    return out


def batch_norm(values, layer):
    """Batch normalisation of (C, ...) by the running statistics."""
    out = torch.empty_like(values, dtype=torch.float64)
    for channel, own in enumerate(values.double()):
        mean, var = layer.running_mean[channel].double(), layer.running_var[channel].double()
        scaled = (own - mean) / torch.sqrt(var + layer.eps)
        out[channel] = scaled * layer.weight[channel].double() + layer.bias[channel].double()
    return out


def leaky_relu(values, slope):
    """max(x, slope x)."""
    return torch.where(values > 0, values, slope * values)


def conv_module(maps, module, slope=0.1):
    """Convolution, batch normalisation in eval mode, LeakyReLU."""
    return leaky_relu(batch_norm(conv(maps, module.conv), module.norm), slope)


def double_size(maps):
    """Bilinear upsampling by two; pixel i covers [i, i + 1)."""
    _, height, width = maps.shape
    out = torch.empty(len(maps), 2 * height, 2 * width, dtype=torch.float64)
    for y in range(2 * height):
        for x in range(2 * width):
            row = min(max((y + 0.5) / 2 - 0.5, 0.0), height - 1.0)
            column = min(max((x + 0.5) / 2 - 0.5, 0.0), width - 1.0)
            total = 0.0
            for i in {math.floor(row), math.ceil(row)}:
                for j in {math.floor(column), math.ceil(column)}:
                    part = (1 - abs(row - i)) * (1 - abs(column - j))
                    total = total + part * maps[:, i, j].double()
            out[:, y, x] = total
    return out


def layer_norm(tokens, layer):
    """LayerNorm of (N, C) tokens, one by one."""
    out = []
    for token in tokens.double():
        var = ((token - token.mean()) ** 2).mean()
        scaled = (token - token.mean()) / torch.sqrt(var + layer.eps)
        out.append(scaled * layer.weight.double() + layer.bias.double())
    return torch.stack(out)


def attention(queries, keys, values, num_heads, seen=None, bias=None):
    """softmax(q k / sqrt(d_k)) v of each head, concatenated; (N, C) tokens that are projected.

    ``seen`` says which keys are read; ``bias`` is added, (heads, N, keys).
    """
    width = queries.shape[1] // num_heads
    out = torch.zeros(len(queries), queries.shape[1], dtype=torch.float64)
    for head in range(num_heads):
        part = slice(head * width, (head + 1) * width)
        for n, query in enumerate(queries):
            weights = []
            for m, key in enumerate(keys):
                score = (query[part] * key[part]).sum() / math.sqrt(width)
                if bias is not None:
                    score = score + bias[head, n, m]
                read = seen is None or bool(seen[m])
                weights.append(score.exp() if read else torch.zeros((), dtype=torch.float64))
            total = sum(weights)
            for weight, value in zip(weights, values, strict=True):
                out[n, part] += weight / total * value[part]
    return out


def linear(tokens, weight, bias):
    """W x + b of (N, C) tokens."""
    return torch.stack([weight.double() @ token.double() + bias.double() for token in tokens])


def multihead_attention(queries, keys, values, layer, seen=None):
    """``nn.MultiheadAttention`` without a batch: tokens are (N, C)."""
    weights, biases = layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3)
    projected = (
        linear(tokens, weight, bias)
        for tokens, weight, bias in zip((queries, keys, values), weights, biases, strict=True)
    )
    found = attention(*projected, layer.num_heads, seen)
    return linear(found, layer.out_proj.weight, layer.out_proj.bias)


def tokens(maps):
    """The cells of a map, row by row: (h w, C)."""
    return torch.stack([maps[:, y, x] for y in range(maps.shape[1]) for x in range(maps.shape[2])])


def as_map(cells, height, width):
    """The reverse of :func:`tokens`."""
    out = torch.empty(cells.shape[1], height, width, dtype=cells.dtype)
    for index, cell in enumerate(cells):
        out[:, index // width, index % width] = cell
    return out
