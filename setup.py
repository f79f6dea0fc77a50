"""Package metadata; the requirements stand in ``requirements/``, one file per extra."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
# What OpenMMLab's package manager and ``mmground::...`` config names look for in ``.mim``.
MIM = ('configs', 'demo', 'model-index.yml', 'tools')
MIM_SUFFIXES = ('.md', '.py', '.sh', '.yml')


def read_requirements(name: str) -> list[str]:
    """Requirement specifiers of ``requirements/<name>.txt`` without comments and blank lines."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


def read_version() -> str:
    """The package's version, without importing the package (its imports are not installed yet)."""
    namespace: dict = {}
    exec((ROOT / 'mmground' / 'version.py').read_text(encoding='utf-8'), namespace)
    return namespace['__version__']


def read_long_description() -> str:
    """The README."""
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.exists() else ''


def mim_files() -> list[str]:
    """Files of the folders in ``MIM``, relative to the root."""
    found = []
    for name in MIM:
        path = ROOT / name
        found += path.rglob('*') if path.is_dir() else [path]
    return sorted(str(p.relative_to(ROOT)) for p in found if p.suffix in MIM_SUFFIXES)


class BuildWithMim(build_py):
    """Puts configs, tools and the index of models into the package, as ``mmground/.mim``.

    An editable installation gets links in their place, so that edits show.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            self._link()
            return
        for name in mim_files():
            target = self._mim / name
            target.parent.mkdir(parents=True, exist_ok=True)
            # With its mode: the shell scripts are executable.
            shutil.copy2(ROOT / name, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = super().get_outputs(include_bytecode)
        if self.editable_mode:
            return outputs
        return outputs + [str(self._mim / name) for name in mim_files()]

    @property
    def _mim(self) -> Path:
        return Path(self.build_lib) / 'mmground' / '.mim'

    def _link(self) -> None:
        folder = ROOT / 'mmground' / '.mim'
        folder.mkdir(exist_ok=True)
        for name in MIM:
            link = folder / name
            link.unlink(missing_ok=True)
            link.symlink_to(Path('..', '..', name))


if __name__ == '__main__':
    setup(
        name='mmground',
        version=read_version(),
        description='Visual grounding systems as MMEngine components',
        long_description=read_long_description(),
        long_description_content_type='text/markdown',
        author='The mmground authors',
        license='Apache-2.0',
        license_files=['LICENSE'],
        keywords=['visual grounding', 'referring expressions', 'panoptic narrative grounding'],
        classifiers=[
            'Development Status :: 3 - Alpha',
            'Intended Audience :: Science/Research',
            'Operating System :: POSIX :: Linux',
            'Programming Language :: Python :: 3',
            'Programming Language :: Python :: 3.11',
            'Topic :: Scientific/Engineering :: Artificial Intelligence',
        ],
        packages=find_packages(include=['mmground', 'mmground.*']),
        cmdclass=dict(build_py=BuildWithMim),
        # From Python 3.14 on, the dependencies of onedl-mmdetection contradict each other: imaug
        # wants numpy >= 2.3 there, and an opencv-python that needs numpy < 2.3.
        python_requires='>=3.11,<3.14',
        install_requires=read_requirements('runtime'),
        extras_require={
            name: read_requirements(name) for name in ('test', 'nlp', 'docs', 'tensorboard')
        },
        zip_safe=False,
    )
