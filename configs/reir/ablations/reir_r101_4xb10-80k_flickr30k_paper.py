# The paper's text, wherever the official code differs from it. Its proposals are made with
# extract_proposals.py --boxes rpn.
_base_ = '../reir_r101_4xb10-80k_flickr30k.py'

model = dict(
    region_encoder=dict(spatial=True),
    # Sec. 4.2's d, which by Sec. 3.2.1 is that of regions, words and phrases.
    text_encoder=dict(rnn='lstm', embed_channels=2048, channels=2048),
    head=dict(
        channels=2048,
        spatial_channels=98,
        matcher_channels=256,
        similarity=dict(form='paper'),
        softmax='plain',
        graph=dict(form='paper'),
        decoder=dict(rnn='lstm'),
        fine_context='fine',
        fusion='scores',
        loss_rec=dict(reduction='sum'),
        loss_reg=dict(score_gap=0.0, reduction='sum'),
        loss_rel=dict(form='ce'),
        rec_stages=['coarse', 'fine'],
        reg_start='refining',
        detach_boxes=True,
    ),
)
