"""`soundsearch serve`: a page to listen in."""

from __future__ import annotations

import contextlib
import threading
import webbrowser
from typing import Annotated

import typer

from soundsearch.cli.options import DeviceChoice, IndexFolder
from soundsearch.cli.search import Model


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
        typer.Option(help="Also answer to this host name, such as of a proxy (repeatable)."),
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
    from soundsearch.serve.server import PageServer

    def say() -> None:
        typer.echo(server.address)
        if open:  # a browser in the terminal would hold the server up
            threading.Thread(target=webbrowser.open, args=(server.address,), daemon=True).start()

    with soundsearch.open_index(index, device=device, model=model) as opened:
        server = PageServer(opened, host=host, port=port, names=name or (), started=say)
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how it is stopped
            server.run()
