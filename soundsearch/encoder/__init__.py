"""The audio-text encoder: its bundle on disk, its two towers, the calibration of its scores."""
