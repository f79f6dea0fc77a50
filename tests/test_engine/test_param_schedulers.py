import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmground.engine import PartMultiStepLR


def test_a_constant_part_keeps_its_learning_rate():
    model = nn.ModuleDict(dict(text_encoder=nn.Linear(2, 2), head=nn.Linear(2, 2)))
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='Adam', lr=1e-4),
            paramwise_cfg=dict(custom_keys=dict(text_encoder=dict(lr_mult=0.1, constant_lr=True))),
        ),
    )
    scheduler = PartMultiStepLR(wrapper.optimizer, milestones=[10, 12], gamma=0.5)
    text, head = set(model['text_encoder'].parameters()), []
    for epoch in range(14):
        for group in wrapper.optimizer.param_groups:
            if set(group['params']) <= text:
                assert group['lr'] == 1e-5, epoch
            else:
                head.append((epoch, group['lr']))
        scheduler.step()
    # The paper: 1e-4, divided by 2 for every 2 epochs from the 10th on.
    for epoch, lr in head:
        expected = 1e-4 if epoch < 10 else 5e-5 if epoch < 12 else 2.5e-5
        torch.testing.assert_close(lr, expected)
    assert len(head) == 28
