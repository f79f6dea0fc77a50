from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmground.registry import MODELS

from ..layers.masked_softmax import masked_softmax, plain_softmax

FORMS = ('official', 'paper')
EDGES = ('attention', 'uniform')


class GraphOutput(NamedTuple):
    """What a visual object graph makes of the phrases.

    Args:
        context: What is added to each candidate, weighted by its attention. Shape (P, C).
        gates: How strong each edge is before it is normalised; 0 where there is none. Shape (P, P).
        weights: omega, row i over the neighbours of i. Shape (P, P).
    """

    context: Tensor
    gates: Tensor
    weights: Tensor


def adjacency(edges: Tensor, num_nodes: int) -> Tensor:
    """Neighbours in an undirected graph.

    Args:
        edges: Pairs of nodes, in either direction. Shape (E, 2), int64.
        num_nodes: Number of nodes, P.

    Returns:
        Shape (P, P), boolean, symmetric.
    """
    linked = torch.zeros(num_nodes, num_nodes, dtype=torch.bool, device=edges.device)
    linked[edges[:, 0], edges[:, 1]] = True
    return linked | linked.T


@MODELS.register_module()
class ObjectGraph(BaseModule):
    """The visual object graph network: phrases that are related tell each other what they see.

    Nodes are the phrases of a batch, z_i being what phrase i attends to; edges are within texts.

    - ``form='official'``: ``omega`` is the masked softmax of
      ``ReLU(<A z_i, A z_j> / sqrt(edge_channels))`` over the neighbours with a positive one, and
      the context ``ReLU(M sum_j omega_ij z_j)``. Texts without a relation get none.
    - ``form='paper'``: Eqs. 6-7 with one two-layer network F_M,
      ``z_i + sum_j omega_ij F_M(z_j)`` with the softmax of ``<F_M(z_i), F_M(z_j)>``. A phrase
      without a neighbour gets z_i.

    Args:
        channels: C, of the nodes.
        edge_channels: Channels of A (``'official'`` only).
        form: ``'official'`` or ``'paper'``.
        edges: What the neighbours of a phrase are weighted by: ``'attention'``, or ``'uniform'``,
            one over their number (Table 2, without attention).

    Raises:
        ValueError: If there is no such form.
    """

    def __init__(
        self,
        channels: int = 1024,
        edge_channels: int = 512,
        form: str = 'official',
        edges: str = 'attention',
    ) -> None:
        super().__init__()
        if form not in FORMS or edges not in EDGES:
            raise ValueError(
                f'form must be one of {FORMS} and edges of {EDGES}, got {form!r} and {edges!r}'
            )
        self.form = form
        self.edges = edges
        if form == 'official':
            self.message = nn.Linear(channels, channels)
            if edges == 'attention':
                self.edge_proj = nn.Linear(channels, edge_channels)
        else:
            self.message = nn.Sequential(
                nn.Linear(channels, channels),
                nn.ReLU(inplace=True),
                nn.Linear(channels, channels),
            )

    def forward(self, nodes: Tensor, edges: Tensor, text_index: Tensor) -> GraphOutput:
        """Pass messages once.

        Args:
            nodes: z. Shape (P, C).
            edges: Pairs of nodes, of the same text each. Shape (E, 2), int64.
            text_index: The text of each node. Shape (P, ).

        Returns:
            The context, and the edges.
        """
        nodes = nodes.float()
        linked = adjacency(edges, len(nodes))
        messages = nodes if self.form == 'official' else self.message(nodes)
        gates = self._gates(nodes, messages, linked)
        if self.edges == 'uniform':
            weights = gates / gates.sum(1, keepdim=True).clamp(min=1)
        elif self.form == 'official':
            # An edge that is not positive vanishes.
            weights = masked_softmax(gates, gates != 0)
        else:
            weights = plain_softmax(gates, linked)
        received = weights @ messages
        if self.form == 'paper':
            return GraphOutput(nodes + received, gates, weights)
        related = torch.isin(text_index, text_index[edges[:, 0]])
        context = self.message(received).relu() * related[:, None]
        return GraphOutput(context, gates, weights)

    def _gates(self, nodes: Tensor, messages: Tensor, linked: Tensor) -> Tensor:
        if self.edges == 'uniform':
            return linked.to(nodes)
        if self.form == 'paper':
            return (messages @ messages.T) * linked
        keys = self.edge_proj(nodes)
        return (keys @ keys.T / keys.shape[1] ** 0.5).relu() * linked
