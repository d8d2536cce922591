"""Experiments to rerun: the pivot in a made-up world, first weights, and studies of an encoder."""
