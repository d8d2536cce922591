"""The recipe of the shipped `starter` bundle: its stages in order.

    decode -> teach -> distil -> (the audio tower learns) -> export, calibrate, measure, card

`prepare` runs the first ones, `finish` the last ones, with an audio tower between them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from recipes.starter import card
from recipes.starter.config import StarterConfig
from recipes.starter.manifests import (
    ESC10,
    MORE,
    SOUNDS,
    Recording,
    digest,
    of_split,
    read_esc10,
    read_more,
    read_sounds,
)
from recipes.starter.measure import measure
from recipes.starter.stages import Run
from recipes.starter.text_exam import text_exam
from recipes.starter.text_tower import TextSide, make_text_tower
from recipes.starter.waveforms import Waveforms, decode
from soundsearch.audio.features import FeatureConfig
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.embedding_cache import EmbeddingCache
from soundsearch.encoder.towers import Encoder
from soundsearch.files import write_atomically
from trainer import model_card
from trainer.bundle_export import EncoderParts, write_towers
from trainer.calibrate import calibrate, draw_background, make_library, separation
from trainer.calibration_set import Captioned
from trainer.text_distillation import Lesson, ProjectedText, find_teacher, teach


@dataclass(frozen=True)
class Prepared:
    """What stands before the audio tower learns.

    Attributes:
        recordings: Of all manifests and both splits.
        waveforms: Theirs, in the same order.
        text: The text tower.
        teacher: Folder of the sentence encoder that it learnt from.
        key: Fingerprint of all that this is made from.
    """

    recordings: Sequence[Recording]
    waveforms: Waveforms
    text: TextSide
    teacher: Path
    key: str


@dataclass(frozen=True)
class AudioSide:
    """What the audio stage leaves.

    Attributes:
        tower: Features (n, n_mels, n_frames) -> vectors (n, dim).
        head: Linear map of the text tower's unit vectors to vectors (n, dim).
        dim: Numbers in a vector.
        features: The tower's front end.
        settings: All constants of its learning, for training.json.
        logs: Title and log.jsonl of each stage, with the columns to show, for the card.
        origin: What the tower began from, a sentence for the card.
    """

    tower: nn.Module
    head: nn.Module
    dim: int
    features: FeatureConfig
    settings: Mapping[str, Any]
    logs: Sequence[tuple[str, Path, tuple[str, ...]]]
    origin: str


def prepare(
    data: Path,
    run_folder: Path,
    config: StarterConfig | None = None,
    teacher: Path | None = None,
    n_workers: int = 2,
) -> Prepared:
    """Decode the recordings, and make the text tower.

    Args:
        data: Folder with sounds.csv, esc10.csv, captions/ and, if it is there, more.csv.
        run_folder: For intermediate results.
        config: Of the recipe.
        teacher: Folder of a published BERT sentence encoder, if not all-MiniLM-L6-v2.
        n_workers: Threads that decode.
    """
    config, teacher, run = config or StarterConfig(), teacher or find_teacher(), Run(run_folder)
    recordings = [*read_sounds(data), *read_more(data), *read_esc10(data)]
    manifests = [name for name in (SOUNDS, MORE, ESC10) if (data / name).exists()]
    decoded, key = run.stage(
        "decode",
        [digest(data, manifests), config.audio, config.longest_s],
        lambda folder: decode(
            [one.path for one in recordings],
            folder,
            config.audio,
            longest_s=config.longest_s,
            n_workers=n_workers,
        ),
    )
    text = make_text_tower(data, of_split(recordings, "train"), run, config, teacher)
    return Prepared(recordings, Waveforms(decoded), text, teacher, f"{key} {text.key}")


def finish(
    data: Path,
    run_folder: Path,
    out: Path,
    prepared: Prepared,
    learnt: AudioSide,
    config: StarterConfig,
    repeat: EncoderBundle | None = None,
) -> EncoderBundle:
    """Export the towers, calibrate and measure the bundle, write its card, and install it.

    Args:
        data: As for `prepare`.
        run_folder: As for `prepare`.
        out: Folder of the bundle.
        prepared: What `prepare` returned.
        learnt: The audio tower and the head on the text tower.
        config: Of the recipe.
        repeat: What the recipe made from another seed; the card shows its numbers, too.
    """
    folder = run_folder / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    bundle = write_towers(
        folder,
        EncoderParts(
            audio_tower=learnt.tower,
            text_tower=ProjectedText(prepared.text.tower, learnt.head),
            tokenizer=prepared.text.tokenizer,
            dim=learnt.dim,
            audio=config.audio,
            features=learnt.features,
            text=config.text,
            name=config.name,
            version=config.version,
            description=config.description,
            licence=config.licence,
            provenance=f"{learnt.origin} {card.TEXT_ORIGIN} See model_card.md.",
        ),
        command=card.COMMAND,
    )
    encoder = Encoder(bundle)
    asked, ordinary = _calibrated_on(prepared.recordings)
    with EmbeddingCache(None, encoder) as cache:
        library = make_library(encoder, asked, cache)
        background = draw_background(encoder, ordinary, cache, seed=config.seed)
        bundle = calibrate(encoder, library, background)
        encoder = Encoder(bundle)
        measured = measure(encoder, data, cache)
    marks = text_exam(
        encoder.embed_text,
        lambda texts: teach(
            prepared.teacher,
            prepared.text.tokenizer,
            [Lesson(text, text) for text in texts],
            config.text.max_tokens,
        ),
        data,
    )
    results = {
        **bundle.results,
        **measured,
        "scores from 0 to 1": {"command": card.COMMAND, **separation(encoder, library)},
        "text tower beside its teacher": {
            "command": card.COMMAND,
            **{name: round(value, 4) for name, value in marks.items()},
        },
    }
    bundle = dataclasses.replace(bundle, results=results)
    usable = [one for one in prepared.recordings if str(one.path) not in prepared.waveforms.failed]
    logs = [("Text tower", run_folder / "distil" / "log.jsonl", card.TEXT_COLUMNS), *learnt.logs]
    sections = card.sections(bundle, usable, learnt.origin, logs, repeat)
    settings = {**dataclasses.asdict(config), **learnt.settings}
    model_card.write(bundle, card.COMMAND, sections, settings).write()
    return install(bundle.folder, out)


def _calibrated_on(recordings: Sequence[Recording]) -> tuple[list[Captioned], list[Path]]:
    """The library and the recordings of the background, all but ESC-10, by their splits."""
    sounds = [one for one in recordings if one.label is None]
    valid = [one for one in of_split(sounds, "valid") if one.caption]
    asked = [Captioned(one.path, one.caption) for one in valid]
    return asked, [one.path for one in of_split(sounds, "train")]


def install(made: Path, out: Path) -> EncoderBundle:
    """Copy a finished bundle to `out`, file by file, each renamed into place, bundle.json last."""
    out.mkdir(parents=True, exist_ok=True)
    files = sorted(made.iterdir(), key=lambda path: path.name == "bundle.json")
    with contextlib.ExitStack() as stack:
        # Names are given in the reverse order, once all copies are whole.
        for path in reversed(files):
            shutil.copyfile(path, stack.enter_context(write_atomically(out / path.name)))
    return EncoderBundle.read(out)
