import importlib

from mmengine.registry import DefaultScope

_MODULES = (
    'mmground.apis',
    'mmground.datasets',
    'mmground.engine',
    'mmground.evaluation',
    'mmground.models',
    'mmground.visualization',
)


def register_all_modules(init_default_scope: bool = True) -> None:
    """Import every module of mmground that registers components.

    The registries fill themselves on first use, so this is needed only where a
    component is looked up without a config that names the scope: in notebooks,
    in scripts and in tests.

    Args:
        init_default_scope: Also make ``mmground`` the default scope of registry
            look-ups in this process. If another scope is active, a new one is
            made current, so that the types in mmground's configs resolve.
    """
    for module in _MODULES:
        importlib.import_module(module)
    if not init_default_scope:
        return
    current = DefaultScope.get_current_instance()
    if current is None or current.scope_name != 'mmground':
        name = 'mmground'
        if DefaultScope.check_instance_created(name):
            name = f'mmground-{len(DefaultScope._instance_dict)}'
        DefaultScope.get_instance(name, scope_name='mmground')
