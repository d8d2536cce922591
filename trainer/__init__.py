"""Training: recordings and texts in, an encoder bundle out. Needs the `train` extra (torch).

data/        what training reads
towers/      the towers               losses.py     what they minimise
loop.py      the one training loop
export.py    towers -> ONNX -> bundle          evaluate.py   a bundle -> numbers
starter/     the recipe of the shipped bundle
"""
