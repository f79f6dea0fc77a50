from .comparison import draw_comparison, draw_stage_masks
from .grounding_visualizer import GroundingVisualizer
from .points import draw_point_maps, draw_proposals, missing_point_pictures
from .refinement import (
    draw_response_maps,
    draw_sampling_points,
    draw_selected_points,
    missing_pictures,
)

__all__ = [
    'GroundingVisualizer',
    'draw_comparison',
    'draw_point_maps',
    'draw_proposals',
    'draw_response_maps',
    'draw_sampling_points',
    'draw_selected_points',
    'draw_stage_masks',
    'missing_pictures',
    'missing_point_pictures',
]
