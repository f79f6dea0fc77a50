import pytest
import torch

from mmground.converters import convert_bert, convert_detectron2_fpn, convert_ppmn


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
