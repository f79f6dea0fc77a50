"""A component of your own for mmground: importing the package registers it."""

from .gated_mean import GatedMean

__all__ = ['GatedMean']
