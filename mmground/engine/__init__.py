from .hooks import GroundingVisualizationHook

__all__ = ['GroundingVisualizationHook']
