"""`soundsearch models`: the encoders at hand."""

from __future__ import annotations

from typing import Annotated

import typer

from soundsearch.cli.options import Json

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List and show encoders.")


@app.command("list")
def list_models(json: Json = False) -> None:
    """List the encoders that can be named.

    Example: soundsearch models list
    """
    from soundsearch.bundle import EncoderBundle
    from soundsearch.errors import BundleError
    from soundsearch.registry import bundle_folders
    from soundsearch.render import shown, to_json

    rows = []
    for folder in bundle_folders():
        try:
            bundle = EncoderBundle.read(folder)
        except BundleError as error:
            typer.echo(f"skipped {shown(folder)}: {shown(str(error))}", err=True)
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

    from soundsearch.registry import find_bundle
    from soundsearch.render import shown, to_json

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
            typer.echo(f"{key:28} {shown(str(value))}")
