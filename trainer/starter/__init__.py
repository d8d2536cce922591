"""The shipped encoder: recordings with captions in, the `starter` bundle out.

corpus.py    texts on which the text tower learns from its teacher
cache.py     every recording decoded once, to log-mel frames
distil.py    stage: text tower from a sentence encoder
augment.py   changes to a log-mel batch that leave its meaning alone
align.py     stage: audio tower against captions
measure.py   a bundle -> numbers
card.py      numbers and licences -> model_card.md
config.py    all constants
recipe.py    the stages in order
"""
