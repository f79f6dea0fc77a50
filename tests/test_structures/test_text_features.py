import torch

from mmground.structures import TextFeatures


def _features():
    # 'a red star' and 'two rings' with a special token on both sides and padding
    offsets = torch.tensor(
        [
            [[0, 0], [0, 1], [2, 5], [6, 10], [0, 0]],
            [[0, 0], [0, 3], [4, 8], [8, 9], [0, 0]],
        ]
    )
    valid = torch.tensor([[0, 1, 1, 1, 0], [0, 1, 1, 1, 0]]).bool()
    return TextFeatures(
        torch.arange(20.0).reshape(2, 5, 2),
        valid,
        offsets,
        is_token=torch.ones(2, 5, dtype=torch.bool),
        truncated=torch.zeros(2, dtype=torch.bool),
    )


def test_pieces_of_phrases_may_overlap_and_keep_the_order():
    text = _features()
    spans = torch.tensor([[2, 10], [0, 5], [4, 9]])
    features, phrase_index, places = text.phrase_pieces(spans, torch.tensor([0, 0, 1]))
    assert phrase_index.tolist() == [0, 0, 1, 1, 2, 2]
    assert places.tolist() == [2, 3, 1, 2, 2, 3]
    expected = [text.pieces[0, 2], text.pieces[0, 3], text.pieces[0, 1]]
    expected += [text.pieces[0, 2], text.pieces[1, 2], text.pieces[1, 3]]
    torch.testing.assert_close(features, torch.stack(expected))


def test_a_span_inside_a_piece_takes_the_piece():
    _, phrase_index, _ = _features().phrase_pieces(torch.tensor([[3, 4]]), torch.tensor([0]))
    assert phrase_index.tolist() == [0]


def test_special_tokens_and_cut_off_text_have_no_pieces():
    features, phrase_index, _ = _features().phrase_pieces(
        torch.tensor([[0, 0], [50, 60]]), torch.tensor([0, 1])
    )
    assert len(features) == len(phrase_index) == 0
