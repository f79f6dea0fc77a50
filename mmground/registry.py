"""mmground's registries: children of MMEngine's roots, scope ``mmground``.

A type that is not found here is looked up in MMEngine's root registry, and one
of a sister library by its scope (``mmdet.ResNet``). A registry's locations are the
modules that register its components, so it fills itself on first use; those without a
location are there for components from outside.
"""

from mmengine import registry as roots
from mmengine.registry import Registry

__all__ = [
    'DATASETS',
    'DATA_SAMPLERS',
    'EVALUATOR',
    'FUNCTIONS',
    'HOOKS',
    'INFERENCERS',
    'LOG_PROCESSORS',
    'LOOPS',
    'METRICS',
    'MODELS',
    'MODEL_WRAPPERS',
    'OPTIMIZERS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'PARAM_SCHEDULERS',
    'RUNNERS',
    'RUNNER_CONSTRUCTORS',
    'TASK_UTILS',
    'TRANSFORMS',
    'VISBACKENDS',
    'VISUALIZERS',
    'WEIGHT_INITIALIZERS',
]


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(parent.name, parent=parent, scope='mmground', locations=list(locations))


DATASETS = _child(roots.DATASETS, 'mmground.datasets')
DATA_SAMPLERS = _child(roots.DATA_SAMPLERS, 'mmground.datasets')
TRANSFORMS = _child(roots.TRANSFORMS, 'mmground.datasets.transforms')
MODELS = _child(roots.MODELS, 'mmground.models')
TASK_UTILS = _child(roots.TASK_UTILS, 'mmground.models')
METRICS = _child(roots.METRICS, 'mmground.evaluation')
HOOKS = _child(roots.HOOKS, 'mmground.engine')
OPTIM_WRAPPERS = _child(roots.OPTIM_WRAPPERS, 'mmground.engine')
PARAM_SCHEDULERS = _child(roots.PARAM_SCHEDULERS, 'mmground.engine')
VISUALIZERS = _child(roots.VISUALIZERS, 'mmground.visualization')
INFERENCERS = _child(roots.INFERENCERS, 'mmground.apis')

# Without a child of its own, a look-up in the scope warns before it falls back on the root.
EVALUATOR = _child(roots.EVALUATOR)
FUNCTIONS = _child(roots.FUNCTIONS)
LOG_PROCESSORS = _child(roots.LOG_PROCESSORS)
LOOPS = _child(roots.LOOPS)
MODEL_WRAPPERS = _child(roots.MODEL_WRAPPERS)
OPTIMIZERS = _child(roots.OPTIMIZERS)
OPTIM_WRAPPER_CONSTRUCTORS = _child(roots.OPTIM_WRAPPER_CONSTRUCTORS)
RUNNERS = _child(roots.RUNNERS)
RUNNER_CONSTRUCTORS = _child(roots.RUNNER_CONSTRUCTORS)
VISBACKENDS = _child(roots.VISBACKENDS)
WEIGHT_INITIALIZERS = _child(roots.WEIGHT_INITIALIZERS)
