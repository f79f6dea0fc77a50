"""A JMCELN of a few thousand parameters beside its vocabulary."""

from small_clip import small_clip


def small_jmceln(**head):
    """Config of a small JMCELN of two stages; keyword arguments replace keys of its head."""
    encoders = small_clip()
    return dict(
        type='Grounder',
        data_preprocessor=dict(
            type='GroundingDataPreprocessor',
            mean=[122.8, 116.7, 104.1],
            std=[68.5, 66.6, 70.3],
            bgr_to_rgb=True,
            pad_size_divisor=32,
        ),
        **encoders,
        head=dict(
            type='ContextualCascadeHead',
            in_channels=(64, 128, 24),
            sentence_channels=24,
            channels=16,
            num_stages=2,
            num_contexts=3,
            num_heads=2,
            lsran=dict(window_size=4),
            upsampling=dict(channels=(8, 8, 4)),
        )
        | head,
    )
