import pytest
import torch

from mmground.converters import (
    convert_bert,
    convert_bottom_up,
    convert_detectron2_fpn,
    convert_detr_backbone,
    convert_pbrec,
    convert_ppmn,
    convert_reir,
)


def _tensors(*names):
    return {name: torch.zeros(1) for name in names}


def test_old_and_new_names_of_bert_are_the_same():
    old = _tensors(
        'bert.embeddings.word_embeddings.weight',
        'bert.encoder.layer.3.attention.output.LayerNorm.gamma',
        'bert.encoder.layer.3.attention.output.LayerNorm.beta',
        'bert.pooler.dense.weight',
        'cls.predictions.bias',
    )
    weights, unused = convert_bert(old)
    assert set(weights) == {
        'model.embeddings.word_embeddings.weight',
        'model.encoder.layer.3.attention.output.LayerNorm.weight',
        'model.encoder.layer.3.attention.output.LayerNorm.bias',
    }
    assert unused == ['pooler.dense.weight', 'cls.predictions.bias']
    wrapped = {f'module.model.{name}': value for name, value in old.items() if 'cls' not in name}
    assert set(convert_bert(wrapped)[0]) == set(weights)


def test_normalisation_gets_its_counter():
    weights, _ = convert_detectron2_fpn(
        _tensors('backbone.bottom_up.res3.0.conv2.norm.running_var')
    )
    assert set(weights) == {
        'backbone.layer2.0.bn2.running_var',
        'backbone.layer2.0.bn2.num_batches_tracked',
    }


def test_foreign_names_are_listed():
    with pytest.raises(ValueError, match=r'2 parameters.*layer5\.w, other'):
        convert_detectron2_fpn(_tensors('layer5.w', 'other', 'pixel_mean'))


def test_an_incomplete_checkpoint_says_what_it_lacks():
    with pytest.raises(ValueError, match='bert_model_state'):
        convert_ppmn(dict(model_state={}, fpn_model_state={}))


def test_pbrec_and_detr_share_a_backbone():
    backbone = _tensors(
        'backbone.0.body.conv1.weight',
        'backbone.0.body.layer3.22.bn2.running_var',
        'backbone.0.body.layer4.0.downsample.1.bias',
    )
    ours = {
        'backbone.conv1.weight',
        'backbone.layer3.22.bn2.running_var',
        'backbone.layer3.22.bn2.num_batches_tracked',
        'backbone.layer4.0.downsample.1.bias',
    }
    detector = _tensors('transformer.decoder.norm.weight', 'bbox_embed.layers.0.bias')
    weights, unused = convert_detr_backbone(dict(model=backbone | detector, epoch=3))
    assert set(weights) == ours
    assert sorted(unused) == sorted(detector)
    text = _tensors('bert.bert.embeddings.LayerNorm.weight', 'bert.bert.pooler.dense.bias')
    head = _tensors('box_mlp.layers.2.bias', 'ca.ca.layers.5.norm1.bias', 'position_embedding.pe')
    wrapped = {f'module.{name}': value for name, value in (backbone | text | head).items()}
    weights, unused = convert_pbrec(dict(model=wrapped))
    assert set(weights) == ours | {
        'head.point_mlps.rec.layers.2.bias',
        'text_encoder.model.embeddings.LayerNorm.weight',
    }
    assert sorted(unused) == [
        'bert.pooler.dense.bias',
        'ca.ca.layers.5.norm1.bias',
        'position_embedding.pe',
    ]


def test_pbrec_names_what_is_wrong():
    for convert in (convert_pbrec, convert_detr_backbone):
        with pytest.raises(ValueError, match="lacks 'model'"):
            convert(dict(state_dict={}))
    # Of the first release, which trained low-rank additions to its BERT.
    wrong = _tensors('bert.bert.model.encoder.layer.0.lora_A.weight', 'vl_encoder.weight')
    with pytest.raises(ValueError, match=r': vl_encoder\.weight; bert: 1 param.*lora_A'):
        convert_pbrec(dict(model=wrong))
    with pytest.raises(ValueError, match=r'1 parameters.*: bert\.pooler'):
        convert_detr_backbone(dict(model=_tensors('bert.pooler')))


def test_reir_folds_the_copies_of_its_backbone():
    base = _tensors('0.weight', '1.running_var', '6.22.downsample.1.bias')
    top = _tensors('0.2.conv3.weight')
    weights = {}
    for prefix in ('backbone.RCNN_base.', 'backbone_base.'):
        weights |= {prefix + name: value for name, value in base.items()}
    for prefix in ('backbone.RCNN_top.', 'backbone_top.', 'weakly_vg_head.rcnn_top.'):
        weights |= {prefix + name: value for name, value in top.items()}
    weights |= _tensors('weakly_vg_head.vis2rel.bias', 'weakly_vg_head.spatial_trans.0.weight')
    wrapped = {f'module.{name}': value for name, value in weights.items()}
    for checkpoint in (weights, dict(model=wrapped, iteration=3)):
        renamed, dropped = convert_reir(checkpoint)
        assert set(renamed) == {
            'backbone.conv1.weight',
            'backbone.bn1.running_var',
            'backbone.bn1.num_batches_tracked',
            'backbone.layer3.22.downsample.1.bias',
            'region_encoder.layer4.2.conv3.weight',
            'head.relation.2.bias',
            'head.spatial_embedding.weight',
        }
        assert len(dropped) == 3 + 2
    weights['backbone_top.0.2.conv3.weight'] = torch.ones(1)
    with pytest.raises(ValueError, match=r'copies.*differ: backbone_top\.0\.2\.conv3\.weight'):
        convert_reir(weights)
    with pytest.raises(ValueError, match='holds no weights'):
        convert_reir(dict(model={}))
    with pytest.raises(ValueError, match=r'1 parameters.*RCNN_other'):
        convert_bottom_up(_tensors('RCNN_base.0.weight', 'RCNN_other.weight'))


def test_counters_of_a_file_that_has_them_are_kept():
    weights = _tensors('RCNN_base.1.running_var', 'RCNN_base.4.0.bn1.running_var')
    weights['RCNN_base.1.num_batches_tracked'] = torch.tensor(7)
    renamed, _ = convert_bottom_up(weights)
    assert renamed['backbone.bn1.num_batches_tracked'] == 7
    assert renamed['backbone.layer1.0.bn1.num_batches_tracked'] == 0
