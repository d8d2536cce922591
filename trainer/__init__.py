"""Training: recordings and texts in, an encoder bundle out. Needs the `train` extra (torch).

data/            manifests, and the log-mel cache that every recording is decoded into once
text_corpus.py   texts on which the text tower learns from its teacher
towers.py        the two towers        losses.py   what they minimise
augment.py       changes to a log-mel batch that leave its meaning alone
loop.py          the one training loop
distil.py        stage: text tower from a sentence encoder
captions.py      stage: audio tower against captions
export.py        towers -> ONNX -> bundle          evaluate.py   a bundle -> numbers
model_card.py    numbers and licences -> model_card.md
starter.py       the recipe of the shipped bundle: all constants, the stages in order
"""
