from collections.abc import Mapping


def fill_test_cfg(given: Mapping | None, **defaults) -> dict:
    """Complete a head's ``test_cfg``.

    Args:
        given: What the config sets, if anything.
        **defaults: All settings that there are.

    Raises:
        ValueError: If there is no such setting.

    Example:
        >>> fill_test_cfg(dict(threshold=0.4), threshold=0.5, topk=1)
        {'threshold': 0.4, 'topk': 1}
    """
    unknown = set(given or ()) - set(defaults)
    if unknown:
        raise ValueError(f'test_cfg has no {sorted(unknown)}; it takes {list(defaults)}')
    return {**defaults, **(given or {})}
