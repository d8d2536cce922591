"""`soundsearch train embed-images, embed-captions, curate`: stored embeddings of the frozen CLIP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundsearch.choices import Device, Texts
from soundsearch.cli.options import DeviceChoice
from soundsearch.cli.progress import progress_on_stderr
from soundsearch.cli.streams import note
from soundsearch.cli.train.extra import (
    PartOption,
    Shards,
    chosen_part,
    shard_folders,
    training_extra,
)

if TYPE_CHECKING:
    from soundsearch.progress import Progress
    from trainer.embed_shards import Report
    from trainer.towers.clip_model import FrozenClip

Model = Annotated[
    str, typer.Option(help="CLIP model: a name of open_clip, or a JSON file with its config.")
]
Pretrained = Annotated[
    str,
    typer.Option(
        help="Its weights: a name of open_clip, downloaded once, or a checkpoint file "
        "(.safetensors, or .pt; OpenAI's own too)."
    ),
]


def embed_images(
    shards: Shards,
    model: Model = "ViT-B-32-quickgelu",
    pretrained: Pretrained = "openai",
    batch_size: Annotated[int, typer.Option(help="Frames embedded at once.", min=1)] = 64,
    part: PartOption = None,
    device: DeviceChoice = "auto",
) -> None:
    """Embed every frame of every clip with the frozen CLIP; prints the encoder's name.

    The vectors lie beside the shards. Shards that have them are skipped, so that a stopped run
    goes on. Frames that cannot be decoded are left out, each with a line.

    Example: soundsearch train embed-images shards/ --device cuda --batch-size 256 --part 1/4
    """
    with training_extra():
        from trainer.embed_shards import embed_images as embed
    share = chosen_part(part)
    with progress_on_stderr() as progress:
        folders = shard_folders(shards, progress)
        clip_model = _loaded_clip(model, pretrained, device, progress)
        report = embed(folders, clip_model, batch_size=batch_size, part=share, progress=progress)
    typer.echo(clip_model.encoder)
    print_summary(report, "frames")


def embed_captions(
    shards: Shards,
    texts: Annotated[
        Texts,
        typer.Option(
            help="captions: each; labels: each in the prompt; labels-joined: all of a clip in one."
        ),
    ] = "captions",
    prompt: Annotated[
        str, typer.Option(help="What a label is put into, in place of {}; not for captions.")
    ] = "the sound of {}",
    model: Model = "ViT-B-32-quickgelu",
    pretrained: Pretrained = "openai",
    part: PartOption = None,
    device: DeviceChoice = "auto",
) -> None:
    """Embed the captions or labels of every clip with the frozen CLIP; prints the encoder's name.

    The vectors lie beside the shards. Shards that have them are skipped, so that a stopped run
    goes on; another prompt embeds labels anew.

    Example: soundsearch train embed-captions shards/ --texts labels --prompt "the sound of {}"
    """
    with training_extra():
        from trainer.embed_shards import embed_captions as embed
    if prompt.count("{}") != 1:
        raise typer.BadParameter(
            f"must hold {{}} once, where the label goes, not {prompt!r}", param_hint="--prompt"
        )
    share = chosen_part(part)
    with progress_on_stderr() as progress:
        folders = shard_folders(shards, progress)
        clip_model = _loaded_clip(model, pretrained, device, progress)
        report = embed(folders, clip_model, texts, prompt=prompt, part=share, progress=progress)
    typer.echo(clip_model.encoder)
    print_summary(report, "texts")


def curate(
    shards: Annotated[Path, typer.Argument(help="Folder of shards (*.tar).")],
    pool: Annotated[
        Path,
        typer.Option(
            help="Captions to choose from: a text file, one a line, or a CSV file with a column "
            "caption (or caption_1, caption_2 ...); with --chosen the authors' file ..._map.csv."
        ),
    ],
    chosen: Annotated[
        Path | None,
        typer.Option(
            help="Captions that the paper's authors chose: their file ..._cap.csv, or the JSON of "
            "its captions by clip."
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(help="Captions that each frame brings.", min=1)] = 10,
    encoder: Annotated[
        str | None,
        typer.Option(help="Name of the encoder of the pictures, where there are several."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the pool; default: its file's.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Also write what was chosen as CSV: shard, key, caption.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="CLIP model as in embed-images; default: the one used there.")
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(help="Its weights as in embed-images; default: the ones used there."),
    ] = None,
    device: DeviceChoice = "auto",
) -> None:
    """Choose captions for clips by their pictures alone; prints the name to train with.

    Every frame brings the captions of the pool that are nearest to it by the frozen CLIP; sound is
    not used. Needs embed-images. Shards that are done are skipped.

    Example: soundsearch train curate shards/ --pool captions.txt --top-k 10 --manifest chosen.csv
    """
    with training_extra():
        from trainer.curate import curate as choose
        from trainer.curate import write_manifest
        from trainer.runs import torch_device
    with progress_on_stderr() as progress:
        pool_name, report = choose(
            shards,
            pool,
            chosen=chosen,
            encoder=encoder,
            model=model,
            pretrained=pretrained,
            name=name,
            top_k=top_k,
            device=str(torch_device(device)),
            progress=progress,
        )
    if manifest is not None:
        write_manifest(shards, pool_name, manifest)
    typer.echo(f"curated:{pool_name}")
    print_summary(report, "captions")


def _loaded_clip(model: str, pretrained: str, device: Device, progress: Progress) -> FrozenClip:
    with training_extra():
        from trainer.runs import torch_device
        from trainer.towers.clip_model import ClipChoice, load_clip
    progress.begin("loading CLIP")
    return load_clip(ClipChoice(model=model, pretrained=pretrained), str(torch_device(device)))


def print_summary(report: Report, what: str, bad: str = "frames") -> None:
    """Print the counts of a run over shards; exit with 1 if a shard failed. bad: what n_bad counts."""
    parts = [
        f"{report.n_done} shards done",
        f"{report.n_ready} ready before",
        f"{report.n_examples} clips",
        f"{report.n_rows} {what}",
    ]
    if report.n_bad:
        parts.append(f"{report.n_bad} {bad} left out")
    if report.n_empty:
        parts.append(f"{report.n_empty} clips without any")
    if report.n_failed:
        parts.append(f"{report.n_failed} shards failed")
    note(", ".join(parts))
    if report.n_failed:
        raise typer.Exit(1)
