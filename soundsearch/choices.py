"""Names to choose from, each list written once: for the library, the training and the options.

This module imports nothing heavy, so that the command line can show its help without the rest.
"""

from __future__ import annotations

from typing import Literal

#: Where an encoder runs; auto takes a GPU if there is one.
Device = Literal["auto", "cpu", "cuda"]

#: What a search in words goes by: how recordings sound, the words they are named by, or both.
By = Literal["both", "sound", "words"]
#: Passages of each recording that a search gives, unless it is asked for more or fewer.
PASSAGES = 3

#: Of `soundsearch.bench.protocols`.
ProtocolName = Literal["literature", "vip-ant", "dcase", "mteb-v2"]
#: How a clip of several windows scores: by its best window, as in a search, or by the mean of them.
ClipScore = Literal["best", "mean"]
#: How a class of several texts scores: by the best of them, or by the mean of their embeddings.
ClassScore = Literal["best", "mean"]
#: What a manifest of a benchmark is measured by.
Measured = Literal["caption", "label"]
ClothoSplit = Literal["development", "validation", "evaluation"]
AudioCapsSplit = Literal["train", "val", "test"]
AudioSetSplit = Literal["eval", "balanced_train", "unbalanced_train"]
#: What may be learnt from, to measure on eval.
AudioSetTraining = Literal["balanced_train", "unbalanced_train"]

#: Published checkpoints of VIP-ANT; those with at- were trained on captions, too.
VipAntVariant = Literal[
    "at-clotho",
    "at-clotho-18s",
    "at-audiocaps",
    "clotho",
    "clotho-18s",
    "audiocaps",
    "esc50",
    "esc50-5s",
    "us8k",
    "us8k-4s",
    "start",
]

#: Texts of a shard's examples that are embedded.
Texts = Literal["captions", "labels", "labels-joined"]
#: Audio towers: the paper's, a small one for computers without a GPU, and a MobileNetV3, which may
#: begin from a network that learnt AudioSet's labels.
Tower = Literal["vit", "compact", "mobilenet"]
#: Settings of the paper for the two stages of training: against pictures, against captions.
Preset = Literal["paper-va", "paper-at"]
Optimiser = Literal["lars", "adamw"]
#: Of the matrix products; tf32 is float32 with inputs of 10 bits, on GPUs alone.
Precision = Literal["fp32", "tf32", "bf16", "fp16"]
#: Of the two directions of the loss.
Reduction = Literal["sum", "mean"]
#: What the same vector twice in a batch is.
Duplicates = Literal["negative", "ignored"]
