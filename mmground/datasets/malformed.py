from typing import NoReturn


def malformed(path: str, record: str, error: Exception) -> NoReturn:
    """Raise a ValueError that names an annotation file's entry and what is wrong with it."""
    problem = f'there is no {error}' if isinstance(error, KeyError) else str(error)
    raise ValueError(
        f'{path}: {record} is malformed ({problem}); the file is not the published one: '
        'download it again'
    ) from error
