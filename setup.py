"""Package metadata; the requirements stand in ``requirements/``, one file per extra."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


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
        # From Python 3.14 on, the dependencies of onedl-mmdetection contradict each other: imaug
        # wants numpy >= 2.3 there, and an opencv-python that needs numpy < 2.3.
        python_requires='>=3.11,<3.14',
        install_requires=read_requirements('runtime'),
        extras_require={
            name: read_requirements(name) for name in ('test', 'nlp', 'demo', 'docs', 'tensorboard')
        },
        zip_safe=False,
    )
