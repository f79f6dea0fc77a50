from .grounder import Grounder

__all__ = ['Grounder']
