# Table 5 in one pass: for each k, boxes chosen among those ranked by center + conf and by center
# (_ref), and masks. For evaluation; the weights are those of the base.
_base_ = '../pbrec-mt_r101_4xb32-15e_refcoco+.py'

model = dict(head=dict(test_cfg=dict(topk=16, keep_candidates=True)))
test_dataloader = dict(dataset=dict(split='val'))
test_evaluator = [
    *(dict(type='ReferringMetric', topk=k) for k in (1, 4, 8, 12, 16)),
    *(
        dict(type='ReferringMetric', topk=k, score_mode='ref', tasks='rec')
        for k in (1, 4, 8, 12, 16)
    ),
]
