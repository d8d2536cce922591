"""`soundsearch train ...`: from recordings and pictures to an encoder bundle.

One module a part of the way; this one puts their commands into order.
"""

from __future__ import annotations

import typer

from soundsearch.cli.train import data, embed, export, features, folds, pick, scaling, stages

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Train an encoder and write it as a bundle."
)


@app.callback()
def train() -> None:
    """Train an encoder and write it as a bundle."""


app.command()(data.extract)
app.command()(data.shards)
app.command("embed-images")(embed.embed_images)
app.command("embed-captions")(embed.embed_captions)
app.command()(embed.curate)
app.command()(features.features)
app.command()(stages.pivot)
app.command()(stages.captions)
app.command()(scaling.scaling)
app.command()(pick.pick)
app.command()(folds.probe)
app.command()(folds.finetune)
app.command()(export.export)
