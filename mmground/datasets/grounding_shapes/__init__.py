"""Grounding Shapes: generated scenes with texts, in the file formats of real data sets."""

from .generation import FORMATS, generate, image_splits, make_shapes_image
from .vocab import wordpiece_vocabulary

__all__ = ['FORMATS', 'generate', 'image_splits', 'make_shapes_image', 'wordpiece_vocabulary']
