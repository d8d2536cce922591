"""The audio-text encoder: its bundle on disk, its two towers, and what its scores mean."""
