import pytest
import torch

from mmground.converters import (
    convert_bert,
    convert_detectron2_fpn,
    convert_detr_backbone,
    convert_pbrec,
    convert_ppmn,
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
