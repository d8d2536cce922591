"""`soundsearch models`: the encoders at hand, and those that can be made of published weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from soundsearch.choices import VipAntVariant
from soundsearch.cli.options import Json
from soundsearch.cli.progress import progress_on_stderr
from soundsearch.cli.streams import note
from soundsearch.cli.train.extra import DEMO, Calibrate, calibration_set, training_extra
from soundsearch.render import printable, to_json

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List, show and build encoders."
)
build = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Convert published weights into an encoder bundle.",
)
app.add_typer(build, name="build")


Out = Annotated[
    Path | None,
    typer.Option(help="Folder the bundle is written to. [default: among your own encoders]"),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the encoder that is there.")]


@app.command("list")
def list_models(json: Json = False) -> None:
    """List the encoders that can be named.

    Example: soundsearch models list
    """
    from soundsearch.encoder.bundle import EncoderBundle
    from soundsearch.encoder.registry import bundle_folders
    from soundsearch.errors import BundleError

    rows = []
    for folder in bundle_folders():
        try:
            bundle = EncoderBundle.read(folder)
        except BundleError as error:
            note(f"skipped {folder}: {error!s}")
            continue
        rows.append(
            {
                "name": folder.name,
                "version": bundle.version,
                "dim": bundle.dim,
                "description": bundle.description,
                "folder": folder,
            }
        )
    if json:
        typer.echo(to_json({"models": rows}))
        return
    for row in rows:
        typer.echo(f"{row['name']:12} {row['version']:8} {row['dim']:4}-d  {row['description']}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A name from `models list`, or a bundle's folder.")],
    json: Json = False,
) -> None:
    """Show all that is known of an encoder, and check its files.

    Example: soundsearch models show starter
    """
    from dataclasses import asdict

    from soundsearch.encoder.registry import find_bundle

    bundle = find_bundle(name)
    for file in bundle.files:
        bundle.file(file)
    facts = {**asdict(bundle), "fingerprint": bundle.fingerprint, "front_end": bundle.features.kind}
    if json:
        typer.echo(to_json(facts))
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            for inner, inner_value in value.items():
                typer.echo(f"{key + '.' + inner:28} {inner_value}")
        else:
            typer.echo(f"{key:28} {printable(str(value))}")


@build.command("vip-ant")
def vip_ant(
    variant: Annotated[
        VipAntVariant,
        typer.Option(
            help="Checkpoint, by what it is best for; those with at- were trained on captions too."
        ),
    ] = "at-clotho",
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="The authors' .pth file of that variant. [default: it is fetched, 350 to 700 MB]"
        ),
    ] = None,
    clip_weights: Annotated[
        Path | None,
        typer.Option(
            "--clip",
            help="Weights of CLIP ViT-B/32, such as ViT-B-32.pt. [default: they are fetched, 350 MB]",
        ),
    ] = None,
    out: Out = None,
    calibrate: Calibrate = DEMO,
    force: Force = False,
) -> None:
    """Make an encoder of a checkpoint of VIP-ANT and CLIP's text tower.

    Without --out it becomes yours by name: vip-ant, or vip-ant-VARIANT for another variant.

    Example: soundsearch models build vip-ant && soundsearch index ~/Sounds --model vip-ant
    """
    from soundsearch.paths import own_bundles_folder

    with training_extra():
        from trainer.convert.vip_ant import build_vip_ant, bundle_name
    logging.getLogger("trainer").setLevel(logging.INFO)  # what is fetched and found, on stderr
    folder = out or own_bundles_folder() / bundle_name(variant)
    recordings = calibration_set(calibrate)
    with progress_on_stderr() as progress:
        bundle = build_vip_ant(
            folder,
            variant,
            checkpoint=checkpoint,
            clip_weights=clip_weights,
            force=force,
            calibrated_on=recordings,
            progress=progress,
        )
    typer.echo(str(bundle.folder))


@build.command()
def clap(
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="A ClapModel without fusion: a folder of the transformers library, or a name of "
            "the Hugging Face hub.",
        ),
    ] = "laion/clap-htsat-unfused",
    out: Out = None,
    calibrate: Calibrate = DEMO,
    force: Force = False,
) -> None:
    """Make an encoder of a CLAP model.

    Without --out it becomes yours by name: clap, or the last part of another model's name.

    Example: soundsearch models build clap && soundsearch index ~/Sounds --model clap
    """
    from soundsearch.paths import own_bundles_folder

    with training_extra():
        from trainer.convert.clap import build_clap, bundle_name
    folder = out or own_bundles_folder() / bundle_name(source)
    recordings = calibration_set(calibrate)
    with progress_on_stderr() as progress:
        progress.begin(f"reading {source}, and writing its towers")
        bundle = build_clap(
            folder, source, force=force, calibrated_on=recordings, progress=progress
        )
    typer.echo(str(bundle.folder))
