"""The documentation: links and paths lead somewhere, code is code, examples run."""

import ast
import importlib.util
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from mmengine.config import Config
from pygments.lexers.shell import BashLexer
from pygments.token import Token
from small_ppmn import packed_queries

from mmground.registry import MODELS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / 'docs' / 'en'
PAGES = sorted(path for path in DOCS.glob('*.md') if path.name != 'index.md')


def code_blocks(page, language):
    return re.findall(rf'^```{language}\n(.*?)^```$', page.read_text(), re.DOTALL | re.MULTILINE)


def anchors(page):
    """Headings as link targets, in GitHub's form."""
    text = re.sub(r'^```.*?^```$', '', page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
    return {
        re.sub(r'[^\w\- ]', '', heading.lower()).strip().replace(' ', '-') for heading in headings
    }


def test_the_index_lists_every_page_once():
    listed = []
    for block in code_blocks(DOCS / 'index.md', r'\{toctree\}'):
        listed += [line for line in block.splitlines() if line and not line.startswith(':')]
    assert sorted(listed) == [page.stem for page in PAGES]


@pytest.mark.parametrize('page', [*PAGES, ROOT / 'README.md'], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)\s]+)\)', page.read_text()):
        if target.startswith(('http://', 'https://')):
            continue
        name, _, anchor = target.partition('#')
        path = (page.parent / name) if name else page
        assert path.exists(), f'{page.name} links to {target}'
        assert not anchor or anchor in anchors(path), f'{page.name} links to {target}'


@pytest.mark.parametrize('page', [*PAGES, ROOT / 'README.md'], ids=lambda page: page.stem)
def test_paths_of_the_repository_exist(page):
    folders = 'configs|demo|docs|mmground|projects|requirements|tests|tools'
    paths = re.findall(rf'(?<![\w/.<-])((?:{folders})/[\w./-]*\w)(?![\w<*{{])', page.read_text())
    missing = sorted({path for path in paths if not (ROOT / path).exists()})
    assert missing == [], f'{page.name} names paths that do not exist'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_python_code_is_python(page):
    for block in code_blocks(page, 'python'):
        ast.parse(block)


@pytest.mark.parametrize('page', [*PAGES, ROOT / 'README.md'], ids=lambda page: page.stem)
def test_shell_code_is_shell(page):
    # What Sphinx cannot colour fails the build of the documentation.
    for block in code_blocks(page, 'bash'):
        wrong = [text for kind, text in BashLexer().get_tokens(block) if kind is Token.Error]
        assert wrong == [], block


@pytest.fixture
def module_from_the_page(tmp_path, monkeypatch):
    """The example module of adding_a_system.md, importable."""
    module, config = code_blocks(DOCS / 'adding_a_system.md', 'python')[:2]
    folder = tmp_path / 'my_package'
    folder.mkdir()
    (folder / '__init__.py').touch()
    (folder / 'mean.py').write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / 'my_config.py'
    path.write_text(config.replace('path/to/mmground', ROOT.as_posix()))
    yield path
    MODELS.module_dict.pop('MeanAggregation', None)
    for name in ('my_package', 'my_package.mean'):
        sys.modules.pop(name, None)


def test_the_example_of_a_module_works(module_from_the_page):
    cfg = Config.fromfile(module_from_the_page)
    head = MODELS.build(cfg.model.head)
    aggregations = [part.refinement.aggregation for part in head.rounds]
    assert {type(part).__name__ for part in aggregations} == {'MeanAggregation'}
    # As wide as the config says.
    feats = torch.rand(1, cfg.model.head.in_channels, 8, 8)
    queries = torch.rand(3, cfg.model.head.text_channels)
    maps = head((feats,), packed_queries(queries, torch.zeros(3, dtype=torch.int64)))
    assert len(maps) == len(aggregations) + 1
    maps[-1].sum().backward()
    assert aggregations[-1].proj.weight.grad.any()


def test_the_picture_of_the_architecture_is_drawn(tmp_path):
    path = DOCS / '_scripts' / 'draw_architecture.py'
    spec = importlib.util.spec_from_file_location('draw_architecture', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([str(tmp_path / 'a.svg')])
    module.main([str(tmp_path / 'b.svg')])
    drawn = (tmp_path / 'a.svg').read_text()
    assert drawn == (tmp_path / 'b.svg').read_text(), 'drawn anew, the file is the same'
    committed = DOCS / 'images' / 'architecture.svg'
    sizes = [
        ElementTree.parse(picture).getroot().get('viewBox')
        for picture in (tmp_path / 'a.svg', committed)
    ]
    assert sizes[0] == sizes[1]
    texts = {text.get_text() for text in module.draw().axes[0].texts}
    assert {'backbone', 'neck', 'text_encoder', 'predict', 'loss'} <= texts


def test_sphinx_reads_the_package_version(monkeypatch):
    import mmground

    settings: dict = {'__file__': str(DOCS / 'conf.py')}
    exec((DOCS / 'conf.py').read_text(), settings)
    assert settings['release'] == mmground.__version__
