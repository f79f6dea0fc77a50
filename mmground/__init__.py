"""mmground: visual grounding systems as MMEngine components."""

from mmengine.config.utils import MODULE2PACKAGE

from .version import __version__

__all__ = ['__version__']

# MMEngine knows its sister libraries by name. With this, whoever has imported mmground, such as its
# tools, finds its configs too: _base_ = 'mmground::ppmn/...'.
MODULE2PACKAGE.setdefault('mmground', 'mmground')
