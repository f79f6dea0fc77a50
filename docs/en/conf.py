"""Configuration of Sphinx: ``pip install -e '.[docs]' && make -C docs/en html``."""

from pathlib import Path

_namespace: dict = {}
exec((Path(__file__).parents[2] / 'mmground' / 'version.py').read_text(), _namespace)

project = 'mmground'
author = 'The mmground authors'
version = release = _namespace['__version__']

extensions = ['myst_parser', 'sphinx_copybutton']
source_suffix = {'.md': 'markdown'}
master_doc = 'index'
exclude_patterns = ['_build']
# Headings are link targets, as they are on GitHub.
myst_heading_anchors = 3

html_theme = 'sphinx_rtd_theme'
# Prompts are not copied.
copybutton_prompt_text = '$ '
