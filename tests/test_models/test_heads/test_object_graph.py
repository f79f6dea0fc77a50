import pytest
import torch

from mmground.models.heads import ObjectGraph, PairNetwork

TEXTS = torch.tensor([0, 0, 0, 1, 2, 2])
EDGES = torch.tensor([[0, 1], [2, 0], [1, 0], [5, 4]])
NEIGHBOURS = {0: [1, 2], 1: [0], 2: [0], 3: [], 4: [5], 5: [4]}


def _graph(**kwargs):
    torch.manual_seed(0)
    return ObjectGraph(8, 6, **kwargs), torch.randn(6, 8)


def _softmax(scores):
    shifted = (scores - scores.max()).exp()
    return shifted / (shifted.sum() + 1e-6)


@pytest.mark.parametrize('edges', ['attention', 'uniform'])
def test_official_messages_by_loops(edges):
    graph, nodes = _graph(edges=edges)
    with torch.no_grad():
        found = graph(nodes, EDGES, TEXTS)
        vanished = 0
        for node, neighbours in NEIGHBOURS.items():
            received = torch.zeros(8)
            kept = neighbours
            if edges == 'attention':
                keys = graph.edge_proj(nodes)
                gates = {n: (keys[node] @ keys[n] / 6**0.5).relu() for n in neighbours}
                kept = [n for n in neighbours if gates[n] > 0]
                vanished += len(neighbours) - len(kept)
                if kept:
                    weights = _softmax(torch.stack([gates[n] for n in kept]))
            else:
                weights = torch.full((len(kept),), 1 / max(1, len(kept)))
            for index, n in enumerate(kept):
                received = received + weights[index] * nodes[n]
            expected = graph.message(received).relu()
            if node == 3:
                # Its text has no relation at all.
                expected = torch.zeros(8)
            torch.testing.assert_close(found.context[node], expected)
    assert (vanished > 0) == (edges == 'attention')


@pytest.mark.parametrize('scale', [1, 40])
@pytest.mark.parametrize('edges', ['attention', 'uniform'])
def test_messages_of_the_paper_by_loops(edges, scale):
    graph, nodes = _graph(form='paper', edges=edges)
    nodes = scale * nodes
    lowest = 0.0
    with torch.no_grad():
        found = graph(nodes, EDGES, TEXTS)
        messages = graph.message(nodes)
        for node, neighbours in NEIGHBOURS.items():
            expected = nodes[node]
            if neighbours:
                scores = torch.stack([messages[node] @ messages[n] for n in neighbours])
                lowest = min(lowest, scores.max().item())
                if edges == 'uniform':
                    scores = torch.zeros_like(scores)
                weights = scores.softmax(0)
                torch.testing.assert_close(found.weights[node, neighbours], weights)
                expected = expected + weights @ messages[neighbours]
            torch.testing.assert_close(found.context[node], expected, atol=1e-5, rtol=1e-5)
            assert found.weights[node].sum().item() == pytest.approx(float(bool(neighbours)))
    # Products that a softmax which takes zeros for what is masked would lose.
    assert scale == 1 or lowest < -20


def test_without_an_edge():
    for form in ('official', 'paper'):
        graph, nodes = _graph(form=form)
        found = graph(nodes, EDGES[:0], TEXTS)
        torch.testing.assert_close(found.context, nodes * (form == 'paper'))
    with pytest.raises(ValueError, match='form must be'):
        ObjectGraph(form='other')


@pytest.mark.parametrize('with_phrase', [True, False])
@pytest.mark.parametrize('hidden', [None, 7])
def test_pairs_by_loops(hidden, with_phrase):
    torch.manual_seed(0)
    network = PairNetwork(4, 3, hidden, with_phrase)
    phrases, regions = torch.randn(5, 4), torch.randn(2, 6, 4)
    owner = torch.tensor([0, 1, 1, 0, 1])
    with torch.no_grad():
        found = network(phrases, regions, owner)
        again = network(phrases, regions[owner])
        for i in range(5):
            for j in range(6):
                region = regions[owner[i], j]
                joined = torch.cat((phrases[i], region)) if with_phrase else region
                torch.testing.assert_close(
                    found[i, j], network.layers(joined), atol=1e-6, rtol=1e-5
                )
    torch.testing.assert_close(found, again)
