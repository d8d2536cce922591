"""The recipe of the shipped `starter` bundle: its stages in order.

decode -> teach -> distil -> material -> learn -> export, calibrate, measure, card
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from recipes.starter import card
from recipes.starter.constants import StarterConfig
from recipes.starter.decoded import Waveforms, decode
from recipes.starter.learn import WEIGHTS, learn, new_tower
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
from recipes.starter.material import Material, make_material
from recipes.starter.measure import measure
from recipes.starter.run_folder import Run
from recipes.starter.text_evaluation import evaluate_texts
from recipes.starter.text_tower import TextSide, make_text_tower
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.embedding_cache import EmbeddingCache
from soundsearch.encoder.towers import Encoder
from soundsearch.files import sha256_of, write_atomically
from soundsearch.tables import Table
from trainer import model_card
from trainer.bundle_export import EncoderParts, write_towers
from trainer.calibrate import calibrate, draw_background, make_library, separation
from trainer.calibration_set import Captioned
from trainer.inverted_softmax import (
    LevelledTextTower,
    LoweredAudioTower,
    unused_direction,
    without,
)
from trainer.text_distillation import DistillationPair, find_teacher, teach
from trainer.towers.mobilenet import MobileNetTower, begin_from_published

#: The network that the audio tower begins from, and the names of its classes, in the data folder.
NETWORK = "teachers/mn04_as.safetensors"
CLASSES = "teachers/audioset_527_labels.csv"


def make_starter(
    data: Path,
    run_folder: Path,
    out: Path,
    config: StarterConfig | None = None,
    teacher: Path | None = None,
    repeats: Sequence[EncoderBundle] = (),
) -> EncoderBundle:
    """Run the recipe and leave the bundle in a folder.

    Args:
        data: Folder with sounds.csv, esc10.csv, captions/, teachers/ and, if it is there, more.csv.
        run_folder: For intermediate results.
        out: Folder of the bundle.
        config: Of the recipe.
        teacher: Folder of a published BERT sentence encoder, if not all-MiniLM-L6-v2.
        repeats: What the recipe made from other seeds; the card shows their numbers, too.
    """
    config, teacher = config or StarterConfig(), teacher or find_teacher()
    prepared = prepare(data, run_folder, config, teacher)
    tower = learn_audio(data, run_folder, prepared, config)
    return finish(data, run_folder, out, prepared, tower, config, repeats)


@dataclass(frozen=True)
class Prepared:
    """What stands before the audio tower learns.

    Attributes:
        recordings: Of all manifests and both splits.
        waveforms: Theirs, in the same order.
        text: The text tower.
        teacher: Folder of the sentence encoder that it learnt from.
        key: Fingerprint of the waveforms.
    """

    recordings: Sequence[Recording]
    waveforms: Waveforms
    text: TextSide
    teacher: Path
    key: str


def prepare(data: Path, run_folder: Path, config: StarterConfig, teacher: Path) -> Prepared:
    """Decode the recordings, and make the text tower. Arguments: `make_starter`."""
    run = Run(run_folder)
    recordings = [*read_sounds(data), *read_more(data), *read_esc10(data)]
    manifests = [name for name in (SOUNDS, MORE, ESC10) if (data / name).exists()]
    decoded, key = run.stage(
        "decode",
        [digest(data, manifests), config.front_end.audio, config.longest_s],
        lambda folder: decode(
            [one.path for one in recordings],
            folder,
            config.front_end.audio,
            longest_s=config.longest_s,
        ),
    )
    text = make_text_tower(data, of_split(recordings, "train"), run, config, teacher)
    return Prepared(recordings, Waveforms(decoded), text, teacher, key)


def learn_audio(
    data: Path, run_folder: Path, prepared: Prepared, config: StarterConfig
) -> MobileNetTower:
    """Make the material, and train the audio tower on it. Arguments: `make_starter`."""
    run, weights = Run(run_folder), data / NETWORK
    network = MobileNetTower(dataclasses.replace(config.learn.tower, logits=True))
    begin_from_published(network, weights)
    network.eval()
    classes = [row["display_name"] for row in Table(data / CLASSES).rows(["display_name"])]
    facts = [prepared.key, sha256_of(weights), config.front_end, config.material]
    made, key = run.stage(
        "material",
        [*facts, config.learn.tower.fixed_blocks, config.learn.tower.levels],
        lambda folder: make_material(
            folder,
            prepared.recordings,
            prepared.waveforms,
            network,
            config.front_end,
            config.material,
        ),
    )
    material = Material(made)
    learnt, _ = run.stage(
        f"learn-{config.seed}",
        [
            key,
            prepared.text.key,
            classes,
            config.text,
            config.learn,
            config.seed,
        ],
        lambda folder: learn(
            folder,
            prepared.recordings,
            material,
            network,
            classes,
            prepared.text.embed,
            config.text,
            config.learn,
            config.seed,
        ),
    )
    tower = new_tower(network, config.learn, config.seed)
    tower.load_state_dict(load_file(learnt / WEIGHTS))
    return tower.eval()


def finish(
    data: Path,
    run_folder: Path,
    out: Path,
    prepared: Prepared,
    tower: MobileNetTower,
    config: StarterConfig,
    repeats: Sequence[EncoderBundle] = (),
) -> EncoderBundle:
    """Export the towers, calibrate and measure the bundle, write its card, and install it.

    Args:
        data: As for `prepare`.
        run_folder: As for `prepare`.
        out: Folder of the bundle.
        prepared: What `prepare` returned.
        tower: What `learn_audio` returned.
        config: Of the recipe.
        repeats: As for `make_starter`.
    """
    folder = run_folder / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    learnt = of_split(prepared.recordings, "train")
    ordinary_texts = prepared.text.embed(sorted({one.caption for one in learnt if one.caption}))
    direction = unused_direction(ordinary_texts)
    bundle = write_towers(
        folder,
        EncoderParts(
            audio_tower=LoweredAudioTower(
                tower, ordinary_texts, direction, config.inverted_softmax
            ),
            text_tower=LevelledTextTower(prepared.text.tower, direction),
            tokenizer=prepared.text.tokenizer,
            dim=config.learn.tower.dim,
            audio=config.front_end.audio,
            features=config.front_end.features,
            text=config.text,
            name=config.name,
            version=config.version,
            description=config.description,
            licence=config.licence,
            provenance=f"{card.AUDIO_ORIGIN} {card.TEXT_ORIGIN} See model_card.md.",
        ),
        command=card.COMMAND,
    )
    encoder = Encoder(bundle)
    captioned, ordinary = _calibrated_on(prepared.recordings)
    with EmbeddingCache(None, encoder) as cache:
        library = make_library(encoder, captioned, cache)
        background = draw_background(encoder, ordinary, cache, seed=config.seed)
        bundle = calibrate(encoder, library, background)
        encoder = Encoder(bundle)
        measured = measure(encoder, data, cache)
    metrics = evaluate_texts(
        lambda texts: without(encoder.embed_text(texts), direction),
        lambda texts: teach(
            prepared.teacher,
            prepared.text.tokenizer,
            [DistillationPair(text, text) for text in texts],
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
            **{name: round(value, 4) for name, value in metrics.items()},
        },
    }
    bundle = dataclasses.replace(bundle, results=results)
    usable = [one for one in prepared.recordings if str(one.path) not in prepared.waveforms.failed]
    logs = [
        ("Text tower", run_folder / "distil" / "log.jsonl", card.TEXT_COLUMNS),
        (
            "Head of the audio tower",
            run_folder / f"learn-{config.seed}" / "head" / "log.jsonl",
            card.HEAD_COLUMNS,
        ),
    ]
    sections = card.sections(bundle, usable, logs, repeats)
    model_card.write(bundle, card.COMMAND, sections, dataclasses.asdict(config)).write()
    return install(bundle.folder, out)


def _calibrated_on(recordings: Sequence[Recording]) -> tuple[list[Captioned], list[Path]]:
    """The library and the recordings of the background, all but ESC-10, by their splits."""
    sounds = [one for one in recordings if one.label is None]
    valid = [one for one in of_split(sounds, "valid") if one.caption]
    captioned = [Captioned(one.path, one.caption) for one in valid]
    return captioned, [one.path for one in of_split(sounds, "train")]


def install(made: Path, out: Path) -> EncoderBundle:
    """Copy a finished bundle to `out`, file by file, each renamed into place, bundle.json last."""
    out.mkdir(parents=True, exist_ok=True)
    files = sorted(made.iterdir(), key=lambda path: path.name == "bundle.json")
    with contextlib.ExitStack() as stack:
        # Names are given in the reverse order, once all copies are whole.
        for path in reversed(files):
            shutil.copyfile(path, stack.enter_context(write_atomically(out / path.name)))
    return EncoderBundle.read(out)
