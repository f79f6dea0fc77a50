"""A ReIR of a few thousand parameters, and samples that it can eat."""

import json
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from small_detectors import randomise

from mmground.datasets.proposal_store import ProposalWriter
from mmground.datasets.word_vectors import WordVectors, read_names
from mmground.registry import DATASETS, MODELS
from mmground.structures import Geometry, GroundingDataSample, parse_markup

WORDS = ['a', 'red', 'star', 'blue', 'ring', 'is', 'on', 'near', 'the', 'grass', 'two', 'big']
CLASSES = ('star', 'ring', 'grass', 'box')
DIMS = 6


def word_vectors():
    """Vectors, drawn by the letters of each word; ``box`` and ``is`` have none."""
    words = sorted({*WORDS, *CLASSES} - {'box', 'is'})
    rows = []
    for word in words:
        generator = torch.Generator().manual_seed(sum(word.encode()))
        # Positive, so that all are similar.
        rows.append(torch.rand(DIMS, generator=generator) + 0.1)
    return WordVectors(words, torch.stack(rows).numpy())


def small_reir(folder, **head):
    """Config of a small ReIR; keyword arguments replace keys of its head."""
    vocab_file = folder / 'words.txt'
    vocab_file.write_text('\n'.join(WORDS) + '\n')
    phrase_vocab_file = folder / 'phrase_words.json'
    phrase_vocab_file.write_text(json.dumps(WORDS[:5] + WORDS[9:10]))
    return dict(
        type='Grounder',
        data_preprocessor=dict(
            type='GroundingDataPreprocessor',
            mean=[103.0, 116.0, 123.0],
            std=[60.0] * 3,
            pad_size_divisor=2,
        ),
        backbone=dict(
            type='mmdet.ResNet',
            depth=18,
            base_channels=8,
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(2,),
            norm_eval=True,
        ),
        region_encoder=dict(type='RegionEncoder', depth=18, base_channels=8),
        text_encoder=dict(
            type='WordRNNEncoder', vocab_file=str(vocab_file), embed_channels=16, channels=16
        ),
        head=dict(
            type='WeakGroundingHead',
            in_channels=64,
            channels=16,
            joint_channels=8,
            topk=3,
            regressor_channels=12,
            graph=dict(type='ObjectGraph', edge_channels=8),
            decoder=dict(type='PhraseDecoder', vocab_file=str(phrase_vocab_file)),
            num_relations=3,
            loss_rank=dict(type='ImageTextRankingLoss'),
        )
        | head,
        frozen=['backbone', 'region_encoder'],
    )


def build(folder, **head):
    """Build the small model with reproducible weights and its word vectors."""
    torch.manual_seed(0)
    model = MODELS.build(small_reir(folder, **head))
    return with_vectors(model)


def with_vectors(model):
    """Give a model the word vectors, which are not a part of checkpoints."""
    model.head.similarity.use(word_vectors(), CLASSES)
    return model


def shapes_reir(folder, root, name='reir', seed=0, classes=None, **head):
    """A small ReIR for a folder of Grounding Shapes, with weights drawn at random, on disk.

    Proposals are the boxes of the images' objects and of their halves. Returns ``config``,
    ``checkpoint``, ``proposals`` and ``image``, the first of the test data.
    """
    files = SimpleNamespace(
        config=str(folder / f'{name}.py'),
        checkpoint=str(folder / f'{name}.pth'),
        proposals=str(folder / 'proposals.db'),
    )
    model = small_reir(
        folder,
        similarity=dict(
            word_vectors=str(root / 'word_vectors.npz'),
            classes=classes or str(root / 'class_names.txt'),
        ),
        **head,
    )
    model['text_encoder']['vocab_file'] = str(root / 'words.txt')
    dataset = dict(
        type='Flickr30kEntitiesDataset',
        data_root=str(root / 'flickr30k'),
        ann_file='test.txt',
        data_prefix=dict(img_path='../images/test2017'),
        relations='relations.json',
        pipeline=[
            dict(type='LoadGroundingImage'),
            dict(type='LoadProposals', path=files.proposals, num=20),
            dict(type='PackGroundingInputs'),
        ],
        test_mode=True,
    )
    Config(dict(default_scope='mmground', model=model, test_dataloader=dict(dataset=dataset))).dump(
        files.config
    )
    built = randomise(MODELS.build(model), seed)
    torch.save(dict(state_dict=built.state_dict()), files.checkpoint)
    records = DATASETS.build(dict(dataset, pipeline=[]))
    files.image = records.get_data_info(0)['img_path']
    _write_proposals(files.proposals, records, read_names(str(root / 'class_names.txt')))
    return files


