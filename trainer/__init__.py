"""Training: sounds, pictures and texts in, an encoder bundle out. Needs the `train` extra (torch).

    videos, CSVs --> shards --> stored vectors --> stage 1 --> stage 2 --> bundle

data/            what training reads: videos and manifests to shards, shards to batches
towers/          the audio towers, the text tower, and the frozen CLIP model
embed_shards.py  images and texts of shards through the frozen CLIP model, once
store_log_mels.py  log-mels of shards, computed once
curate.py        captions for examples, found by their images
front_ends.py    an example's sound to features, by the paper's rules or ours
stage.py         a stage: sounds against images, or texts
stage_targets.py  what the sounds of a stage are drawn to
caption_scaling.py  stage 2 with more and more captions
contrast.py      the training step                     contrastive_loss.py  its loss
loop.py          the one training loop                 lars.py, torchrun.py  what it uses
checks.py        what is measured during training      runs.py       run folders and their settings
presets.py       the paper's settings by name          limits.py     settings out of their limits
average.py       the average of the weights            epochs.py, best_epoch.py  weights by epoch, the choice
onnx_export.py   torch modules to ONNX files           bundle_export.py  a finished run to a bundle
convert/         published weights to a bundle         model_card.py the card of a bundle
calibrate.py     cosines to scores from 0 to 1         calibration_set.py  on which recordings
augmentation.py  changes to sounds                     mixtures.py   two or three sounds in a window
taggers.py       teachers that give soft labels        distillation.py  their loss
composed_texts.py  texts of mixtures and classes, embedded on the way
text_distillation.py  a small text tower from a sentence encoder
english.py       words by rule of thumb: heads, plurals, stems
"""

#: Read by `soundsearch.ours`: other projects have packages of this name.
__part_of__ = "soundsearch"
