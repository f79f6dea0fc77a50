"""The tool, on pictures of Grounding Shapes; what it writes is tested in test_proposal_cache.py."""

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from small_detectors import randomise, single_level_fcos
from small_ppmn import small_ppmn
from tool_loader import load_tool

from mmground.apis import init_model
from mmground.datasets.grounding_shapes import generate


@pytest.fixture(scope='module')
def files(tmp_path_factory, config_dir):
    """Config and checkpoint of a model with a localiser of boxes, with its data."""
    folder = tmp_path_factory.mktemp('cached')
    root = folder / 'shapes'
    generate(root, formats=['png'], counts=dict(train=1, val=3), size=64, workers=1)
    cfg = Config.fromfile(config_dir / '_base_/datasets/png_shapes.py')
    loader = cfg.val_dataloader
    loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    loader.dataset.data_root = str(root)
    loader.dataset.pipeline[1].scale = (64, 64)
    vocab = f'{root}/vocab.txt'
    model = dict(
        small_ppmn(vocab),
        localisers=dict(box=dict(type='FCOSLocaliser', detector=single_level_fcos(), level=0)),
    )
    model['text_encoder'] = dict(model['text_encoder'], vocab_size=320)
    config = Config(
        dict(
            default_scope='mmground',
            model=model,
            val_dataloader=loader,
            test_dataloader=loader,
        )
    )
    paths = [str(folder / name) for name in ('config.py', 'model.pth', 'boxes.pth')]
    config.dump(paths[0])
    built = init_model(config)
    randomise(built.localisers)
    torch.save(built.state_dict(), paths[1])
    return paths


def test_what_is_cached_is_not_detected_again(files, capsys):
    config, checkpoint, out = files
    load_tool('dataset_converters/cache_proposals')([config, checkpoint, out, '--loaders', 'val'])
    assert 'wrote 3 images' in capsys.readouterr().out
    live, cached = (
        init_model(config, checkpoint, cfg_options={'model.localisers.box.cache': cache})
        for cache in (None, out)
    )
    seen = []
    detector = cached.localisers.box.detector
    detector.backbone.register_forward_pre_hook(lambda *_: seen.append(1))
    for data in Runner.build_dataloader(Config.fromfile(config).val_dataloader, seed=0):
        batch = live.data_preprocessor(data)
        own, expected = (model.localise(**batch)['box'] for model in (cached, live))
        torch.testing.assert_close(own.boxes, expected.boxes, atol=1e-4, rtol=0)
        torch.testing.assert_close(own.centerness, expected.centerness, atol=1e-5, rtol=0)
    assert not seen


def test_a_model_without_localiser_is_one_error(files, tmp_path, capsys):
    config = Config.fromfile(files[0])
    config.model.localisers = None
    path = str(tmp_path / 'plain.py')
    config.dump(path)
    with pytest.raises(SystemExit) as stop:
        load_tool('dataset_converters/cache_proposals')([path, files[1], 'out.pth'])
    assert stop.value.code == 2
    assert 'has no model.localisers.box' in capsys.readouterr().err.splitlines()[-1]
