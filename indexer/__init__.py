"""Sound libraries to index: scan -> decode -> window -> features -> embed -> store."""

#: Read by `soundsearch.ours`: other projects have packages of this name.
__part_of__ = "soundsearch"
