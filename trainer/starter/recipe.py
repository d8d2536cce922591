"""The recipe of the shipped `starter` bundle: its stages in order.

    decode -> scenes -> teach -> distil -> phrases -> align -> export -> measure -> card

Each stage writes one folder under the run folder and, when it is complete, `done.json` with the
fingerprint of everything that went in. A stage whose fingerprint is there already is skipped, so
an interrupted run goes on where it was, and a changed constant repeats only what depends on it;
what another constant gave is kept aside, and taken back if that constant is.
Constants and data are in the fingerprint, the code is not: after changing that, begin a new folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.towers import Encoder
from soundsearch.files import sha256_of, write_atomically, write_text
from trainer import model_card
from trainer.data.manifests import ESC10, SOUNDS, digest, of_split, read_esc10, read_sounds
from trainer.loop import delete_checkpoint
from trainer.starter import card
from trainer.starter.align import Aligner
from trainer.starter.audio_stage import WEIGHTS, Material, align_audio, read_aligner
from trainer.starter.cache import RecordingCache, build_cache
from trainer.starter.calibrate import calibrate, draw_background, make_library, separation
from trainer.starter.config import StarterConfig
from trainer.starter.corpus import (
    AUDIOCAPS_TRAIN,
    AUDIOCAPS_VALID,
    ONTOLOGY,
    Lesson,
    build_corpus,
    read_audiocaps,
    whole_words,
)
from trainer.starter.distil import (
    TokenIds,
    agreement,
    distil,
    embed_texts,
    find_teacher,
    read_tokenizer,
    teach,
)
from trainer.starter.embedder import Embedder
from trainer.starter.export import export_bundle
from trainer.starter.measure import kept, measure
from trainer.starter.scenes import Scenes, make_scenes
from trainer.starter.tagger import Tagger, Teacher
from trainer.starter.text_exam import text_exam
from trainer.starter.texts import texts_of
from trainer.towers.bert import TextTower, read_bert

logger = logging.getLogger(__name__)

Array = NDArray[np.float32]

#: In a stage's folder, from its start and from its end: the fingerprint of what it is made from.
BEGUN = "begun"
DONE = "done.json"
#: In the folder of the text tower's teacher.
TEACHER = ("model.safetensors", "tokenizer.json")


class Run:
    """The run folder: knows which stages are done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stage(self, name: str, facts: object, work: Callable[[Path], object]) -> tuple[Path, str]:
        """Do `work(folder of the stage)` unless it was done with the same facts.

        Returns the folder and the fingerprint, which the stages that build on it put in theirs.
        An unfinished stage keeps what it wrote, if it was for the same facts; a stage for other
        facts is set aside under a name of its own, and comes back when these facts do.
        """
        fingerprint = fingerprint_of([name, facts])
        folder = self.folder / name
        begun, done = folder / BEGUN, folder / DONE
        if folder.exists() and _read(begun) != fingerprint:
            aside = self._aside(name, _read(begun))
            folder.rename(aside)
            logger.info("%s: was made from something else, kept as %s", name, aside)
        if not folder.exists() and self._aside(name, fingerprint).exists():
            self._aside(name, fingerprint).rename(folder)
        if done.exists():
            logger.info("%s: done before", name)
            return folder, fingerprint
        folder.mkdir(parents=True, exist_ok=True)
        write_text(begun, fingerprint)
        logger.info("%s: begins", name)
        started = time.monotonic()
        work(folder)
        seconds = round(time.monotonic() - started, 1)
        write_text(done, json.dumps({"fingerprint": fingerprint, "seconds": seconds}))
        logger.info("%s: took %.0f s", name, seconds)
        return folder, fingerprint

    def _aside(self, name: str, fingerprint: str) -> Path:
        return self.folder / f"{name}-{fingerprint[:12] or 'of-unknown-origin'}"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def fingerprint_of(facts: object) -> str:
    """SHA-256 of nested dataclasses, mappings and plain values."""

    def plain(value: object) -> object:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
        return str(value)

    return hashlib.sha256(json.dumps(facts, default=plain, sort_keys=True).encode()).hexdigest()


