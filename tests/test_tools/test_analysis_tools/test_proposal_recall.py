import json
from itertools import product

import pytest
import torch
from data_factory import write_refer_dataset
from mmdet.apis import inference_detector
from mmengine.config import Config
from mmengine.registry import DefaultScope
from small_detectors import (
    MEAN,
    STD,
    build_detector,
    randomise,
    single_level_fcos,
    small_fcos,
    small_solo,
)
from tool_loader import load_tool

from mmground.apis import init_model
from mmground.datasets import RefCocoDataset
from mmground.registry import MODELS

PIPELINE = [
    dict(type='LoadGroundingImage'),
    dict(type='Letterbox', size=64),
    dict(type='LoadGroundingMasks'),
    dict(type='PackGroundingInputs'),
]


@pytest.fixture(scope='module')
def proposal_recall():
    return load_tool('analysis_tools/proposal_recall')


@pytest.fixture(autouse=True)
def _scope(monkeypatch):
    """The tool changes the default scope of the process."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())


@pytest.fixture
def files(tmp_path):
    """Paths of a config and of a checkpoint, whose model is its localisers; and the data set."""
    dataset = dict(
        type='RefCocoDataset',
        name='refcoco',
        split=['train', 'testA'],
        data_root=write_refer_dataset(tmp_path / 'data'),
        pipeline=PIPELINE,
        test_mode=True,
    )
    localisers = dict(
        box=dict(type='FCOSLocaliser', detector=single_level_fcos(), level=0),
        mask=dict(type='SOLOLocaliser', detector=small_solo()),
    )
    preprocessor = dict(
        type='GroundingDataPreprocessor', mean=MEAN, std=STD, bgr_to_rgb=True, pad_size_divisor=64
    )
    config = Config(
        dict(
            default_scope='mmground',
            model=dict(data_preprocessor=preprocessor, localisers=localisers),
            test_dataloader=dict(dataset=dataset),
        )
    )
    config.dump(tmp_path / 'config.py')
    models = {name: randomise(MODELS.build(cfg)) for name, cfg in localisers.items()}
    state = {
        f'localisers.{name}.{key}': value
        for name, model in models.items()
        for key, value in model.state_dict().items()
    }
    state['head.weight'] = torch.zeros(1)
    torch.save(dict(state_dict=state, meta=dict()), tmp_path / 'model.pth')
    return tmp_path, models, RefCocoDataset(**{k: v for k, v in dataset.items() if k != 'type'})


def _naive_iou(one, other):
    """Of boolean masks, or of boxes (xyxy)."""
    if one.dtype == torch.bool:
        return (one & other).sum().item() / max((one | other).sum().item(), 1)
    width = max(min(one[2], other[2]) - max(one[0], other[0]), 0)
    height = max(min(one[3], other[3]) - max(one[1], other[1]), 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return float(width * height / (area - width * height))


def _by_loops(models, dataset, threshold):
    """Recall and chance by localiser and split, expression by expression and point by point."""
    preprocessor = MODELS.build(dict(type='GroundingDataPreprocessor', pad_size_divisor=64))
    hits = {}
    for index in range(len(dataset)):
        item = dataset[index]
        batch = preprocessor(
            dict(inputs=[item['inputs']], data_samples=[item['data_samples']]), False
        )
        (sample,) = batch['data_samples']
        geometry = sample.geometry
        for name, model in models.items():
            proposals = model(batch['inputs'], [geometry])
            correct, inside = [], []
            for point, (row, column) in enumerate(product(*map(range, proposals.grid))):
                own = proposals.decode(torch.tensor([0]), torch.tensor([point]))
                if name == 'box':
                    own, target = geometry.inverse_boxes(own)[0], sample.gt_regions.bboxes[0]
                else:
                    own = geometry.inverse_masks(own)[0] > 0.5
                    target = sample.gt_regions.masks[0]
                correct.append(_naive_iou(own, target) >= threshold)
                x = (column + 0.5) * 64 / proposals.grid[1] - geometry.offset[1]
                y = (row + 0.5) * 64 / proposals.grid[0] - geometry.offset[0]
                height, width = geometry.img_shape
                inside.append(0 <= x < width and 0 <= y < height)
            among = [hit for hit, use in zip(correct, inside, strict=True) if use]
            hits.setdefault((name, sample.split), []).append(
                (any(correct), sum(among) / len(among))
            )
    return {key: torch.tensor(own, dtype=torch.float64).mean(0) * 100 for key, own in hits.items()}


@pytest.mark.parametrize('threshold', [0.1, 0.2, 0.3])
@torch.no_grad()
def test_localisers_against_loops(proposal_recall, files, threshold, capsys):
    folder, models, dataset = files
    argv = [str(folder / name) for name in ('config.py', 'model.pth')]
    argv += ['--iou', str(threshold), '--out', str(folder / 'recall.json'), '--device', 'cpu']
    results = proposal_recall(argv)
    assert json.loads((folder / 'recall.json').read_text()) == results
    expected = _by_loops(models, dataset, threshold)
    assert len(results) == len(expected) == 4
    for result in results:
        name = result['proposals'].removesuffix(', all points')
        recall, chance = expected[name, result['split'].removeprefix('refcoco_')].tolist()
        assert result['recall'] == pytest.approx(recall)
        assert result['random'] == pytest.approx(chance, abs=1e-9)
        assert result['per_image'] == {'box': 16, 'mask': 36}[name]
        assert result['num_expressions'] == {'train': 6, 'testA': 2}[result['split'][8:]]
    if threshold == 0.1:
        assert any(0 < result['random'] < result['recall'] for result in results)
    assert (
        '| box, all points  | refcoco_train |           6 |      16.0 |' in capsys.readouterr().out
    )


def test_a_localiser_that_is_switched_off(proposal_recall, files):
    folder, _, _ = files
    argv = [str(folder / name) for name in ('config.py', 'model.pth')]
    argv += ['--device', 'cpu', '--cfg-options', 'model.localisers.mask=None']
    assert {r['proposals'] for r in proposal_recall(argv)} == {'box, all points'}


def _recall_of_best(count, argv, dataset, split):
    """At an IoU of 0.25, of the file of an image, expression by expression."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = init_model(argv[2], argv[3])
        hits = []
        for index in range(len(dataset)):
            sample = dataset[index]['data_samples']
            if sample.split == split:
                found = inference_detector(model, sample.img_path).pred_instances
                best = sorted(range(len(found)), key=lambda i: -found.scores[i])[:count]
                target = sample.gt_regions.bboxes[0]
                hits.append(any(_naive_iou(found.bboxes[i], target) >= 0.25 for i in best))
    return 100 * sum(hits) / len(hits)


