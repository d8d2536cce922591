"""Recordings for training: what there is (`manifests`) and how it sounds (`cache`)."""
