"""The tool on small models of random weights, as a user runs it."""

import os
from pathlib import Path
from types import SimpleNamespace

import mmcv
import pytest
from data_factory import write_refer_dataset
from mmengine.config import Config
from small_pbrec import referring_files
from tool_loader import load_tool
from toy_grounder import toy_image

KINDS = ('maps', 'proposals')


@pytest.fixture(scope='module')
def main():
    return load_tool('analysis_tools/draw_points')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return referring_files(tmp_path_factory.mktemp('referring'))


def arguments(files, out, *inputs, **changed):
    values = {**vars(files), **changed}
    return [values['config'], values['checkpoint'], *inputs, f'--out-dir={out}', '--device=cpu']


def test_two_pictures_per_expression(main, files, tmp_path, capsys):
    out = tmp_path / 'out'
    written = main(arguments(files, out, files.image, 'the red star', 'a ring'))
    names = [f'{name}_{kind}.png' for name in ('photo', 'photo_1') for kind in KINDS]
    assert written == [str(out / name) for name in names]
    assert sorted(os.listdir(out)) == sorted(names)
    for path in written:
        assert len(set(mmcv.imread(path).reshape(-1).tolist())) > 50
    output = capsys.readouterr().out
    assert f'{out / names[0]}: the red star' in output and 'left out' not in output


def test_a_folder_and_no_localisers(main, tmp_path, capsys):
    files = referring_files(tmp_path, [])
    folder = Path(files.image).parent
    mmcv.imwrite(toy_image()[:, ::-1], str(folder / 'second.png'))
    written = main(arguments(files, tmp_path / 'out', str(folder), 'the red star'))
    assert [Path(path).name for path in written] == ['photo_maps.png', 'second_maps.png']
    assert capsys.readouterr().out.count('left out: the model has no proposals') == 1


def test_samples_of_the_test_data(main, files, tmp_path):
    config = Config.fromfile(files.config)
    pipeline = config.test_dataloader.dataset.dataset.pipeline
    config.test_dataloader.dataset = dict(
        type='RefCocoDataset',
        name='refcoco',
        split='held-out',
        data_root=write_refer_dataset(tmp_path / 'data'),
        pipeline=pipeline,
        test_mode=True,
    )
    path = str(tmp_path / 'data.py')
    config.dump(path)
    out = tmp_path / 'out'
    few = main(arguments(files, out, '--num-samples=2', config=path))
    names = [Path(name).name for name in few]
    assert len(names) == len(set(names)) == 4
    everything = main(arguments(files, out, '--num-samples=1000', config=path))
    assert set(few) < set(everything)
    sample_id = names[0].removesuffix('_maps.png')
    assert main(arguments(files, out, '--sample-ids', sample_id, config=path)) == few[:2]
    with pytest.raises(SystemExit, match=r"^error: the test data has no sample 'absent'"):
        main(arguments(files, out, '--sample-ids', 'absent', config=path))


@pytest.mark.parametrize(
    ('inputs', 'message'),
    [
        (['absent.jpg', 'a star'], 'image absent.jpg does not exist'),
        (['absent.jpg'], 'give an expression about the image absent.jpg'),
        (['--num-samples=0'], '--num-samples must be at least 1, got 0'),
        (['IMAGE', '\u200b'], 'reads no piece'),
    ],
)
def test_mistakes_end_with_one_line(main, files, tmp_path, inputs, message):
    inputs = [files.image if own == 'IMAGE' else own for own in inputs]
    with pytest.raises(SystemExit, match=f'^error: .*{message}'):
        main(arguments(files, tmp_path / 'out', *inputs))
    assert not (tmp_path / 'out').exists()


def test_models_of_other_families(main, toy_files, tmp_path):
    files = SimpleNamespace(**vars(toy_files))
    with pytest.raises(
        SystemExit, match=r'^error: .* with a PointGroundingHead; this one has a Toy'
    ):
        main(arguments(files, tmp_path / 'out', files.image, 'a red star'))
