"""What links between phrases and regions say about each phrase.

A link is a pair (phrase, region). Targets, metrics and drawings need the same
readings of a list of links, so they are stated here once: the mask of a
phrase is the union of its regions, its box encloses them, and its kind follows
from how many regions it has and from the class of the last one.
"""

import torch
from torch import Tensor


def phrase_masks(region_masks: Tensor, links: Tensor, num_phrases: int) -> Tensor:
    """The mask of each phrase: the union of the regions that it is linked to.

    Args:
        region_masks: Boolean, shape (R, H, W).
        links: Pairs (phrase, region), int64, shape (K, 2), in any order.
        num_phrases: Number of phrases, N.

    Returns:
        Boolean masks, shape (N, H, W). A phrase without a link has an empty mask.

    Example:
        >>> regions = torch.eye(3, dtype=torch.bool)[:, None]  # three pixels in a row
        >>> phrase_masks(regions, torch.tensor([[0, 2], [1, 0], [1, 1]]), 2)
        tensor([[[False, False,  True]],
        <BLANKLINE>
                [[ True,  True, False]]])
    """
    phrase, region = links.unbind(1)
    # Counted in integers: a boolean sum is not an "or" on every device.
    covered = region_masks.new_zeros((num_phrases, *region_masks.shape[1:]), dtype=torch.int32)
    return covered.index_add_(0, phrase, region_masks[region].int()) > 0


def phrase_boxes(region_boxes: Tensor, links: Tensor, num_phrases: int) -> Tensor:
    """The box of each phrase: the smallest one around the regions that it is linked to.

    Args:
        region_boxes: xyxy, shape (R, 4).
        links: Pairs (phrase, region), int64, shape (K, 2), in any order.
        num_phrases: Number of phrases, N.

    Returns:
        xyxy, shape (N, 4). A phrase without a link has the box (0, 0, 0, 0).

    Example:
        >>> regions = torch.tensor([[1.0, 1.0, 4.0, 3.0], [2.0, 0.0, 5.0, 2.0]])
        >>> phrase_boxes(regions, torch.tensor([[0, 0], [0, 1]]), 1)
        tensor([[1., 0., 5., 3.]])
    """
    phrase, region = links.unbind(1)
    index = phrase[:, None].expand(-1, 2)
    starts, ends = region_boxes[region].split(2, dim=1)
    empty = region_boxes.new_zeros((num_phrases, 2))
    return torch.cat(
        (
            empty.scatter_reduce(0, index, starts, 'amin', include_self=False),
            empty.scatter_reduce(0, index, ends, 'amax', include_self=False),
        ),
        dim=1,
    )


def phrase_flags(is_thing: Tensor, links: Tensor, num_phrases: int) -> tuple[Tensor, Tensor]:
    """Whether each phrase is a plural, and whether it names a thing.

    These are the splits of panoptic narrative grounding: a phrase is a plural if it
    has more than one link, whatever its grammar, and its class is that of the region
    in its last link.

    Args:
        is_thing: Whether each region is a thing and not stuff, boolean, shape (R, ).
        links: Pairs (phrase, region), int64, shape (K, 2). The order of the links of
            one phrase matters.
        num_phrases: Number of phrases, N.

    Returns:
        ``is_plural`` and ``is_thing`` of each phrase, both boolean, shape (N, ).

    Raises:
        ValueError: If a phrase has no link, because it has no class then, or if a
            link names a phrase that does not exist.
    """
    last = last_regions(links, num_phrases)
    return links[:, 0].bincount(minlength=num_phrases) > 1, is_thing[last].bool()


def last_regions(links: Tensor, num_phrases: int) -> Tensor:
    """The region of each phrase's last link, which gives the phrase its class.

    Args:
        links: Pairs (phrase, region), int64, shape (K, 2).
        num_phrases: Number of phrases, N.

    Returns:
        Indices of regions, int64, shape (N, ).

    Raises:
        ValueError: As :func:`phrase_flags`.
    """
    phrase, region = links.unbind(1)
    counts = phrase.bincount(minlength=num_phrases)
    if len(counts) > num_phrases:
        raise ValueError(
            f'a link names phrase {len(counts) - 1}, but there are {num_phrases} phrases '
            '(counted from 0)'
        )
    if (counts == 0).any():
        unlinked = (counts == 0).nonzero().flatten().tolist()
        raise ValueError(f'phrases {unlinked} have no linked region (phrases count from 0)')
    by_phrase = phrase.argsort(stable=True)
    return region[by_phrase[counts.cumsum(0) - 1]]
