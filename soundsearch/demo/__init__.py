"""A small library of real recordings, to try soundsearch on.

The recordings lie in `recordings/`, CC0 or public domain; `credits.csv` names author, source and
licence of each. Mixtures and one long field recording are made of them when the library is written.
"""

from soundsearch.demo.library import CREDITS, MIXTURES, Written, shipped_recordings, write_library

__all__ = ["CREDITS", "MIXTURES", "Written", "shipped_recordings", "write_library"]
