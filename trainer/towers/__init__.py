"""The towers in torch, one module an architecture.

Each is built from a frozen config and holds nothing but its weights. A tower returns vectors of any
length; `unit.embed_unit` makes them embeddings. Everything in here exports to ONNX.
"""
