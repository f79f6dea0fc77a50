import importlib.util
import uuid
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope

REPO = Path(__file__).parents[3]


@pytest.fixture(scope='module')
def tool():
    path = REPO / 'tools' / 'misc' / 'print_samples.py'
    spec = importlib.util.spec_from_file_location('print_samples', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def config(tmp_path, monkeypatch):
    module = f'module_{uuid.uuid4().hex}'
    (tmp_path / f'{module}.py').write_text(
        'from mmengine.dataset import BaseDataset\n'
        'from mmground.registry import DATASETS\n\n\n'
        '@DATASETS.register_module()\n'
        f'class Data_{module}(BaseDataset):\n'
        '    def load_data_list(self):\n'
        '        print("loading")\n'
        '        rows = (("1.jpg", "a cat\\nsits", (0, 5)), ("1.jpg", "a dog", (0, 5)),\n'
        '                ("2.jpg", "a cat", (0, 5), (2, 5)), ("3.jpg", "see a cat", (4, 9)),\n'
        '                ("4.jpg", "a cow", (0, 5)))\n'
        '        return [dict(img_path=path, text=text, phrases=[dict(span=s) for s in spans])\n'
        '                for path, text, *spans in rows]\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())
    path = tmp_path / 'config.py'
    path.write_text(
        f"custom_imports = dict(imports=['{module}'])\n"
        f"test_dataloader = dict(dataset=dict(type='Data_{module}'))\n"
    )
    return str(path)


def test_prints_one_line_per_picture(tool, config, capsys):
    tool.main([config, '--num', '2'])
    printed = capsys.readouterr()
    assert printed.out == '1.jpg\t[a cat] sits\n3.jpg\tsee [a cat]\n'
    assert printed.err == 'loading\n1 texts left out: their phrases overlap\n'


def test_a_text_that_is_one_phrase(tool, config, capsys):
    tool.main([config, '--num', '3'])
    assert capsys.readouterr().out.endswith('4.jpg\t[a cow]\n')


def test_missing_config_is_one_error(tool, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        tool.main([str(tmp_path / 'nowhere.py')])
    assert stop.value.code == 2
    assert 'config file does not exist' in capsys.readouterr().err