def make_starter(
    data: Path,
    run_folder: Path,
    out: Path,
    config: StarterConfig | None = None,
    teacher: Path | None = None,
    tagger: Teacher | None = None,
    n_workers: int = 2,
    repeat: EncoderBundle | None = None,
) -> EncoderBundle:
    """Run the recipe and leave the bundle in `out`.

    data: folder with sounds.csv, esc10.csv, captions/ and teachers/. run_folder: intermediate results.
    teacher: folder of a published BERT sentence encoder, if not all-MiniLM-L6-v2. tagger: what
    hears the scenes, if not YAMNet in `data`. n_workers: processes that make scenes, 0 for none.
    repeat: what the recipe made from another seed; the card shows its numbers beside this run's.
    """
    config = config or StarterConfig()
    teacher = teacher or find_teacher()
    run = Run(run_folder)
    prepared = prepare(data, run, config, teacher, tagger, n_workers)
    material, cache = prepared.material, prepared.material.cache

    # align: the audio tower and the head
    aligned, _ = run.stage(
        "align",
        [prepared.key, config.tower, config.captions],
        lambda folder: align_audio(folder, material, config),
    )
    aligner = read_aligner(aligned, material, config)

    bundle = _export(run_folder / "bundle", material, aligner, config)
    encoder = Encoder(bundle)
    sounds = [clip for clip in material.clips if clip.label is None]
    background = draw_background(encoder, of_split(sounds, "train"), config.captions.seed)
    with kept(encoder) as embeddings:
        asked = make_library(encoder, of_split(sounds, "valid"), embeddings)
        bundle = calibrate(encoder, asked, background)
        encoder = Encoder(bundle)
        measured = measure(encoder, data, embeddings)
    marks = text_exam(
        encoder.embed_text,
        lambda texts: teach(
            teacher,
            material.tokenizer,
            [Lesson(text, text) for text in texts],
            config.text.max_tokens,
        ),
        data,
    )
    results = {
        **measured,
        "scores from 0 to 1": {"command": card.COMMAND, **separation(encoder, asked)},
        "text tower beside its teacher": {"command": card.COMMAND, **_rounded(marks)},
    }
    bundle = dataclasses.replace(bundle, results=results)
    sections = card.sections(bundle, config, material.clips, cache.failed, run_folder, repeat)
    model_card.write(bundle, card.COMMAND, sections, dataclasses.asdict(config)).write()
    return install(bundle.folder, out)


@dataclass(frozen=True)
class Prepared:
    """What stands before the audio stage begins. key: fingerprint of all of it."""

    material: Material
    key: str


def prepare(
    data: Path,
    run: Run,
    config: StarterConfig,
    teacher: Path | None = None,
    tagger: Teacher | None = None,
    n_workers: int = 2,
) -> Prepared:
    """Every stage but the last: recordings, scenes, and the text tower. Parameters: `make_starter`."""
    teacher = teacher or find_teacher()
    tagger = tagger or Tagger(data)
    clips = read_sounds(data) + read_esc10(data)
    train_clips = of_split(clips, "train")
    manifests = digest(data, (SOUNDS, ESC10))
    texts_digest = digest(data, (AUDIOCAPS_TRAIN, ONTOLOGY))

    # decode: every recording to log-mel frames
    decoded, decoded_key = run.stage(
        "decode",
        [manifests, config.audio, config.features, config.longest_s],
        lambda folder: build_cache(
            clips, folder, config.audio, config.features, longest_s=config.longest_s
        ),
    )
    cache = RecordingCache(decoded)

    # scenes: recordings mixed, and heard by the tagger
    places = [i for i, clip in enumerate(clips) if clip.split == "train"]
    mixed, scenes_key = run.stage(
        "scenes",
        [decoded_key, tagger.fingerprint, config.scenes],
        lambda folder: make_scenes(
            cache,
            places,
            train_clips,
            tagger,
            folder,
            config.audio,
            config.features,
            config.scenes,
            n_workers,
        ),
    )
    scenes = Scenes(mixed, config.features)

    # teach: the teacher embeds the corpus
    tokenizer = read_tokenizer(teacher, config.text.max_tokens)
    lessons = build_corpus(data, train_clips, whole_words(tokenizer.get_vocab()), config.corpus)
    held_out = read_audiocaps(data / AUDIOCAPS_VALID)[: config.n_held_out]
    exam = [Lesson(text, text) for text in held_out]
    taught, taught_key = run.stage(
        "teach",
        [
            manifests,
            texts_digest,
            *(sha256_of(teacher / name) for name in TEACHER),
            config.corpus,
            config.text.max_tokens,
            held_out,
        ],
        lambda folder: _save(
            folder / WEIGHTS,
            lessons=teach(teacher, tokenizer, lessons, config.text.max_tokens).astype(np.float16),
            exam=teach(teacher, tokenizer, exam, config.text.max_tokens).astype(np.float16),
        ),
    )

    # distil: the text tower
    distilled, distilled_key = run.stage(
        "distil",
        [taught_key, config.distil],
        lambda folder: _distil(
            folder, load_file(taught / WEIGHTS), lessons, exam, tokenizer, teacher, config
        ),
    )
    text_tower = _student(teacher, config)
    text_tower.load_state_dict(load_file(distilled / WEIGHTS))
    text_tower.eval()

    # phrases: the text tower embeds whatever may stand for a sound
    phrases = texts_of(train_clips, scenes, tagger.names, config.text.prompt, config.captions.seed)
    embedded, key = run.stage(
        "phrases",
        [scenes_key, distilled_key, config.text.prompt, config.captions.seed],
        lambda folder: _save(
            folder / WEIGHTS,
            vectors=embed_texts(text_tower, TokenIds(tokenizer, phrases.texts)),
        ),
    )
    vectors = load_file(embedded / WEIGHTS)["vectors"].numpy()
    return Prepared(Material(clips, cache, scenes, phrases, vectors, text_tower, tokenizer), key)


