import torch
from mmdet.models.losses import CrossEntropyLoss

from mmground.models.losses import BCELoss


def test_by_hand_and_as_in_mmdet():
    logits = torch.randn(3, 4, 5, dtype=torch.float64) * 4
    targets = (torch.rand(3, 4, 5) > 0.5).double()
    probs = logits.sigmoid()
    expected = -(targets * probs.log() + (1 - targets) * (1 - probs).log()).mean()
    torch.testing.assert_close(BCELoss()(logits, targets), expected)
    torch.testing.assert_close(BCELoss(loss_weight=0.5)(logits, targets), expected / 2)
    theirs = CrossEntropyLoss(use_sigmoid=True)(logits, targets)
    torch.testing.assert_close(BCELoss()(logits, targets).float(), theirs)


def test_saturated_logits_stay_finite():
    logits = torch.tensor([1e4, -1e4], requires_grad=True)
    loss = BCELoss()(logits, torch.tensor([0.0, 1.0]))
    loss.backward()
    assert loss == 1e4
    assert logits.grad.isfinite().all()
