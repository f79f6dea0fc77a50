"""The tool on a small model of random weights, as a user runs it."""

import os

import mmcv
import pytest
from small_jmceln import small_jmceln
from small_pbrec import expression_files, referring_files
from tool_loader import load_tool


@pytest.fixture(scope='module')
def main():
    return load_tool('analysis_tools/draw_stages')


def test_a_picture_per_expression(main, tmp_path, capsys):
    files = expression_files(tmp_path, small_jmceln())
    out = tmp_path / 'out'
    argv = [files.config, files.checkpoint, files.image, 'the red star', 'a ring']
    written = main([*argv, f'--out-dir={out}', '--device=cpu'])
    assert sorted(os.listdir(out)) == ['photo_1_stages.png', 'photo_stages.png']
    assert written == [str(out / name) for name in ('photo_stages.png', 'photo_1_stages.png')]
    # The image and three masks beside each other.
    height, width = mmcv.imread(written[0]).shape[:2]
    assert width > 2.5 * height
    assert f'{written[0]}: the red star' in capsys.readouterr().out


def test_a_model_of_another_kind(main, tmp_path):
    files = referring_files(tmp_path, [])
    argv = [files.config, files.checkpoint, files.image, 'a ring', f'--out-dir={tmp_path}']
    with pytest.raises(SystemExit, match='with a ContextualCascadeHead; this one has a PointG'):
        main([*argv, '--device=cpu'])
