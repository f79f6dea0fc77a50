import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmground.registry import MODELS
from mmground.structures import GroundingDataSample, TextFeatures


@MODELS.register_module()
class ContrastiveHead(BaseModule):
    """CLIP's pre-training: a text is to be more similar to its own image than to the others.

    `Learning Transferable Visual Models From Natural Language Supervision
    <https://arxiv.org/abs/2103.00020>`_, Secs. 2.3-2.5 and Fig. 3. An image's feature is the mean
    of its last map, which is what systems go on with that keep the attention pool dense; CLIP
    itself lets the mean of the cells attend to them. Texts of one image, and equal texts, are not
    told apart: a pair that says the same is no negative.

    With several processes each compares what it has itself.

    Args:
        temperature: The first temperature, which is learned.
        max_scale: The largest factor of similarities, the inverse of the temperature.
        init_cfg: Initialisation.
    """

    grounds_whole_text: ClassVar[bool] = True
    """The whole text of a sample is its one phrase."""

    def __init__(
        self, temperature: float = 0.07, max_scale: float = 100.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))
        self.max_scale = max_scale

    def tensor(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
    ) -> Tensor:
        """Cosine similarities of texts and images.

        Args:
            feats: Maps of the B images, of which the last is read. Shape (B, C, h, w).
            text: The T encoded texts, with a sentence feature of C channels.
            data_samples: T samples with ``image_index``.

        Returns:
            Of each text and the image of each text. Shape (T, T).
        """
        image_index = torch.tensor([sample.image_index for sample in data_samples])
        images = F.normalize(feats[-1].float().mean((2, 3)), dim=1)
        sentences = F.normalize(text.sentences().float(), dim=1)
        return sentences @ images[image_index.to(images.device)].T

    def loss(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
    ) -> dict[str, Tensor]:
        """Cross-entropy over the images for each text, and over the texts for each image.

        Args:
            feats: As of :meth:`tensor`.
            text: As of :meth:`tensor`.
            data_samples: As of :meth:`tensor`.

        Returns:
            ``loss_contrast``, the mean of both; ``matched``, the share of texts that find
            their image.
        """
        with torch.no_grad():
            # The parameter itself, which without a gradient would stay beyond the limit.
            self.logit_scale.clamp_(max=math.log(self.max_scale))
        logits = self.logit_scale.exp() * self.tensor(feats, text, data_samples)
        # Equal texts have equal numbers, and so have texts of one image.
        number: dict[str, int] = {}
        said = torch.tensor(
            [
                (sample.image_index, number.setdefault(sample.text, len(number)))
                for sample in data_samples
            ],
            device=logits.device,
        )
        alike = (said[:, None] == said).any(-1).fill_diagonal_(False)
        logits = logits.masked_fill(alike, -torch.inf)
        target = torch.arange(len(said), device=logits.device)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        matched = (logits.argmax(1) == target).float().mean()
        return dict(loss_contrast=loss, matched=matched)

    def predict(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
    ) -> list[InstanceData]:
        """Compare each text with its own image.

        Args:
            feats: As of :meth:`tensor`.
            text: As of :meth:`tensor`.
            data_samples: As of :meth:`tensor`.

        Returns:
            Per sample an ``InstanceData`` of one element: ``scores``, (1, ), the cosine similarity.
        """
        similarities = self.tensor(feats, text, data_samples).diagonal()
        return [InstanceData(scores=own[None]) for own in similarities]
