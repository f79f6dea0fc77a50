"""The tool and the extractor, with small detectors of random weights."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import nms
from mmdet.apis import inference_detector
from mmdet.structures.bbox import bbox2roi
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from small_detectors import single_level_fcos, small_faster_rcnn, write_detector
from tool_loader import load_tool

from mmground.apis import ProposalExtractor
from mmground.datasets.grounding_shapes import generate
from mmground.datasets.grounding_shapes.lexicon import THINGS
from mmground.datasets.proposal_store import ProposalStore

ROOT = Path(__file__).parents[3]
SIZE = 64


@pytest.fixture(scope='module')
def extract():
    return load_tool('dataset_converters/extract_proposals')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    generate(folder, ['flickr30k'], dict(train=3, val=2, test=1), size=SIZE, seed=2)
    return folder


@pytest.fixture(scope='module')
def faster_rcnn(tmp_path_factory, config_dir):
    return write_detector(tmp_path_factory.mktemp('faster_rcnn'), small_faster_rcnn(config_dir))


def data_config(root, folder):
    loader = dict(
        dataset=dict(
            type='Flickr30kEntitiesDataset',
            ann_file='train.txt',
            data_root=str(root / 'flickr30k'),
            data_prefix=dict(img_path='../images/train2017'),
            pipeline=[dict(type='LoadProposals', path='to_be_written.db')],
        )
    )
    val = dict(dataset=dict(loader['dataset'], ann_file='val.txt'))
    val['dataset']['data_prefix'] = dict(img_path='../images/val2017')
    path = str(folder / 'data.py')
    Config(dict(default_scope='mmground', train_dataloader=loader, val_dataloader=val)).dump(path)
    return path


def images(root, split):
    return {path.stem: str(path) for path in sorted((root / f'images/{split}2017').iterdir())}


def test_regressed_boxes_are_those_of_the_detector(extract, root, faster_rcnn, tmp_path, capsys):
    out = str(tmp_path / 'p.db')
    config = data_config(root, tmp_path)
    extract([*faster_rcnn, config, '--out', out, '--num', '7', '--loaders', 'train'])
    assert 'added proposals of 3 images' in capsys.readouterr().out
    store = ProposalStore(out)
    assert store.header['classes'] == list(THINGS)
    assert {key: store.header[key] for key in ('detector', 'boxes', 'num')} == dict(
        detector='detector', boxes='regressed', num=7
    )
    assert set(store.img_ids()) == set(images(root, 'train'))
    extractor = ProposalExtractor(*faster_rcnn)
    cfg = extractor.model.cfg
    with DefaultScope.overwrite_default_scope('mmdet'):
        pipeline = Compose(cfg.test_dataloader.dataset.pipeline)
    for img_id, path in images(root, 'train').items():
        expected = inference_detector(extractor.model, path, pipeline).pred_instances
        expected = expected[expected.scores.argsort(descending=True)][:7]
        found = store[img_id]
        torch.testing.assert_close(torch.tensor(found['boxes']), expected.bboxes, atol=1e-3, rtol=0)
        torch.testing.assert_close(torch.tensor(found['scores']), expected.scores)
        assert found['labels'].tolist() == expected.labels.tolist()
        assert len(found['boxes']) == 7


def test_images_without_proposals_are_named(extract, root, faster_rcnn, tmp_path, capsys):
    cfg = Config.fromfile(faster_rcnn[0])
    cfg.model.test_cfg.rcnn.score_thr = 1.1
    paths = write_detector(tmp_path, cfg)
    out = str(tmp_path / 'p.db')
    extract([*paths, str(root / 'images/train2017'), '--out', out])
    names = sorted(images(root, 'train'))
    printed = capsys.readouterr().out
    assert f'3 of them have none, and a training stops at their samples: {", ".join(names)}. ' in (
        printed
    )
    assert '--overwrite' in printed
    assert not any(len(ProposalStore(out)[name]['boxes']) for name in names)


def test_rpn_boxes_are_not_moved(root, faster_rcnn, tmp_path):
    extractor = ProposalExtractor(*faster_rcnn, boxes='rpn', num=20)
    model = extractor.model
    (path, *_) = images(root, 'train').values()
    data = extractor.prepare(path)
    (found,) = extractor(pseudo_collate([data]))
    # By hand.
    batch = model.data_preprocessor(pseudo_collate([data]), False)
    with torch.no_grad():
        feats = model.backbone(batch['inputs'])
        (rpn,) = model.rpn_head.predict(feats, batch['data_samples'], rescale=False)
        rois = bbox2roi([rpn.bboxes])
        crops = model.roi_head.bbox_roi_extractor(feats, rois)
        scores = F.softmax(model.roi_head.bbox_head(model.roi_head.shared_head(crops))[0], 1)
    best, labels = scores[:, :-1].max(1)
    boxes = (rpn.bboxes * SIZE / 96).clamp(0, SIZE)
    kept = []
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        kept += own[nms(boxes[own], best[own], 0.5)[1]].tolist()
    kept = sorted(kept, key=lambda i: -best[i])[:20]
    np.testing.assert_allclose(found['boxes'], boxes[kept], atol=1e-4)
    np.testing.assert_allclose(found['scores'], best[kept], atol=1e-6)
    assert found['labels'].tolist() == labels[kept].tolist()
    assert len(kept) == 20
    # The same detector with other weights is another one.
    weights = torch.load(faster_rcnn[1])
    weights['state_dict']['rpn_head.rpn_cls.bias'] += 1
    changed = str(tmp_path / 'changed.pth')
    torch.save(weights, changed)
    other = ProposalExtractor(faster_rcnn[0], changed, boxes='rpn', num=20)
    different = {key for key, own in other.header.items() if own != extractor.header[key]}
    assert different == {'config_hash'}


def test_a_run_goes_on_where_it_stopped(extract, root, faster_rcnn, tmp_path, capsys):
    folder = tmp_path / 'images'
    folder.mkdir()
    for img_id, path in images(root, 'train').items():
        (folder / f'{img_id}.jpg').write_bytes(Path(path).read_bytes())
    broken = sorted(folder.iterdir())[1]
    content = broken.read_bytes()
    broken.write_bytes(b'no image')
    argv = [*faster_rcnn, str(folder), '--out', f'{tmp_path}/out/', '--boxes', 'rpn']
    with pytest.raises(ValueError, match=broken.name):
        extract(argv)
    out = str(tmp_path / 'out/detector_rpn.db')
    assert len(ProposalStore(out)) == 1
    before = ProposalStore(out)[sorted(images(root, 'train'))[0]]
    broken.write_bytes(content)
    capsys.readouterr()
    extract(argv)
    assert '3 images, 1 of them done already' in capsys.readouterr().out
    store = ProposalStore(out)
    assert set(store.img_ids()) == set(images(root, 'train'))
    np.testing.assert_array_equal(store[store.img_ids()[0]]['boxes'], before['boxes'])
    # Once more: nothing is left. Another split is added.
    extract(argv)
    assert 'added proposals of 0 images' in capsys.readouterr().out
    extract([*argv[:2], str(root / 'images/val2017'), *argv[3:], '--batch-size', '2'])
    assert set(ProposalStore(out).img_ids()) == set(images(root, 'train')) | set(
        images(root, 'val')
    )
    # Other settings are not mixed in.
    with pytest.raises(ValueError, match=r'made otherwise \(num\)'):
        extract([*argv, '--num', '3'])


def test_a_batch_gives_what_its_images_give(root, faster_rcnn):
    extractor = ProposalExtractor(*faster_rcnn)
    data = [extractor.prepare(path) for path in images(root, 'train').values()]
    together = extractor(pseudo_collate(data))
    for own, found in zip(data, together, strict=True):
        (alone,) = extractor(pseudo_collate([own]))
        np.testing.assert_allclose(found['boxes'], alone['boxes'], atol=1e-3)
    image = cv2.imread(next(iter(images(root, 'train').values())))
    assert extractor.prepare(image)['inputs'].shape == data[0]['inputs'].shape


def test_a_one_stage_detector(root, tmp_path, faster_rcnn):
    cfg = Config.fromfile(faster_rcnn[0])
    cfg.model = dict(
        single_level_fcos(),
        _scope_='mmdet',
        test_cfg=dict(
            nms_pre=100, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.6), max_per_img=30
        ),
    )
    paths = write_detector(tmp_path, cfg, classes=('a', 'b', 'c', 'd', 'e'))
    extractor = ProposalExtractor(*paths)
    (found,) = extractor(
        pseudo_collate([extractor.prepare(next(iter(images(root, 'val').values())))])
    )
    assert 0 < len(found['boxes']) <= 30 and set(found['labels']) <= set(range(5))
    with pytest.raises(ValueError, match=r"no region proposal network .* use 'regressed'"):
        ProposalExtractor(*paths, boxes='rpn')


def test_names_of_the_categories(tmp_path, faster_rcnn):
    cfg = Config.fromfile(faster_rcnn[0])
    paths = write_detector(tmp_path, cfg, classes=None)
    extractor = ProposalExtractor(*paths)
    assert extractor.header['classes'] == list(THINGS)  # of the config
    with pytest.raises(ValueError, match='tells 12 categories apart, but has 2 names'):
        ProposalExtractor(*paths, classes=['a', 'b'])
    del cfg.test_dataloader.dataset.metainfo
    paths = write_detector(tmp_path, cfg, classes=None)
    with pytest.raises(ValueError, match='tells 12 categories apart, but has 80 names'):
        ProposalExtractor(*paths)  # those of COCO, the type of the data set
    renamed = ProposalExtractor(*paths, classes=[f'c{i}' for i in range(12)])
    assert (
        renamed.header['config_hash']
        == ProposalExtractor(*paths, classes=[f'd{i}' for i in range(12)]).header['config_hash']
    )
    cfg.test_dataloader.dataset.type = 'SomethingElse'
    paths = write_detector(tmp_path, cfg, classes=None)
    with pytest.raises(ValueError, match='how its categories are called'):
        ProposalExtractor(*paths)


def test_mistakes_are_one_line(faster_rcnn, tmp_path):
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / '1.jpg'), np.zeros((4, 4, 3), np.uint8))
    tool = 'tools/dataset_converters/extract_proposals.py'
    done = subprocess.run(
        [sys.executable, tool, *faster_rcnn, str(tmp_path), '--out', str(tmp_path / 'x.db')],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith('error: ') and 'have the same name' in last


def test_wrong_arguments(extract, faster_rcnn, tmp_path, capsys):
    grounder = str(tmp_path / 'grounder.py')
    Config(dict(default_scope='mmground', model=dict(type='Grounder'))).dump(grounder)
    order = 'the order is DET_CONFIG DET_CHECKPOINT CONFIG'
    for argv, message in (
        (
            [grounder, faster_rcnn[1], faster_rcnn[0], '--out', 'x.db'],
            f'grounder.py: DET_CONFIG must be a detector of mmdet; {order}',
        ),
        ([*faster_rcnn[::-1], grounder, '--out', 'x.db'], order),
        ([*faster_rcnn, faster_rcnn[1], '--out', 'x.db'], order),
        ([*faster_rcnn, str(tmp_path), '--out', 'x.db'], 'there are no images in'),
        ([*faster_rcnn, 'nowhere', '--out', 'x.db'], 'config file or folder does not exist'),
        (['none.py', faster_rcnn[1], '.', '--out', 'x'], 'config file of the detector does not'),
    ):
        with pytest.raises(SystemExit) as stop:
            extract(argv)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / '1.jpg'), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match='have the same name'):
        extract([*faster_rcnn, str(tmp_path), '--out', 'x.db'])
    with pytest.raises(ValueError, match='boxes must be one of'):
        ProposalExtractor(*faster_rcnn, boxes='all')
