"""Fixtures of several folders. That this file is here lets tests import its neighbours."""
