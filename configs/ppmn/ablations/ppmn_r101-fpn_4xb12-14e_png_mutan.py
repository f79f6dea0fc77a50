# Table 4, MUTAN. Its sizes are this project's choice: the paper gives none.
_base_ = '../ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(
    head=dict(
        refinement=dict(
            aggregation=dict(
                _delete_=True,
                type='MUTAN',
                factor_channels=360,
                fused_channels=360,
                rank=10,
                ffn_channels=2048,
            )
        )
    )
)
