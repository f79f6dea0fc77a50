from .comparison import draw_comparison, draw_stage_masks
from .grounding_visualizer import GroundingVisualizer, PhrasePanel
from .phrase_boxes import (
    draw_box_comparison,
    draw_box_refinement,
    draw_object_graph,
    missing_box_pictures,
)
from .points import draw_point_maps, draw_proposals, missing_point_pictures
from .refinement import (
    draw_response_maps,
    draw_sampling_points,
    draw_selected_points,
    missing_pictures,
)

__all__ = [
    'GroundingVisualizer',
    'PhrasePanel',
    'draw_box_comparison',
    'draw_box_refinement',
    'draw_comparison',
    'draw_object_graph',
    'draw_point_maps',
    'draw_proposals',
    'draw_response_maps',
    'draw_sampling_points',
    'draw_selected_points',
    'draw_stage_masks',
    'missing_box_pictures',
    'missing_pictures',
    'missing_point_pictures',
]
