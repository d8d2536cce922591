"""The recipe of the shipped encoder: recordings with captions in, the `starter` bundle out.

manifests.py        sounds.csv, more.csv, esc10.csv -> recordings
decoded.py          stage: every recording decoded once
corpus.py           texts on which the text tower learns from its teacher
text_tower.py       stages: teach, distil
text_evaluation.py  a text tower beside its teacher -> metrics
material.py         stage: windows and mixtures through the tower's fixed blocks, and their labels
learn.py            stage: the audio tower
measure.py          a bundle -> numbers
card.py             numbers and licences -> sections of model_card.md
constants.py        all constants
run_folder.py       which of its stages are done
recipe.py           the stages in order

What is general lies in `trainer`: augmentation, mixtures, taggers, distillation, calibration, export.
"""
