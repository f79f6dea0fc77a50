# Ten times the rate for all that starts from scratch, the ratio of CRIS.
_base_ = '../jmceln_r101_2xb10-60e_refcoco.py'

# A key stands for all of a part, its normalisations and biases too, so the encoders have no weight
# decay here; at their rate it would take less than half a percent of the weights by the end.
optim_wrapper = dict(
    optimizer=dict(lr=6e-5),
    paramwise_cfg=dict(
        custom_keys={
            'backbone': dict(lr_mult=0.1, decay_mult=0.0),
            'text_encoder': dict(lr_mult=0.1, decay_mult=0.0),
            # Longer keys go first, so these need it again.
            'backbone.attnpool.positional_embedding': dict(lr_mult=0.1, decay_mult=0.0),
            'text_encoder.positional_embedding': dict(lr_mult=0.1, decay_mult=0.0),
            'text_encoder.token_embedding': dict(lr_mult=0.1, decay_mult=0.0),
        }
    ),
)
