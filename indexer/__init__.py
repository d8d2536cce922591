"""Sound libraries to index: scan -> decode -> window -> features -> embed -> store."""
