"""The wheel: what setup.py puts into the package besides its modules."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def test_the_index_of_models_names_existing_configs():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    listed = {str(path.relative_to(ROOT)) for path in ROOT.glob('configs/*/metafile.yml')}
    assert set(index['Import']) == listed
    for name in index['Import']:
        metafile = yaml.safe_load((ROOT / name).read_text())
        collections = {collection['Name'] for collection in metafile['Collections']}
        names = [model['Name'] for model in metafile['Models']]
        assert len(set(names)) == len(names)
        for model in metafile['Models']:
            assert model['In Collection'] in collections
            assert (ROOT / model['Config']).is_file()
            assert Path(model['Config']).stem == model['Name']


# The names that metafiles have for the columns of a README's tables of results.
COLUMNS = {
    'overall': 'AR',
    'singulars': 'AR (singulars)',
    'plurals': 'AR (plurals)',
    'things': 'AR (things)',
    'stuff': 'AR (stuff)',
    **{
        f'{task} {split}': f'{metric} ({split})'
        for task, metric in (
            ('REC', 'Acc@0.5'),
            ('RES', 'mIoU'),
            ('Acc', 'Acc@0.5'),
            ('PointIt', 'PointIt'),
        )
        for split in ('val', 'test', 'testA', 'testB')
    },
    **{
        f'{metric} {split}': f'{metric} ({split})'
        for metric in ('Pr@0.5', 'Pr@0.9')
        for split in ('testA', 'testB')
    },
}


@pytest.mark.parametrize('path', sorted(ROOT.glob('configs/*/metafile.yml')), ids=str)
def test_metafiles_have_the_numbers_of_the_tables(path):
    tables = set()
    for line in (path.parent / 'README.md').read_text(encoding='utf-8').splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if cells[0] == 'config':
            places = {
                name: cells.index(column) for column, name in COLUMNS.items() if column in cells
            }
        link = re.match(r'\[.*\]\((.*\.py)\)$', cells[0])
        if link:
            config = (path.parent / link[1]).relative_to(ROOT).as_posix()
            tables |= {
                (config, name, float(cells[place]))
                for name, place in places.items()
                if cells[place]
            }
    metafile = yaml.safe_load(path.read_text())
    listed = {
        (model['Config'], name, value)
        for model in metafile['Models']
        for result in model.get('Results', ())
        for name, value in result['Metrics'].items()
    }
    assert len(listed) >= 5
    assert listed == tables


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The wheel, built beside the source tree."""
    folder = tmp_path_factory.mktemp('wheel')
    (folder / 'egg').mkdir()
    commands = [
        *('build', '--build-base', folder / 'build'),
        *('egg_info', '--egg-base', folder / 'egg'),
        *('bdist_wheel', '--bdist-dir', folder / 'bdist', '--dist-dir', folder / 'dist'),
    ]
    subprocess.run([sys.executable, 'setup.py', '-q', *commands], cwd=ROOT, check=True)
    (path,) = (folder / 'dist').iterdir()
    return path


def test_wheel_has_configs_tools_and_demo(wheel):
    with zipfile.ZipFile(wheel) as archive:
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
    packed = {name.removeprefix('mmground/.mim/') for name in modes if '/.mim/' in name}
    expected = {'model-index.yml'}
    for folder in ('configs', 'demo', 'tools'):
        expected |= {
            str(path.relative_to(ROOT))
            for path in (ROOT / folder).rglob('*')
            if path.is_file() and '__pycache__' not in path.parts
        }
    assert packed == expected
    scripts = [mode for name, mode in modes.items() if name.endswith('.sh')]
    assert len(scripts) > 4 and all(mode & 0o111 for mode in scripts)
    assert 'mmground/models/heads/phrase_pixel_head.py' in modes
    assert not any(name.startswith(('tests/', 'tools/', 'configs/')) for name in modes)


def test_an_editable_installation_gets_links(tmp_path):
    root = tmp_path / 'root'
    names = ('configs', 'demo', 'tools')
    for folder in ('mmground', *names):
        (root / folder).mkdir(parents=True)
    shutil.copytree(ROOT / 'requirements', root / 'requirements')
    for name in ('setup.py', 'LICENSE', 'model-index.yml', 'mmground/version.py'):
        shutil.copy(ROOT / name, root / name)
    (root / 'mmground' / '__init__.py').touch()
    for out in ('first', 'again'):
        command = ['editable_wheel', '--dist-dir', tmp_path / out]
        subprocess.run([sys.executable, 'setup.py', '-q', *command], cwd=root, check=True)
    mim = root / 'mmground' / '.mim'
    assert {path.name for path in mim.iterdir()} == {*names, 'model-index.yml'}
    for link in mim.iterdir():
        assert link.is_symlink()
        assert link.samefile(root / link.name)


def test_an_installed_package_finds_its_configs(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / 'site')
    # The README's example.
    name = 'mmground::ppmn/ppmn_r101-fpn_4xb12-14e_png.py'
    assert f'`_base_ = {name!r}`' in (ROOT / 'README.md').read_text(encoding='utf-8')
    inheriting = tmp_path / 'mine.py'
    inheriting.write_text(f'_base_ = {name!r}\nmodel = dict(head=dict(num_rounds=1))')
    code = (
        'import mmground\n'
        'from mmengine.config import Config\n'
        'from mmengine.hub import get_config\n'
        f'cfg = get_config({name!r})\n'
        f'mine = Config.fromfile({str(inheriting)!r})\n'
        'print(cfg.filename, mine.model.head.type, mine.model.head.num_rounds)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(tmp_path / 'site'), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        check=True,
    )
    filename, *head = done.stdout.split()[-3:]
    assert Path(filename).is_relative_to(tmp_path / 'site' / 'mmground' / '.mim' / 'configs')
    assert head == ['PhrasePixelHead', '1']
