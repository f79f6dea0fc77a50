"""The Makefile and tools/misc/install.sh, as far as they can be run without installing anything."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[3]
TOOLS = ('bash', 'make')

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS), reason=f'needs {" and ".join(TOOLS)}'
)


def run(*command, **environment) -> subprocess.CompletedProcess:
    """Run in the repository, with nothing of the caller's settings of the installation."""
    settings = ('PYTHON', 'VENV', 'TORCH', 'TORCH_INDEX_URL', 'EXTRAS', 'CXX', 'MAKEFLAGS')
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in settings and not name.startswith('DEMO_')
    }
    return subprocess.run(
        command,
        cwd=REPO,
        env={**inherited, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def make_n(target: str, venv: Path) -> list[str]:
    done = run('make', '--dry-run', '--no-print-directory', target, f'VENV={venv}')
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def position(lines: list[str], part: str) -> int:
    """Index of the first line that contains the part."""
    return next(index for index, line in enumerate(lines) if part in line)


def test_make_test_installs_then_lints_then_tests(tmp_path):
    lines = make_n('test', tmp_path)
    steps = ('tools/misc/install.sh', 'ruff check', 'ruff format --check', '-m pytest')
    positions = [position(lines, step) for step in steps]
    assert positions == sorted(positions)
    # Nothing before them, nothing between.
    assert len(lines) == len(steps)


def test_make_demo_runs_the_whole_chain(tmp_path):
    # As on a fresh machine: no data, nothing trained.
    variables = (f'DEMO_DATA={tmp_path}/data', f'DEMO_WORK_DIR={tmp_path}/work')
    done = run('make', '--dry-run', 'demo', f'VENV={tmp_path}', 'DEMO_SIZE=96', *variables)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    steps = ('tools/misc/install.sh', 'make_shapes.py', 'train.py', 'tools/test.py')
    positions = [position(lines, step) for step in (*steps, 'image_demo.py')]
    assert positions == sorted(positions)
    assert '--train 10000 --val 300 --size 96' in done.stdout


def test_make_demo_does_not_repeat_data_and_training(tmp_path):
    data_file = tmp_path / 'data' / 'annotations' / 'png_coco_val2017.json'
    for path in (data_file, tmp_path / 'work' / '.trained', tmp_path / 'work' / 'best_x.pth'):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    variables = (f'DEMO_DATA={tmp_path}/data', f'DEMO_WORK_DIR={tmp_path}/work')
    done = run('make', '--dry-run', 'demo', f'VENV={tmp_path}', *variables)
    assert done.returncode == 0, done.stderr
    assert 'make_shapes.py' not in done.stdout
    assert 'train.py' not in done.stdout
    assert f'{tmp_path}/work/best_x.pth --work-dir' in done.stdout


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(PYTHON=sys.executable, CXX='/nonexistent'), 'no working C++17 compiler'),
        (dict(PYTHON='/nonexistent'), 'no Python 3.11, 3.12 or 3.13 found (tried: /nonexistent)'),
    ],
)
def test_what_is_missing_is_one_error(tmp_path, settings, message):
    venv = tmp_path / 'venv'
    done = run('bash', 'tools/misc/install.sh', VENV=str(venv), **settings)
    assert done.returncode == 1
    assert done.stdout == ''
    errors = done.stderr.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith('error: ') and message in errors[0]
    assert not venv.exists(), 'nothing is left behind'


def test_no_compiler_on_the_path(tmp_path):
    # A PATH with all that the script calls, but no compiler.
    folder = tmp_path / 'bin'
    folder.mkdir()
    for tool in ('bash', 'cat', 'cksum', 'dirname', 'grep', 'sed'):
        (folder / tool).symlink_to(shutil.which(tool))
    done = run(
        'bash',
        'tools/misc/install.sh',
        PATH=str(folder),
        PYTHON=sys.executable,
        VENV=str(tmp_path / 'venv'),
    )
    assert done.returncode == 1
    assert 'no working C++17 compiler found (tried: c++, g++, clang++)' in done.stderr


