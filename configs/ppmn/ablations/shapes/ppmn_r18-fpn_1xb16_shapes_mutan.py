# MUTAN in place of MCA (Table 4), with widths that keep its proportions.
_base_ = '../../ppmn_r18-fpn_1xb16_shapes.py'

model = dict(
    head=dict(
        refinement=dict(
            aggregation=dict(
                _delete_=True,
                type='MUTAN',
                factor_channels=180,
                fused_channels=180,
                rank=10,
                ffn_channels=256,
            )
        )
    )
)
