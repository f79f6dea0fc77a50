import json

import pytest
import torch
from data_factory import flickr_relations

from mmground.models.heads import RelationClassifier


def _write(path, **changes):
    path.write_text(json.dumps(flickr_relations() | changes))
    return str(path)


def test_the_number_is_that_of_the_file(tmp_path):
    path = _write(tmp_path / 'relations.json')
    network = RelationClassifier(4, path)
    assert network(torch.zeros(2, 8)).shape == (2, 3)
    assert RelationClassifier(4, 9)(torch.zeros(2, 8)).shape == (2, 9)
    with pytest.raises(ValueError, match=r'no predicates.*lower --min-count'):
        RelationClassifier(4, _write(tmp_path / 'none.json', predicates=[], counts=[]))


def test_a_checkpoint_brings_its_own_number(tmp_path):
    torch.manual_seed(0)
    published = RelationClassifier(4, 9)
    own = _write(tmp_path / 'relations.json')
    for path in (str(tmp_path / 'nowhere.json'), own):
        network = RelationClassifier(4, path)
        weight = network[-1].weight
        assert not any(network.load_state_dict(published.state_dict(), strict=True))
        # The same parameter, so that an optimizer that has it goes on.
        assert network[-1].weight is weight
        assert network[-1].out_features == 9
        pairs = torch.randn(3, 8)
        assert torch.equal(network(pairs), published(pairs))
    with pytest.raises(RuntimeError, match='size mismatch'):
        RelationClassifier(4, 3).load_state_dict(published.state_dict())
