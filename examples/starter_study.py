"""What each step of the starter's recipe brings: audio towers trained without whole families of sounds.

    python -m examples.starter_study ../shared/data --run runs/starter --steps 500

Every variant learns from the same recordings, from which the families of `trainer/starter/families.py`
are missing, for as many steps and from the same seed. Told are, in percent, recall over the captions
of the validation split that are left, ESC-10's validation clips, and the held-out classes: forty
names that stood over no recording. The stages before are those of `soundsearch train starter`; what is
done already in the run folder is not done again, and an interrupted variant goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soxr

from soundsearch.files import sha256_of
from trainer.data.manifests import Recording
from trainer.starter import card
from trainer.starter.audio_stage import Material, align_audio, read_aligner
from trainer.starter.check import Check
from trainer.starter.config import StarterConfig
from trainer.starter.families import LABELS, examples, held_out
from trainer.starter.recipe import Run, prepare
from trainer.starter.scenes import Kind, rate_of
from trainer.starter.tagger import Tagger

#: Captions and no teacher.
ALONE = {"tag_weight": 0.0, "sound_weight": 0.0, "probe_weight": 0.0}
NO_BENT = {"bent_share": 0.0, "duet_share": 0.0}
#: Constants of `CaptionsConfig` that differ from the recipe; each variant has more than the one before
#: it, up to the recipe itself; the last is that without one of its parts.
VARIANTS: dict[str, dict[str, float]] = {
    "captions": ALONE | NO_BENT | {"scene_share": 0.0},
    "scenes": ALONE | NO_BENT | {"scene_share": 0.5},
    "the tagger": NO_BENT | {"scene_share": 0.5},
    "bent scenes": {"duet_share": 0.0},
    "duets": {},
    "duets and no bent scenes": {"scene_share": 0.5, "bent_share": 0.0},
}
#: What is added to the name of a variant with a probe, and the constants of its `TagSpaceConfig`.
WITH_TAGS: dict[str, dict[str, float]] = {", with the tag space": {}}
TAG_SPACES = WITH_TAGS | {
    ", with a tag space by likeness to a class alone": {"least": 1.0},
    ", with a tag space that captions have no part in": {"least": 0.0},
}


def main() -> None:
    """Train the variants that are asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--run", type=Path, required=True, help="run folder of the recipe")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument(
        "--start",
        type=Path,
        help="weights of examples/pivot_start.py: what was asked for from these, too",
    )
    parser.add_argument(
        "--tag-spaces", action="store_true", help="measure other lengths of its part, too"
    )
    parser.add_argument(
        "--unnamed",
        action="store_true",
        help="let the tagger speak of the held-out families' recordings, which no caption names",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    config = StarterConfig().with_steps(None, arguments.steps)
    run = Run(arguments.run)
    prepared = prepare(arguments.data, run, config)
    material, key = prepared.material, prepared.key
    rows: dict[str, dict[str, float]] = {}
    tag_spaces = TAG_SPACES if arguments.tag_spaces else WITH_TAGS
    for name in arguments.variants:
        captions = dataclasses.replace(config.captions, **VARIANTS[name])  # type: ignore[arg-type]
        changed = dataclasses.replace(config, captions=captions)
        if arguments.unnamed:
            name = f"{name}, families heard and not named"
        rows |= study(run, name, material, key, changed, None, tag_spaces, arguments.unnamed)
        if arguments.start:
            name = f"{name}, from a pivot stage"
            rows |= study(
                run, name, material, key, changed, arguments.start, tag_spaces, arguments.unnamed
            )
    left_out = "not named" if arguments.unnamed else "left out"
    title = f"{arguments.steps} steps, the held-out families {left_out}"
    command = command_of(arguments)
    card.note_study(arguments.run, title, command, rows)
    print(card.study_table(command, title, rows))
    print(
        f"\nThe tagger itself: {100 * tagger_alone(arguments.data, material):.1f} % of the held-out classes"
    )


def command_of(arguments: argparse.Namespace) -> str:
    """How the numbers come about again, whatever the folders are called."""
    parts = [f"python -m examples.starter_study DATA --run RUN --steps {arguments.steps}"]
    if arguments.variants != list(VARIANTS):
        parts += ["--variants", shlex.join(arguments.variants)]
    if arguments.start:
        parts.append("--start WEIGHTS")
    if arguments.tag_spaces:
        parts.append("--tag-spaces")
    if arguments.unnamed:
        parts.append("--unnamed")
    return " ".join(parts)


def study(
    run: Run,
    name: str,
    material: Material,
    key: str,
    config: StarterConfig,
    start: Path | None = None,
    tag_spaces: Mapping[str, Mapping[str, float]] = WITH_TAGS,
    hear_families: bool = False,
) -> dict[str, dict[str, float]]:
    """Train one variant; shares by name, of its learned part and, if it has a probe, of the whole.

    hear_families: whether recordings of the held-out families sound in scenes without a caption.
    """
    esc10 = {
        i: clip.label
        for i, clip in enumerate(material.clips)
        if clip.split == "valid" and clip.label is not None
    }
    asked = {"esc10": esc10, "held_out": examples(material.clips)}
    differs = ([sha256_of(start)] if start else []) + (["hear families"] if hear_families else [])
    unnamed = held_out if hear_families else nobody
    folder, _ = run.stage(
        f"study-{name.replace(',', '').replace(' ', '-')}-{config.captions.loop.steps}",
        [key, config.tower, config.captions, sorted(asked["held_out"].items()), *differs],
        lambda folder: align_audio(folder, material, config, asked, usable, unnamed, start),
    )
    aligner = read_aligner(folder, material, config)

    def measured(**constants: float) -> dict[str, float]:
        tags = dataclasses.replace(config.tags, **constants)  # type: ignore[arg-type]
        changed = dataclasses.replace(config, tags=tags)
        space = material.tag_space(changed, usable, unnamed)
        check = Check(material.clips, material.cache, material.embed, space, changed, asked, usable)
        return dict(check(aligner))

    rows = {name: measured(weight=0.0)}
    if config.captions.probe_weight:
        rows |= {name + added: measured(**constants) for added, constants in tag_spaces.items()}
    return rows


def usable(clip: Recording) -> bool:
    """Whether a clip may be heard in training, and named."""
    return not held_out(clip)


def nobody(clip: Recording) -> bool:
    """Whether a clip may be heard in training although it may not be named: none may."""
    return False


def tagger_alone(data: Path, material: Material) -> float:
    """How many held-out classes the teacher names, mean of classes: a ceiling for its students.

    A label calls for the class whose names our text tower finds most like it; of the labels' classes
    the teacher's answer is the one with the highest log-odds, standardised over scenes.
    """
    tagger, rate = Tagger(data), rate_of(StarterConfig().audio)
    heard = material.scenes.logits[material.scenes.kinds != Kind.BENT].astype(np.float32)
    mean, std = heard.mean(axis=0), heard.std(axis=0)
    names = material.vectors[material.texts.of_class]
    labels = material.embed([f"the sound of {label}" for label in LABELS])
    called = (names @ labels.T).max(axis=1).argmax(axis=0)
    hits: dict[str, list[bool]] = {label: [] for label in LABELS}
    for i, label in examples(material.clips).items():
        sound = material.cache.waveform(i)
        sound = soxr.resample(sound / max(float(abs(sound).max()), 1e-6), rate, tagger.sample_rate)
        scores = tagger.scores(sound).astype(np.float64).clip(1e-6, 1 - 1e-6)
        odds = (np.log(scores / (1 - scores)) - mean) / std
        hits[label].append(LABELS[int(odds[called].argmax())] == label)
    return float(np.mean([np.mean(of_class) for of_class in hits.values() if of_class]))


if __name__ == "__main__":
    main()
