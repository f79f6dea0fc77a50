"""mmground: visual grounding systems as MMEngine components."""

from mmengine.config.utils import MODULE2PACKAGE

from .version import __version__

__all__ = ['__version__']

# MMEngine knows its sister libraries by name. With this, configs and scripts that run where mmground
# has been imported, as in its tools, find its configs too: _base_ = 'mmground::ppmn/...'.
MODULE2PACKAGE.setdefault('mmground', 'mmground')
