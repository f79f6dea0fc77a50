# ReIR with the official code's sizes. The frozen backbone, of which layer4 describes regions, comes
# from a bottom-up-attention detector, which convert.py of tools/model_converters converts
# (bottom-up).
backbone_checkpoint = 'data/bottom-up-r101/backbone.pth'
# Its predicates are the relations to tell apart. 88 in the paper and in official checkpoints, whose
# names and counts were not released.
relations_file = 'data/flickr30k/relations.json'

model = dict(
    type='Grounder',
    # BGR as loaded, whole numbers less the mean. Padding to even sizes, as it reaches the regions.
    data_preprocessor=dict(
        type='GroundingDataPreprocessor',
        mean=[102.9801, 115.9465, 122.7717],
        std=[1.0, 1.0, 1.0],
        pad_size_divisor=2,
    ),
    backbone=dict(
        type='mmdet.ResNet',
        depth=101,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        style='pytorch',
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint=backbone_checkpoint, prefix='backbone'),
    ),
    region_encoder=dict(
        type='RegionEncoder',
        depth=101,
        init_cfg=dict(type='Pretrained', checkpoint=backbone_checkpoint, prefix='region_encoder'),
    ),
    text_encoder=dict(
        type='WordRNNEncoder',
        vocab_file='data/flickr30k/vocab.txt',
        # Two words that the official code adds to its list.
        extra_words=['relate', 'butted'],
        embed_channels=1024,
        channels=1024,
        rnn='gru',
    ),
    head=dict(
        type='WeakGroundingHead',
        in_channels=2048,
        channels=1024,
        topk=5,
        num_stages=2,
        matcher_channels=None,
        regressor_channels=256,
        similarity=dict(
            type='SemanticSimilarity',
            word_vectors='data/word_vectors/skip_thoughts.npz',
            # Of the proposals of the data.
            classes=None,
            form='official',
        ),
        graph=dict(type='ObjectGraph', edge_channels=512, form='official', edges='attention'),
        decoder=dict(type='PhraseDecoder', vocab_file='data/flickr30k/phrase_vocab.txt', rnn='gru'),
        num_relations=relations_file,
        loss_rec=dict(type='ReconstructionLoss', loss_weight=1.0),
        loss_reg=dict(
            type='SelfTaughtRegressionLoss', iou_threshold=0.6, score_gap=0.1, loss_weight=0.1
        ),
        loss_rel=dict(
            type='RelationLoss', form='bce', class_counts=relations_file, loss_weight=1.0
        ),
        loss_rank=dict(type='ImageTextRankingLoss', margin=0.2, loss_weight=1.0),
    ),
    frozen=['backbone', 'region_encoder'],
)