def test_a_detector_after_its_suppression(proposal_recall, files):
    folder, _, dataset = files
    detector = small_fcos()
    detector['test_cfg'] = dict(
        nms_pre=1000, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.6), max_per_img=50
    )
    model = build_detector(detector)
    # Boxes of a quarter of the side, which meet targets.
    model.bbox_head.conv_reg.bias.data.fill_(2.75)
    torch.save(dict(state_dict=model.state_dict(), meta=dict()), folder / 'fcos.pth')
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(128, 128), keep_ratio=True),
        dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape', 'img_shape', 'scale_factor')),
    ]
    Config(
        dict(
            default_scope='mmdet',
            model=detector,
            test_dataloader=dict(dataset=dict(pipeline=pipeline)),
        )
    ).dump(folder / 'fcos.py')
    argv = [str(folder / 'config.py'), '--detector', str(folder / 'fcos.py')]
    argv += [str(folder / 'fcos.pth'), '--device', 'cpu', '--iou', '0.25']
    results = proposal_recall([*argv, '--counts', '50', '3', '--scores', '0', '2'])
    table = {(result['proposals'], result['split'][8:]): result for result in results}
    assert len(table) == 8
    for split in ('train', 'testA'):
        many, few = (table[f'boxes, best {count}', split] for count in (50, 3))
        assert 3 < many['per_image'] <= 50
        assert few['per_image'] == 3
        assert few['recall'] == pytest.approx(_recall_of_best(3, argv, dataset, split))
        assert few['recall'] <= many['recall']
        assert many['random'] <= many['recall']
        everything, nothing = (table[f'boxes, score >= {score}', split] for score in (0, 2))
        assert everything == {**many, 'proposals': 'boxes, score >= 0'}
        assert (nothing['per_image'], nothing['recall'], nothing['random']) == (0, 0, 0)
    # Three find the targets of one split better than those of the other.
    assert len({table['boxes, best 3', split]['recall'] for split in ('train', 'testA')}) == 2


def test_what_is_missing(proposal_recall, files, capsys):
    folder, _, _ = files
    config = str(folder / 'config.py')
    for argv, message in (
        ([config, str(folder / 'none.pth')], 'checkpoint does not exist'),
        ([config, '--cfg-options', 'model.localisers=None'], 'the model has no localisers'),
        ([config, '--detector', str(folder / 'a.py'), 'b'], 'config file of the detector does not'),
    ):
        with pytest.raises(SystemExit) as stop:
            proposal_recall(argv)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"'box' has no weights: .*model.localisers.box.checkpoin"):
        proposal_recall([config])
    torch.save(dict(state_dict={'a': torch.zeros(1)}, meta=dict()), folder / 'other.pth')
    with pytest.raises(ValueError, match='does not fit the FCOSLocaliser'):
        proposal_recall([config, str(folder / 'other.pth')])
