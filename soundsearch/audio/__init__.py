"""Files to windows: decoders, headers, recordings, windows and their features."""
