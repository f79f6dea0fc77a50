from .bce_loss import BCELoss

__all__ = ['BCELoss']
