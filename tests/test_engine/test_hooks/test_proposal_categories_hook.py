from types import SimpleNamespace

import pytest
from data_factory import write_flickr30k_dataset
from mmengine.dataset import ConcatDataset

from mmground.datasets import Flickr30kEntitiesDataset
from mmground.datasets.proposal_store import ProposalWriter
from mmground.registry import HOOKS


@pytest.fixture
def runner_of(tmp_path):
    """A runner whose data have proposals with some categories."""
    root = write_flickr30k_dataset(tmp_path)

    def make(classes, wrapped=False, ours=('Star', 'ring')):
        path = str(tmp_path / f'{len(classes)}.db')
        header = dict(detector='d', classes=classes, config_hash='h')
        with ProposalWriter(path, header, overwrite=True):
            pass
        pipeline = [dict(type='LoadGroundingImage'), dict(type='LoadProposals', path=path)]
        dataset = Flickr30kEntitiesDataset(
            ann_file='train.txt', data_root=root, pipeline=pipeline, lazy_init=wrapped
        )
        if wrapped:
            dataset = ConcatDataset([dataset], lazy_init=True)
        loader = SimpleNamespace(dataset=dataset)
        head = SimpleNamespace()
        if ours is not None:
            head.similarity = SimpleNamespace(names=list(ours))
        return SimpleNamespace(
            model=SimpleNamespace(head=head),
            train_dataloader=loader,
            val_dataloader=loader,
            test_dataloader=loader,
        )

    return make


@pytest.mark.parametrize('event', ['before_train', 'before_val', 'before_test'])
def test_other_categories_are_an_error(runner_of, event):
    check = getattr(HOOKS.build(dict(type='ProposalCategoriesHook')), event)
    for wrapped in (False, True):
        check(runner_of(['star', 'ring'], wrapped))
        with pytest.raises(ValueError, match=r"db: the proposals have other .* 'box' and 'ring'"):
            check(runner_of(['star', 'box'], wrapped))
    with pytest.raises(ValueError, match=r'3 and 2, of which number 2 is'):
        check(runner_of(['star', 'ring', 'box']))
    # A head that does not compare with names has nothing to check.
    check(runner_of(['box'], ours=None))