def _write_proposals(path, records, classes):
    boxes_of = {}
    for index in range(len(records)):
        record = records.get_data_info(index)
        boxes_of.setdefault(record['img_id'], []).extend(own['bbox'] for own in record['regions'])
    header = dict(detector='annotated', classes=classes, config_hash='none')
    with ProposalWriter(path, header, overwrite=True) as writer:
        for img_id, boxes in boxes_of.items():
            boxes = np.unique(np.array(boxes, np.float32), axis=0)
            halves = boxes.copy()
            halves[:, 2] = (boxes[:, 0] + boxes[:, 2]) / 2
            boxes = np.concatenate((boxes, halves))
            scores = np.linspace(0.9, 0.1, len(boxes), dtype=np.float32)
            labels = np.arange(len(boxes)) % len(classes)
            writer.add([(img_id, dict(boxes=boxes, labels=labels, scores=scores))])


def caption(text, path='a.jpg', img_shape=(66, 90), num=6, relations=(), gt=True):
    """An image, shown at its own size, and a caption whose phrases are in brackets."""
    plain, phrases = parse_markup(text)
    generator = torch.Generator().manual_seed(sum(path.encode()))
    height, width = img_shape
    sample = GroundingDataSample(
        metainfo=dict(
            sample_id=f'{path}:{text}',
            img_id=path,
            img_path=path,
            text=plain,
            phrases=[dict(phrase, type='things') for phrase in phrases],
            ori_shape=img_shape,
            img_shape=img_shape,
            geometry=Geometry(img_shape, img_shape),
        )
    )
    corners = torch.rand(num, 2, 2, generator=generator).sort(1).values
    boxes = corners.flatten(1) * 0.5 * torch.tensor([width, height] * 2)
    boxes[:, 2:] += torch.tensor([width, height]) * 0.4
    # The first ones overlap, so that there are neighbours to learn from.
    boxes[1] = boxes[0] + torch.tensor([1.0, 0.0, 2.0, 1.0])
    sample.proposals = InstanceData(
        bboxes=boxes,
        labels=torch.randint(len(CLASSES), (num,), generator=generator),
        scores=torch.linspace(0.9, 0.1, num),
    )
    if relations:
        sample.relations = torch.tensor([pair for pair, _ in relations])
        sample.relation_labels = torch.zeros(len(relations), 3, dtype=torch.bool)
        for row, (_, predicates) in zip(sample.relation_labels, relations, strict=True):
            row[list(predicates)] = True
    if gt:
        sample.gt_regions = InstanceData(bboxes=boxes[: len(phrases)].clone())
        sample.links = torch.arange(len(phrases))[:, None].expand(-1, 2).clone()
    pixels = torch.randint(256, (3, *img_shape), generator=generator).to(torch.uint8)
    return pixels, sample


def captions(other_shape=(50, 64), **kwargs):
    """Three captions of two images, with and without relations."""
    return [
        caption(
            '[a red star] is on [the grass] near [two rings]',
            relations=[((0, 1), [0, 2]), ((0, 2), [])],
            **kwargs,
        ),
        caption('[a blue ring] near [a star]', 'b.jpg', other_shape, 4, [((0, 1), [1])], **kwargs),
        caption('[the big ring]', **kwargs),
    ]
