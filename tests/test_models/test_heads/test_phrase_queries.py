import torch
from small_ppmn import batch, build, sample, write_vocabulary

from mmground.models.heads import PhraseQueries
from mmground.models.heads.phrase_queries import is_first_of_run, rank_in_groups


def _encode(tmp_path, *pairs):
    model = build(write_vocabulary(tmp_path / 'vocab.txt')).eval()
    samples = model.data_preprocessor(batch(*pairs))['data_samples']
    with torch.no_grad():
        return model.encode_text(samples), samples


def test_slots_follow_the_text_whatever_the_order_of_its_phrases(tmp_path):
    image, own = sample('[two blue rings] on [the grass]', path='b.jpg')
    own.set_metainfo(dict(phrases=own.phrases[::-1]))
    text, samples = _encode(tmp_path, sample('[a ring]', path='a.jpg'), (image, own))
    queries = PhraseQueries.pack(text, samples)
    assert queries.image_index.tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    assert queries.phrase_index.tolist() == [0, 0, 1, 1, 2, 2, 2, 2]
    assert queries.slots.tolist() == [0, 1, 4, 5, 0, 1, 2, 3]
    phrases = PhraseQueries.pack(text, samples, query='phrase')
    assert phrases.slots.tolist() == [0, 1, 0]
    assert phrases.phrase_index.tolist() == [0, 1, 2]
    assert queries.geometries == tuple(own.geometry for own in samples)


def test_texts_of_one_image_have_slots_of_their_own(tmp_path):
    text, samples = _encode(tmp_path, *(sample(own) for own in ('[a ring]', '[a red star]')))
    queries = PhraseQueries.pack(text, samples)
    assert queries.image_index.tolist() == [0] * 5
    assert queries.slots.tolist() == [0, 1, 0, 1, 2]
    assert queries.geometries == (samples[0].geometry,)


def test_a_limit_drops_what_is_behind(tmp_path):
    text, samples = _encode(tmp_path, sample('[a red star] on [the grass], [a ring]'))
    queries = PhraseQueries.pack(text, samples, max_queries=4)
    assert queries.phrase_index.tolist() == [0, 0, 0, 1]
    assert queries.dropped.tolist() == [False, False, True]
    # The piece that is left is the first.
    torch.testing.assert_close(queries.features[-1], text.pieces[0, 5])


def test_ranks_against_a_loop():
    torch.manual_seed(0)
    keys, group = torch.randint(5, (40,)), torch.randint(4, (40,))
    ranks = rank_in_groups(keys, group)
    for index in range(40):
        before = [
            other
            for other in range(40)
            if group[other] == group[index] and (keys[other], other) < (keys[index], index)
        ]
        assert ranks[index] == len(before)
    assert rank_in_groups(keys[:0], group[:0]).shape == (0,)


def test_runs():
    index = torch.tensor([1, 1, 2, 5, 5])
    assert is_first_of_run(index).tolist() == [True, False, True, True, False]
    assert is_first_of_run(index[:0]).shape == (0,)
