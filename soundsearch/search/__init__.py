"""Search: a text or a recording to hits."""
