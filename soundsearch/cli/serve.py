"""`soundsearch serve`: a page to listen in."""

from __future__ import annotations

from typing import Annotated

import typer

from soundsearch.cli.options import DeviceChoice, IndexFolder
from soundsearch.cli.search import Model
from soundsearch.cli.streams import note


def serve(
    index: IndexFolder = None,
    host: Annotated[
        str,
        typer.Option(
            help="Listen at this address. Any but 127.0.0.1 lets other computers in, with a token."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Listen at this port; 0 takes one that is free.")
    ] = 8765,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="Also answer to this host name, such as of a proxy (repeatable).",
            show_default=False,
        ),
    ] = None,
    open: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    model: Model = None,
    device: DeviceChoice = "auto",
) -> None:
    """Search and listen in a browser.

    Prints the address of the page, and serves it until Ctrl-C. Nothing leaves this computer, and
    other computers are not let in. With --host they are, if they bring the token that is part of
    the printed address. The page also has a REST API (docs/rest.md).

    Example: soundsearch serve --open
    """
    import soundsearch
    from soundsearch.serve.server import serve as serve_index

    opened = soundsearch.open_index(index, device=device, model=model)
    try:
        serve_index(
            opened,
            host=host,
            port=port,
            names=name or (),
            say=lambda address: typer.echo(address),
            open_browser=open,
        )
    except KeyboardInterrupt:
        note("stopped")
    finally:
        opened.close()
