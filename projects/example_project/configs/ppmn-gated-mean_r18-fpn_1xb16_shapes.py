# The small PPMN on Grounding Shapes, with an aggregation that mmground does not have.
_base_ = '../../../configs/ppmn/ppmn_r18-fpn_1xb16_shapes.py'

custom_imports = dict(imports=['example_project'], allow_failed_imports=False)

model = dict(
    # _delete_: the settings of the base config are those of another module.
    head=dict(refinement=dict(aggregation=dict(_delete_=True, type='GatedMean')))
)
