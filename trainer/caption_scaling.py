"""The scaling curve: retrieval against the number of captioned examples, from none on.

For each count and seed the captions stage is run on so many examples, from the same pivot run, and
measured on the same held-out shards. The examples of a smaller count are among those of a larger.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from soundsearch.errors import ConfigError, SoundsearchError
from soundsearch.files import write_atomically
from soundsearch.progress import Progress, Silent
from trainer.checks import ShardCheck
from trainer.data.log_mels import find_log_mels
from trainer.data.shard_folder import ShardFolder, ShardPaths
from trainer.data.vectors import stored_facts
from trainer.runs import StageConfig, TrainedRun, read_run
from trainer.stage import Machine, chosen_clips, train_stage
from trainer.stage_targets import kind_of, targets_of

TABLE = "scaling.csv"
PLOT = "scaling.png"
#: A row: n_clips, seed, and what was measured.
Row = dict[str, float]


def scaling_curve(
    shards: ShardPaths,
    out: Path,
    config: StageConfig,
    *,
    counts: Sequence[int],
    seeds: Sequence[int],
    steps: int | None = None,
    valid: Path,
    machine: Machine | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """Train once for every count and seed, and write `out`/scaling.csv anew after each point.

    Points that were finished before are not trained again. Learning rates are those of
    config.batch_size for every count, also where the batch is smaller.

    Args:
        shards: Shards to train on.
        out: Folder of the runs and the table.
        config: Of the captions stage; init is the pivot run, which is count 0.
        counts: Numbers of captioned examples.
        seeds: Of the draw of examples and of training.
        steps: Optimiser steps of every point, a tenth of them warm-up; None for the epochs and
            warm-up epochs of config, as `train captions --count` has them.
        valid: Shards to measure on.
        machine: Settings that do not change what is learnt.
        progress: Is notified of points.

    Returns:
        The rows of the table.

    Raises:
        ConfigError: A count is impossible; nothing is trained.
        TrainingError: The pivot run is not finished, or there is nothing to measure against.
    """
    machine = replace(machine or Machine(), valid=None)
    _refuse_impossible(shards, config, machine, counts, seeds, steps)
    _check_of(read_run(Path(config.init)), config, valid, machine)  # raises before any training
    points = [(n, seed) for n in sorted(set(counts)) for seed in (seeds if n else seeds[:1])]
    progress = progress or Silent()
    progress.begin("points of the curve", len(points))
    rows: list[Row] = []
    for n, seed in points:
        folder = Path(config.init)
        if n:
            folder = out / f"{n}-captions-seed-{seed}"
            train_stage(shards, folder, point_config(config, n, seed, steps), machine)
        row = {"n_clips": n, "seed": seed, **_measure(folder, config, valid, machine)}
        rows.append(row)
        write_table(rows, out / TABLE)
        progress.advance()
        recalls = "  ".join(f"{name} {row[name]:.3f}" for name in row if "recall" in name)
        progress.note(f"{n:>7} captions, seed {seed}: {recalls}")
    return rows


def point_config(config: StageConfig, n: int, seed: int, steps: int | None) -> StageConfig:
    """Return the setting of one point: n examples, in batches of at most n."""
    rates = config.loop(config.batch_size)
    batch = min(config.batch_size, n)
    point = replace(
        config,
        n_clips=n,
        fraction=1.0,
        seed=seed,
        batch_size=batch,
        learning_rate=rates.learning_rate,
        flat_learning_rate=rates.flat_learning_rate,
    )
    if steps is None:
        return point
    epochs = steps * batch / n
    return replace(point, epochs=epochs, warmup_epochs=0.1 * epochs, schedule_epochs=None)


def _refuse_impossible(
    shards: ShardPaths,
    config: StageConfig,
    machine: Machine,
    counts: Sequence[int],
    seeds: Sequence[int],
    steps: int | None,
) -> None:
    """Raise ConfigError for counts that no point can have."""
    if not counts or min(counts) < 0 or 1 in counts or not seeds:
        raise ConfigError(
            f"counts must be 0 or 2 and more, at least one, and seeds too, not {list(counts)}"
        )
    if steps is not None and steps < 1:
        raise ConfigError(f"steps must be 1 or more, not {steps}")
    data = ShardFolder(shards)
    facts = stored_facts(data, kind_of(config), config.encoder)
    targets = targets_of(data, config, facts.encoder)
    whole = replace(config, n_clips=None, fraction=1.0)
    log_mels = None if machine.from_sound else find_log_mels(data, config.front_end)
    total = sum(len(some) for some in chosen_clips(data, targets, whole, log_mels))
    if max(counts) > total:
        raise ConfigError(
            f"{data}: counts must be at most {total}, its clips with {config.texts} texts, "
            f"not {max(counts)}"
        )


def _check_of(run: TrainedRun, config: StageConfig, valid: Path, machine: Machine) -> ShardCheck:
    """Return the measurement of a finished run on held-out shards."""
    here = replace(config, front_end=run.config.front_end)
    return ShardCheck(
        valid, here, run.vectors, n_clips=machine.n_valid, n_workers=machine.n_workers
    )


def _measure(
    folder: Path, config: StageConfig, valid: Path, machine: Machine
) -> Mapping[str, float]:
    run = read_run(folder)
    return _check_of(run, config, valid, machine)(run.model(machine.device))


def write_table(rows: Sequence[Row], path: Path) -> None:
    """The rows as CSV, written atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        write_atomically(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def plot(rows: Sequence[Row], path: Path, names: Sequence[str] = ()) -> None:
    """The measures against the number of captions as a PNG: mean over seeds, and their range.

    names: which measures, by default all at recall 1. Raises SoundsearchError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SoundsearchError(
            "plots need matplotlib; install it with: pip install 'soundsearch[train]'"
        ) from error
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    counts = sorted({row["n_clips"] for row in rows})
    for name in names or [name for name in rows[0] if name.endswith("recall_at_1")]:
        by_count = [[row[name] for row in rows if row["n_clips"] == n] for n in counts]
        means = [sum(values) / len(values) for values in by_count]
        (line,) = axes.plot(counts, means, marker="o", label=name.replace("_", " "))
        axes.fill_between(
            counts,
            [min(values) for values in by_count],
            [max(values) for values in by_count],
            color=line.get_color(),
            alpha=0.2,
        )
    axes.set_xscale("symlog", linthresh=max(1, min((n for n in counts if n), default=1)))
    axes.set_xticks(counts, [f"{int(n):,}" for n in counts])
    axes.set_xlabel("clips with captions")
    axes.set_ylabel("share of questions")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