@pytest.fixture
def fake_venv(tmp_path):
    """An environment whose Python claims to be right; pip and imports are recorded, not run."""
    folder = tmp_path / 'venv' / 'bin'
    folder.mkdir(parents=True)
    python = folder / 'python'
    calls = tmp_path / 'calls'
    python.write_text(
        '#!/usr/bin/env bash\n'
        f'printf "%s\\n" "$*" >>{calls}\n'
        'if [[ $* == *"import mmcv._ext"* ]]; then [[ -e "$(dirname "$0")/has_ops" ]]; exit; fi\n'
        'if [[ $* == *CUDA_HOME* ]]; then exit 1; fi\n'
        'if [[ $* == *"pip install"*onedl-mmcv* ]]; then\n'
        '    echo "${FAKE_PIP_OUTPUT:-}"\n'
        '    [[ $* == *"${FAKE_OPS_AFTER:-never}"* ]] && touch "$(dirname "$0")/has_ops"\n'
        'fi\n'
        'exit 0\n'
    )
    python.chmod(0o755)
    return tmp_path / 'venv', calls


def compiler(tmp_path) -> str:
    """A compiler that accepts everything."""
    path = tmp_path / 'cxx'
    path.write_text('#!/usr/bin/env bash\nexit 0\n')
    path.chmod(0o755)
    return str(path)


def test_installs_in_order_and_only_once(fake_venv, tmp_path):
    venv, calls = fake_venv
    settings = dict(VENV=str(venv), CXX=compiler(tmp_path), MAX_JOBS='1')
    first = run('bash', 'tools/misc/install.sh', FAKE_OPS_AFTER='onedl-mmcv', **settings)
    assert first.returncode == 0, first.stderr
    pip = [line for line in calls.read_text().splitlines() if 'pip install' in line]
    steps = ('torch==', 'requirements/build.txt', 'onedl-mmcv', '--editable .[test]')
    assert len(pip) == len(steps)
    for line, step in zip(pip, steps, strict=True):
        assert step in line
    assert '--index-url' not in pip[0]
    assert all('--no-build-isolation' in line for line in pip[2:])

    calls.unlink()
    second = run('bash', 'tools/misc/install.sh', **settings)
    assert second.returncode == 0
    assert 'nothing to do' in second.stdout
    assert not calls.exists()

    run('bash', 'tools/misc/install.sh', EXTRAS='test,docs', **settings)
    pip = [line for line in calls.read_text().splitlines() if 'pip install' in line]
    assert '--editable .[test,docs]' in pip[-1]
    assert not any('onedl-mmcv' in line for line in pip), 'the operators are there'


def test_torch_index_url(fake_venv, tmp_path):
    venv, calls = fake_venv
    url = 'https://example.invalid/cpu'
    settings = dict(VENV=str(venv), CXX=compiler(tmp_path), TORCH_INDEX_URL=url)
    run('bash', 'tools/misc/install.sh', FAKE_OPS_AFTER='onedl-mmcv', **settings)
    with_url = [line for line in calls.read_text().splitlines() if url in line]
    assert len(with_url) == 1
    assert with_url[0].endswith(f'--index-url {url} torch==2.13.0')


def test_a_cached_copy_without_operators_is_built_again(fake_venv, tmp_path):
    venv, calls = fake_venv
    done = run(
        'bash',
        'tools/misc/install.sh',
        VENV=str(venv),
        CXX=compiler(tmp_path),
        FAKE_PIP_OUTPUT='Using cached onedl_mmcv.whl',
        FAKE_OPS_AFTER='--no-cache-dir',
    )
    assert done.returncode == 0, done.stderr
    pip = [line for line in calls.read_text().splitlines() if 'onedl-mmcv' in line]
    assert ['--no-cache-dir' in line for line in pip] == [False, True]


def test_a_build_without_operators_is_an_error(fake_venv, tmp_path):
    venv, calls = fake_venv
    done = run(
        'bash',
        'tools/misc/install.sh',
        VENV=str(venv),
        CXX=compiler(tmp_path),
        FAKE_PIP_OUTPUT='Building wheel for onedl-mmcv (pyproject.toml)',
    )
    assert done.returncode == 1
    assert done.stderr.count('error:') == 1
    assert 'onedl-mmcv was built without working operators' in done.stderr
    assert 'editable' not in calls.read_text(), 'the installation stops there'
    assert not (venv / '.mmground-installed').exists()
