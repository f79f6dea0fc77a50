import torch

from mmground.models.layers.fusions import MutanFusion, SelectiveFusion


def test_mutan_is_a_tucker_form_of_each_pixel_and_its_query():
    fusion = MutanFusion(6, factor_channels=4, fused_channels=3, rank=2).double()
    queries = torch.randn(5, 6, dtype=torch.float64)
    context = torch.randn(5, 7, 6, dtype=torch.float64)
    # The core tensor in full, (query, pixel, fused): slice k is a sum of R outer products.
    core = torch.zeros(4, 4, 3, dtype=torch.float64)
    for k in range(3):
        for r in range(2):
            m = fusion.merge_query.weight[3 * r + k]
            n = fusion.merge_pixel.weight[3 * r + k]
            core[:, :, k] += m[:, None] * n[None]
    assert all(torch.linalg.matrix_rank(core[:, :, k]) == 2 for k in range(3))
    output = fusion(queries, context)
    for query, pixels, own in zip(queries, context, output, strict=True):
        q = torch.tanh(fusion.embed_query.weight @ query + fusion.embed_query.bias)
        total = torch.zeros(3, dtype=torch.float64)
        for pixel in pixels:
            v = torch.tanh(fusion.embed_pixel.weight @ pixel + fusion.embed_pixel.bias)
            total += torch.tensor([(q @ core[:, :, k] @ v).item() for k in range(3)])
        expected = fusion.out_proj.weight @ (total / 7) + fusion.out_proj.bias
        torch.testing.assert_close(own, expected)


def test_selective_fusion_by_hand():
    fusion = SelectiveFusion(4).double()
    queries = torch.randn(3, 4, dtype=torch.float64)
    context = torch.randn(3, 5, 4, dtype=torch.float64)
    output = fusion(queries, context)
    for n in range(3):
        mean = sum(context[n]) / 5
        scores = fusion.weights.weight @ (queries[n] * mean) + fusion.weights.bias
        for c in range(4):
            of_context, of_query = scores[c].exp(), scores[4 + c].exp()
            expected = of_context * mean[c] + of_query * queries[n, c]
            torch.testing.assert_close(output[n, c], expected / (of_context + of_query))


def test_selective_fusion_can_choose_either_branch():
    fusion = SelectiveFusion(4)
    torch.nn.init.zeros_(fusion.weights.weight)
    queries, context = torch.randn(2, 4), torch.randn(2, 3, 4)
    for bias, expected in ((50.0, context.mean(1)), (-50.0, queries)):
        torch.nn.init.constant_(fusion.weights.bias[:4], bias)
        torch.nn.init.constant_(fusion.weights.bias[4:], -bias)
        torch.testing.assert_close(fusion(queries, context), expected)
