"""Options of `soundsearch bench`, a run of one data set with each encoder, and what it writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundsearch.choices import ClassScore, ClipScore, ProtocolName
from soundsearch.cli.options import DeviceChoice, path_option
from soundsearch.cli.progress import progress_on_stderr
from soundsearch.cli.streams import command_line

if TYPE_CHECKING:
    from rich.console import Console

    from soundsearch.bench.datasets import DataSet
    from soundsearch.bench.results import BenchmarkResult
    from soundsearch.bench.run import Settings
    from soundsearch.encoder.bundle import EncoderBundle

#: The value of --json that prints JSON in place of the table.
STDOUT = Path("-")
#: Columns of a table that goes to a file or a pipe.
FILE_WIDTH = 240


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """Options of every benchmark, see `soundsearch.cli.options.shared_options`."""

    model: Annotated[
        list[str] | None,
        typer.Option(help="Encoder: a name from `models list`, or a folder (repeatable)."),
    ] = None
    protocol: Annotated[
        ProtocolName,
        typer.Option(help="What is counted and how; docs/benchmarks.md explains them."),
    ] = "literature"
    clip_score: Annotated[
        ClipScore | None,
        typer.Option(
            help="A clip scores by its best window, as in a search, or by the mean of its windows' "
            "embeddings. [default: best; vip-ant and mteb-v2 have one embedding for each clip]"
        ),
    ] = None
    merge_identical_captions: Annotated[
        bool,
        typer.Option(
            "--merge-identical-captions", help="Equal captions are one, right for all their clips."
        ),
    ] = False
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            help="Sentence that each class name, or caption, is put into, at {}; repeatable for "
            "class names. [default: the protocol's; for class names else the encoder's]"
        ),
    ] = None
    class_texts: Annotated[
        Path | None,
        path_option("JSON file with lists of whole texts by class name, in place of prompts."),
    ] = None
    class_score: Annotated[
        ClassScore,
        typer.Option(
            help="A class of several texts scores by the best of them, or by the mean of their "
            "embeddings."
        ),
    ] = "best"
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing",
            help="Measure what there is when clips are missing or unusable; the result says how many.",
        ),
    ] = False
    json: Annotated[
        Path | None,
        path_option(
            "Write the result here, beside it the ranks; - prints JSON, a line for each "
            "encoder, in place of the table. With several encoders each gets a file FILE.ENCODER.json.",
            allow_dash=True,
        ),
    ] = None
    markdown: Annotated[Path | None, path_option("Write the tables here, as Markdown.")] = None
    ranks: Annotated[
        Path | None, path_option("Write where the right answers of every query stood.")
    ] = None
    plots: Annotated[Path | None, path_option("Write figures into this folder.")] = None
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Resamplings of the clips for the 95 % intervals; 0: none.")
    ] = 1000
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamplings.")] = 0
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Embed everything anew, and keep no embeddings.")
    ] = False
    jobs: Annotated[
        int | None,
        typer.Option("-j", "--jobs", min=1, help="Clips read at a time. [default: one per core]"),
    ] = None
    device: DeviceChoice = "auto"


def run_data_set(read: Callable[[], DataSet], options: BenchOptions) -> None:
    """Run one data set with each encoder; show and write the results."""
    from soundsearch.bench.run import run_benchmark
    from soundsearch.encoder.embedding_cache import EmbeddingCache, cache_file
    from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
    from soundsearch.encoder.towers import Encoder

    settings = _settings(options)
    bundles = [find_bundle(name) for name in options.model or [DEFAULT_MODEL]]
    _refuse_equal_names(bundles)
    data = read()
    cache_path = None if options.no_cache else cache_file()
    results = []
    for bundle in bundles:
        encoder = Encoder(bundle, options.device)
        with (
            EmbeddingCache(cache_path, encoder) as cache,
            progress_on_stderr(bundle.name) as progress,
        ):
            result = run_benchmark(encoder, data, settings, cache, progress)
        _write(result, options, several=len(bundles) > 1)
        results.append(result)
    _show(results, options)


def _settings(options: BenchOptions) -> Settings:
    import os

    from soundsearch.bench.class_texts import read_class_texts
    from soundsearch.bench.protocols import protocol_named
    from soundsearch.bench.run import Settings
    from soundsearch.errors import BenchmarkError

    listed = None if options.class_texts is None else read_class_texts(options.class_texts)
    try:
        return Settings(
            protocol=protocol_named(options.protocol),
            clip_score=options.clip_score,
            merge_identical=options.merge_identical_captions,
            prompts=tuple(options.prompt or ()),
            class_texts=listed,
            class_score=options.class_score,
            allow_missing=options.allow_missing,
            jobs=options.jobs or os.cpu_count() or 1,
            seed=options.seed,
            bootstrap=options.bootstrap,
            command=command_line(),
        )
    except BenchmarkError as error:
        raise typer.BadParameter(str(error)) from error


def _refuse_equal_names(bundles: list[EncoderBundle]) -> None:
    names = [bundle.name for bundle in bundles]
    for bundle in bundles:
        if names.count(bundle.name) > 1:
            raise typer.BadParameter(
                f"two encoders are called {bundle.name}; measure them one after the other"
            )


def _write(result: BenchmarkResult, options: BenchOptions, *, several: bool) -> None:
    """The files of one result. several: there are others, whose files need other names."""
    from soundsearch.bench.result_files import write_ranks_csv, write_result

    def of_this(path: Path) -> Path:
        return (
            path.with_suffix(f".{_in_a_name(result.run.model)}{path.suffix}") if several else path
        )

    if options.json is not None and options.json != STDOUT:
        write_result(result, of_this(options.json))
    if options.ranks is not None:
        write_ranks_csv(result, of_this(options.ranks))


def _show(results: list[BenchmarkResult], options: BenchOptions) -> None:
    """The table or JSON on stdout, and the files that hold all results together."""
    import json

    from soundsearch.bench.result_files import write_file
    from soundsearch.bench.sheets import markdown, print_results

    if options.json == STDOUT:
        for result in results:
            typer.echo(json.dumps(result.to_json()))
    else:
        print_results(results, wide_console())
    if options.markdown is not None:
        write_file(options.markdown, markdown(results).encode())
    if options.plots is not None:
        _plot(results, options.plots)


def _plot(results: list[BenchmarkResult], folder: Path) -> None:
    from soundsearch.bench.plots import plot_confusion, plot_recall

    run = results[0].run
    what = _in_a_name(f"{run.benchmark}-{run.split}")
    if results[0].task == "retrieval":
        plot_recall(results, folder / f"{what}-recall.png")
    else:
        for result in results:
            name = _in_a_name(result.run.model)
            plot_confusion(result, folder / f"{what}-{name}-confusion.png")


def _in_a_name(text: str) -> str:
    """Fit to be a part of a file's name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text)


def wide_console() -> Console:
    """For tables: as wide as the terminal, or wide enough for a file."""
    from rich.console import Console

    console = Console(emoji=False)
    return console if console.is_terminal else Console(emoji=False, width=FILE_WIDTH)
