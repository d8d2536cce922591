"""The shipped encoder: recordings with captions in, the `starter` bundle out.

corpus.py       texts on which the text tower learns from its teacher
distil.py       stage: text tower from a sentence encoder
text_exam.py    a text tower beside its teacher -> marks
cache.py        stage: every recording decoded once, to log-mel frames and samples
tagger.py       the AudioSet tagger that teaches
scenes.py       stage: recordings mixed to scenes, which the tagger hears
bend.py         sounds without a caption, which it hears too
opinions.py     what it says of a class, beside what it says as a rule
texts.py        every text that may stand for a sound
augment.py      changes to a log-mel batch that leave its meaning alone
batches.py      what sounds in a step, and what is said of it
align.py        the audio tower, what it learns by      losses.py  and losses of its own
audio_stage.py  stage: audio tower against captions and tagger
start.py        weights of an earlier stage for it to begin with
tag_space.py    the part of an embedding that is the tagger's
embedder.py     towers and tag space: features and text vectors -> embeddings
check.py        recall on the validation split while it trains
families.py     whole families of sounds that a study keeps out of training
calibrate.py    cosines -> scores from 0 to 1
measure.py      a bundle -> numbers        english.py    head words, plurals
card.py         numbers and licences -> sections of model_card.md
config.py       all constants
recipe.py       the stages in order
"""
