"""mmground: visual grounding systems as MMEngine components."""

from .version import __version__

__all__ = ['__version__']
