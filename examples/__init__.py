"""Experiments to rerun: the pivot in a made-up world, and studies of an encoder."""
