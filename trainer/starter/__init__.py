"""The shipped encoder: recordings with captions in, the `starter` bundle out.

corpus.py       texts on which the text tower learns from its teacher
distil.py       stage: text tower from a sentence encoder
text_exam.py    a text tower beside its teacher -> marks
cache.py        stage: every recording decoded once, to log-mel frames and samples
tagger.py       the AudioSet tagger that teaches
scenes.py       stage: recordings mixed to scenes, which the tagger hears
augment.py      changes to a log-mel batch that leave its meaning alone
align.py        batches and losses of the audio tower
audio_stage.py  stage: audio tower against captions and tagger
start.py        weights of an earlier stage for it to begin with
check.py        recall on the validation split while it trains
families.py     whole families of sounds that a study keeps out of training
calibrate.py    cosines -> scores from 0 to 1
measure.py      a bundle -> numbers        head_word.py  what a caption is about
card.py         numbers and licences -> model_card.md
config.py       all constants
recipe.py       the stages in order
"""
