import pytest
import torch

from mmground.structures import phrase_boxes, phrase_flags, phrase_masks


@pytest.fixture
def regions():
    return torch.rand(5, 7, 9, generator=torch.Generator().manual_seed(0)) > 0.6


# Out of order, with a plural, a shared region (3) and a phrase without a link (2).
LINKS = torch.tensor([[3, 3], [1, 4], [0, 3], [1, 0], [3, 1], [3, 2]])


def test_masks_are_the_union_of_linked_regions(regions):
    masks = phrase_masks(regions, LINKS, num_phrases=4)
    expected = torch.zeros(4, 7, 9, dtype=torch.bool)
    for phrase, region in LINKS.tolist():
        expected[phrase] |= regions[region]
    assert masks.dtype == torch.bool
    assert torch.equal(masks, expected)
    assert masks[3].sum() > regions[3].sum()
    assert not masks[2].any()


def test_masks_of_many_links(regions):
    """A count of 256 links must not wrap around to zero."""
    links = torch.zeros(256, 2, dtype=torch.int64)
    assert torch.equal(phrase_masks(regions, links, num_phrases=1)[0], regions[0])


def test_masks_without_links(regions):
    links = torch.zeros(0, 2, dtype=torch.int64)
    masks = phrase_masks(regions, links, num_phrases=2)
    assert masks.shape == (2, 7, 9)
    assert not masks.any()
    assert phrase_masks(regions[:0], links, num_phrases=0).shape == (0, 7, 9)


def test_boxes_are_those_around_the_linked_regions():
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(5, 2, 2, generator=generator).sort(1).values.flatten(1) - 0.5
    expected = []
    for phrase in range(4):
        own = [boxes[region].tolist() for linked, region in LINKS.tolist() if linked == phrase]
        x1, y1, x2, y2 = zip(*own, strict=True) if own else [[0]] * 4
        expected.append([min(x1), min(y1), max(x2), max(y2)])
    torch.testing.assert_close(phrase_boxes(boxes, LINKS, 4), torch.tensor(expected).float())
    no_links = torch.zeros(0, 2, dtype=torch.int64)
    assert phrase_boxes(boxes[:0], no_links, 2).tolist() == [[0] * 4] * 2


def test_flags_follow_number_of_links_and_class_of_the_last():
    is_thing = torch.tensor([False, True, False, True, True])
    links = torch.cat((LINKS, torch.tensor([[2, 0]])))
    is_plural, phrase_is_thing = phrase_flags(is_thing, links, num_phrases=4)
    assert is_plural.tolist() == [False, True, False, True]
    # The last links lead to the regions 3, 0, 0, 2.
    assert phrase_is_thing.tolist() == [True, False, False, False]


def test_flags_depend_on_link_order():
    is_thing = torch.tensor([False, True])
    links = torch.tensor([[0, 0], [0, 1]])
    assert phrase_flags(is_thing, links, 1)[1].tolist() == [True]
    assert phrase_flags(is_thing, links.flip(0), 1)[1].tolist() == [False]


def test_flags_of_no_phrases():
    links = torch.zeros(0, 2, dtype=torch.int64)
    is_plural, is_thing = phrase_flags(torch.tensor([True]), links, num_phrases=0)
    assert is_plural.shape == is_thing.shape == (0,)


def test_flags_reject_phrases_without_region():
    with pytest.raises(ValueError, match=r'phrases \[2\] have no linked region'):
        phrase_flags(torch.ones(5, dtype=torch.bool), LINKS, num_phrases=4)


def test_flags_reject_unknown_phrases():
    with pytest.raises(ValueError, match='names phrase 3, but there are 3 phrases'):
        phrase_flags(torch.ones(5, dtype=torch.bool), LINKS, num_phrases=3)