def install(made: Path, out: Path) -> EncoderBundle:
    """Copy a finished bundle to `out`, file by file, each renamed into place, bundle.json last."""
    out.mkdir(parents=True, exist_ok=True)
    files = sorted(made.iterdir(), key=lambda path: path.name == "bundle.json")
    with contextlib.ExitStack() as stack:
        # Names are given in the reverse order, once all copies are whole.
        for path in reversed(files):
            shutil.copyfile(path, stack.enter_context(write_atomically(out / path.name)))
    return EncoderBundle.read(out)


def _student(teacher: Path, config: StarterConfig) -> TextTower:
    torch.manual_seed(config.distil.seed)
    distil = config.distil
    return read_bert(
        teacher, layers=distil.layers, rank=distil.rank, max_tokens=config.text.max_tokens
    )


def _distil(
    folder: Path,
    taught: Mapping[str, torch.Tensor],
    lessons: Sequence[Lesson],
    exam: Sequence[Lesson],
    tokenizer: tokenizers.Tokenizer,
    teacher: Path,
    config: StarterConfig,
) -> None:
    ids = TokenIds(tokenizer, [lesson.text for lesson in lessons])
    exam_ids = TokenIds(tokenizer, [lesson.text for lesson in exam])
    wanted = taught["exam"].float().numpy()

    def check(tower: nn.Module) -> dict[str, float]:
        assert isinstance(tower, TextTower)
        found = agreement(embed_texts(tower, exam_ids), wanted)
        return {f"held_out_{name}": value for name, value in found.items()}

    student = distil(
        _student(teacher, config),
        ids,
        taught["lessons"].float().numpy(),
        config.distil,
        folder,
        check,
    )
    save_file(student.state_dict(), folder / WEIGHTS)
    delete_checkpoint(folder)


def _export(
    folder: Path, material: Material, aligner: Aligner, config: StarterConfig
) -> EncoderBundle:
    """The bundle without results and card; torch and onnxruntime compared on real windows."""
    shutil.rmtree(folder, ignore_errors=True)
    n, cache = config.features.n_frames, material.cache
    embedder = Embedder(aligner, material.tag_space(config))
    mean, std = aligner.tower.mean, aligner.tower.std
    usable = [i for i in range(len(cache)) if cache.n_frames(i) >= n][:8]
    windows = np.stack([cache.window(i, 0, n) for i in usable]).astype(np.float32)
    return export_bundle(
        folder,
        embedder,
        material.text_tower,
        material.tokenizer,
        audio=config.audio,
        features=dataclasses.replace(config.features, mean=mean, std=std),
        text=config.text,
        example=np.ascontiguousarray(((windows - mean) / std).transpose(0, 2, 1)),
        facts={
            "name": config.name,
            "version": config.version,
            "description": config.description,
            "licence": config.licence,
            "provenance": card.PROVENANCE,
        },
    )


def _save(path: Path, **arrays: NDArray[Any]) -> None:
    save_file({name: torch.from_numpy(array).contiguous() for name, array in arrays.items()}, path)


def _rounded(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in numbers.items()}
