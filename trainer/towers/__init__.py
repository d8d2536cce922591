"""The towers in torch, one module for each architecture.

A tower is built from a frozen config. It returns vectors that are not normalised; `unit.embed_unit`
normalises them. The audio towers and the BERT text tower export to ONNX.
"""
