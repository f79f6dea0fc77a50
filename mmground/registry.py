"""mmground's registries: children of MMEngine's roots, scope ``mmground``.

A type that is not found here is looked up in MMEngine's root registry, and one
of a sister library by its scope (``mmdet.ResNet``). ``locations`` names the
modules that register components, so a registry fills itself on first use.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import INFERENCERS as MMENGINE_INFERENCERS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import TASK_UTILS as MMENGINE_TASK_UTILS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISUALIZERS as MMENGINE_VISUALIZERS
from mmengine.registry import Registry

DATASETS = Registry(
    'dataset', parent=MMENGINE_DATASETS, scope='mmground', locations=['mmground.datasets']
)
TRANSFORMS = Registry(
    'transform',
    parent=MMENGINE_TRANSFORMS,
    scope='mmground',
    locations=['mmground.datasets.transforms'],
)
MODELS = Registry('model', parent=MMENGINE_MODELS, scope='mmground', locations=['mmground.models'])
TASK_UTILS = Registry(
    'task util',
    parent=MMENGINE_TASK_UTILS,
    scope='mmground',
    locations=['mmground.models.task_modules'],
)
METRICS = Registry(
    'metric', parent=MMENGINE_METRICS, scope='mmground', locations=['mmground.evaluation']
)
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='mmground', locations=['mmground.engine'])
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmground',
    locations=['mmground.engine'],
)
VISUALIZERS = Registry(
    'visualizer',
    parent=MMENGINE_VISUALIZERS,
    scope='mmground',
    locations=['mmground.visualization'],
)
INFERENCERS = Registry(
    'inferencer', parent=MMENGINE_INFERENCERS, scope='mmground', locations=['mmground.apis']
)
