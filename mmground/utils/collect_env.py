"""What a report of a problem should say about the installation."""

import subprocess
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from mmengine.utils.dl_utils import collect_env as collect_base_env

import mmground

# Distributions that install a package of this name. Those in a row write the same folder.
_DISTRIBUTIONS = {
    'MMEngine': ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
    'MMCV': ('onedl-mmcv', 'mmcv', 'mmcv-lite', 'mmcv-full'),
    'MMDetection': ('onedl-mmdetection', 'mmdet'),
    'MMSegmentation': ('onedl-mmsegmentation', 'mmsegmentation'),
    'transformers': ('transformers',),
    'tokenizers': ('tokenizers',),
    'pycocotools': ('pycocotools',),
    'spaCy': ('spacy',),
}


def collect_env() -> dict[str, str]:
    """Collect the environment: MMEngine's report and what mmground adds.

    Returns:
        Lines of the report by name. MMEngine's: platform, Python, GPU and CUDA, compiler,
        PyTorch with its build, OpenCV. Added: the versions of the sister libraries with the
        distribution that each comes from (two for one folder are pointed out), of the
        libraries for text and masks, whether mmcv's operators are compiled, and mmground's
        version with its commit where it runs from a git checkout.

    Example:
        >>> print(collect_env()['MMCV operators'])  # doctest: +SKIP
        compiled, GCC 12.2, CUDA not available
    """
    env = _base_env()
    for name, distributions in _DISTRIBUTIONS.items():
        env[name] = _version(distributions)
    env['MMCV operators'] = _mmcv_operators()
    commit = git_commit(Path(mmground.__file__))
    env['mmground'] = mmground.__version__ + (f'+{commit}' if commit else '')
    return env


def _base_env() -> dict[str, str]:
    try:
        return {name: str(value) for name, value in collect_base_env().items()}
    except Exception as error:
        # A broken package, which MMEngine imports for its version, must not hide the rest.
        return {
            'sys.platform': sys.platform,
            'Python': sys.version.replace('\n', ''),
            'PyTorch': torch.__version__,
            "MMEngine's report": f'failed: {type(error).__name__}: {error}',
        }


def _version(distributions: tuple[str, ...]) -> str:
    found = []
    for name in distributions:
        try:
            found.append(f'{version(name)} ({name})')
        except PackageNotFoundError:
            continue
    if len(found) > 1:
        return f'{", ".join(found)}: they write the same folder, uninstall both and install one'
    return found[0] if found else 'not installed'


def _mmcv_operators() -> str:
    try:
        import_module('mmcv._ext')
        ops = import_module('mmcv.ops')
    except ImportError as error:
        return f'not compiled: {error}'
    return f'compiled, {ops.get_compiler_version()}, CUDA {ops.get_compiling_cuda_version()}'


def git_commit(file: Path) -> str | None:
    """The commit of the checkout that tracks a file.

    Args:
        file: A file of the checkout.

    Returns:
        The commit's first characters, with ``-dirty`` where tracked files are changed; None
        if git does not track the file, as in an installed package.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ['git', '-C', str(file.parent), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git('ls-files', '--error-unmatch', file.name)
        commit = git('rev-parse', '--short', 'HEAD')
        changed = git('status', '--porcelain', '--untracked-files=no')
    except (OSError, subprocess.CalledProcessError):
        return None
    return f'{commit}-dirty' if changed else commit
