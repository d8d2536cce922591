"""A whole archive on one machine."""
