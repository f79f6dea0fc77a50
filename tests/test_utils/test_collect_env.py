import os
import subprocess
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mmground
from mmground.utils import collect_env

# The function of that name hides the module in the package.
module = import_module('mmground.utils.collect_env')
ROOT = Path(__file__).parents[2]


def test_reports_versions_and_operators():
    env = collect_env()
    assert env['MMCV'] == f'{version("onedl-mmcv")} (onedl-mmcv)'
    assert env['transformers'].startswith(version('transformers'))
    assert env['mmground'].startswith(mmground.__version__)
    assert env['MMCV operators'].startswith('compiled')
    assert {'Python', 'PyTorch', 'OpenCV', 'CUDA available'} <= env.keys()


def test_two_distributions_in_one_folder_are_pointed_out(monkeypatch):
    installed = {'onedl-mmcv': '2.3.6', 'mmcv': '2.1.0'}

    def fake(name):
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(module, 'version', fake)
    env = collect_env()
    assert env['MMCV'].startswith('2.3.6 (onedl-mmcv), 2.1.0 (mmcv): they write the same folder')
    assert env['spaCy'] == env['MMDetection'] == 'not installed'


def test_missing_operators_and_a_broken_package_do_not_hide_the_rest(monkeypatch):
    def broken():
        raise RuntimeError('operator torchvision::nms does not exist')

    monkeypatch.setattr(module, 'collect_base_env', broken)
    monkeypatch.setitem(sys.modules, 'mmcv._ext', None)
    env = collect_env()
    assert 'torchvision::nms' in env["MMEngine's report"]
    assert env['PyTorch'] and env['Python'].startswith('3.')
    assert env['MMCV operators'].startswith('not compiled: ')


def test_commit_of_a_checkout(tmp_path):
    def git(*arguments):
        identity = ['-c', 'user.name=a', '-c', 'user.email=a@example.com']
        subprocess.run(['git', '-C', str(tmp_path), *identity, *arguments], check=True)

    tracked, other = tmp_path / 'a.py', tmp_path / 'b.py'
    tracked.write_text('1')
    other.write_text('1')
    assert module.git_commit(tracked) is None
    git('init', '-q')
    git('add', 'a.py')
    git('commit', '-q', '-m', 'one', '--no-verify')
    head = (tmp_path / '.git' / 'HEAD').read_text().split()[-1]
    commit = (tmp_path / '.git' / head).read_text()
    assert commit.startswith(module.git_commit(tracked)) and len(module.git_commit(tracked)) >= 7
    # An installed package in a folder of someone's checkout is not of its commit.
    assert module.git_commit(other) is None
    tracked.write_text('2')
    assert module.git_commit(tracked).endswith('-dirty')


def test_the_tool_prints_it(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'misc' / 'collect_env.py')],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f'MMCV: {version("onedl-mmcv")} (onedl-mmcv)' in done.stdout.splitlines()
