from collections.abc import Iterator

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmground.datasets.proposal_store import check_same_classes
from mmground.datasets.transforms import LoadProposals
from mmground.registry import HOOKS
from mmground.utils.model_wrapper import unwrap_model


@HOOKS.register_module()
class ProposalCategoriesHook(Hook):
    """Checks that the proposals of the data carry the categories that the head compares with words.

    A head with a :class:`.SemanticSimilarity` has names of categories, which a config gives it
    apart from the proposals. Labels of another detector would be read with wrong names.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the training data.

        Args:
            runner: The runner.

        Raises:
            ValueError: If a file of proposals has other categories.
        """
        _check(runner, runner.train_dataloader)

    def before_val(self, runner: Runner) -> None:
        """Check the validation data; see :meth:`before_train`."""
        _check(runner, runner.val_dataloader)

    def before_test(self, runner: Runner) -> None:
        """Check the test data; see :meth:`before_train`."""
        _check(runner, runner.test_dataloader)


def _check(runner: Runner, loader: DataLoader) -> None:
    model = unwrap_model(runner.model)
    similarity = getattr(getattr(model, 'head', None), 'similarity', None)
    if similarity is None:
        return
    for transform in _transforms(loader.dataset):
        if isinstance(transform, LoadProposals):
            theirs = transform.store.header['classes']
            check_same_classes(similarity.names, theirs, f'{transform.path}: the proposals')


def _transforms(dataset) -> Iterator:
    """Those of a data set and of what it is made of."""
    for part in getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]:
        if part is not None:
            yield from _transforms(part)
    yield from getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
