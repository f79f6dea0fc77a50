from .grounding_visualizer import GroundingVisualizer
from .refinement import (
    draw_response_maps,
    draw_sampling_points,
    draw_selected_points,
    missing_pictures,
)

__all__ = [
    'GroundingVisualizer',
    'draw_response_maps',
    'draw_sampling_points',
    'draw_selected_points',
    'missing_pictures',
]
