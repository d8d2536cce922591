"""Training: sounds, pictures and texts in, an encoder bundle out. Needs the `train` extra (torch).

    videos, CSVs --> shards --> stored vectors --> stage 1 --> stage 2 --> bundle

data/          what training reads: videos and manifests to shards, shards to batches
towers/        the audio towers, and the frozen CLIP
embed.py       pictures and texts through the frozen CLIP, once
curate.py      captions for clips by their pictures
front_ends.py  a clip's sound to features, by the paper's rules or ours
pivot.py       stage 1: sounds against pictures        captions.py   stage 2: sounds against texts
stage.py       what both have in common                scaling.py    stage 2 with ever more captions
contrast.py    the step    losses.py    what it minimises    lars.py, distributed.py
loop.py        the one training loop                   checks.py     what is measured on the way
runs.py        run folders and their settings          config.py     settings to JSON and back
graphs.py      torch modules to ONNX                   export.py     a run to a bundle
convert/       published weights to a bundle           model_card.py
starter/       the recipe of the shipped bundle
"""

#: Read by `soundsearch.ours`: other projects have packages of this name.
__part_of__ = "soundsearch"
