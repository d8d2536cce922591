"""The nearest windows in PostgreSQL: pgvector's graph (HNSW), or all embeddings compared.

The graph holds embeddings at half precision, as the table does. A search of it that is filtered goes
on until it has found enough (hnsw.iterative_scan); one that compares all does so at single precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from soundsearch.store.backend import MOST_EF, GraphFacts
from soundsearch.store.schema import windows_table

TABLES = (
    "CREATE TABLE graph_facts (n_windows bigint NOT NULL, ef_search integer NOT NULL, "
    "recall_10 double precision, recall_100 double precision)",
)
NAME = "windows_by_embedding"
#: Neighbours of a window in the graph, and candidates that are looked at for them.
M, EF_CONSTRUCTION = 24, 128
#: Bytes in memory while a graph is made, for a window beside its embedding; and the most for all.
NODE_BYTES, MOST_BUILD_BYTES = 1000, 4 << 30
#: What a search that goes on may hold, in times of the server's work_mem.
MEMORY = 8
#: The highest number that PostgreSQL takes for a setting.
MOST_VISITED = 2**31 - 1


class Graph:
    """See `WindowGraph`."""

    def facts(self, connection: Connection) -> GraphFacts | None:
        """How it is searched; None if there is none yet."""
        query = "SELECT n_windows, ef_search, recall_10, recall_100 FROM graph_facts"
        row = connection.exec_driver_sql(query).first()
        return None if row is None else GraphFacts(*row)

    def build(self, connection: Connection, dim: int, n_windows: int) -> None:
        """Make the graph of all windows, unless there is one."""
        needed = min(MOST_BUILD_BYTES, n_windows * (2 * dim + NODE_BYTES))
        connection.exec_driver_sql(
            "SELECT set_config('maintenance_work_mem', greatest("
            f"{needed // 1024}, pg_size_bytes(current_setting('maintenance_work_mem')) / 1024) "
            "|| 'kB', true)"
        )
        connection.exec_driver_sql(
            f"CREATE INDEX IF NOT EXISTS {NAME} ON windows USING hnsw "
            f"((embedding::halfvec({dim})) halfvec_ip_ops) "
            f"WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})"
        )
        connection.exec_driver_sql("ANALYZE windows, recordings, words")  # for plans of filters

    def put_facts(self, connection: Connection, facts: GraphFacts) -> None:
        """Store how it is searched from here on."""
        connection.exec_driver_sql("DELETE FROM graph_facts")
        put = sa.text(
            "INSERT INTO graph_facts VALUES (:n_windows, :ef_search, :recall_10, :recall_100)"
        )
        connection.execute(put, vars(facts))

    def drop(self, connection: Connection) -> None:
        """Delete the graph, if there is one."""
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {NAME}")
        connection.exec_driver_sql("DELETE FROM graph_facts")

    def nearest(
        self,
        connection: Connection,
        windows: sa.Select[tuple[int, bytes]],
        query: Sequence[float],
        n: int,
        ef_search: int | None,
        most_visited: int,
    ) -> sa.CursorResult[*tuple[Any, ...]]:
        """The windows of a query (id, embedding) that are nearest; see `WindowGraph`."""
        embedding = windows_table.c.embedding
        vector = sa.literal(str(list(query)), sa.Text)
        if ef_search is None:
            # In a query of its own, the text is read once, not for each row of a prepared plan.
            once = sa.select(_cast(vector, "vector")).scalar_subquery()
            distance = _negative_product(_cast(embedding, "vector"), once)
            return connection.execute(windows.order_by(distance, windows_table.c.id).limit(n))
        settings = {
            "hnsw.ef_search": min(ef_search, MOST_EF),
            "hnsw.iterative_scan": "relaxed_order",
            "hnsw.max_scan_tuples": min(most_visited, MOST_VISITED),
            "hnsw.scan_mem_multiplier": MEMORY,
            "enable_sort": "off",  # the graph gives them in order
            "enable_seqscan": "off",
        }
        for name, value in settings.items():
            connection.exec_driver_sql(f"SET LOCAL {name} = {value}")
        kind = f"halfvec({len(query)})"
        distance = _negative_product(_cast(embedding, kind), _cast(vector, kind))
        nearest = windows.order_by(distance).limit(n)
        if ef_search > MOST_EF:  # the graph goes on until it has found so many
            near = windows.order_by(distance).limit(max(n, ef_search)).subquery()
            exact = _negative_product(_cast(near.c.embedding, kind), _cast(vector, kind))
            nearest = sa.select(near.c.id, near.c.embedding).order_by(exact).limit(n)
        found = connection.execute(nearest)
        for name in ("enable_sort", "enable_seqscan"):
            connection.exec_driver_sql(f"SET LOCAL {name} = on")
        return found


class _Kind(sa.types.UserDefinedType[object]):
    """A type of pgvector's, by its name."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: object) -> str:
        """Its name in a statement."""
        return self.name


def _cast(value: sa.ColumnElement[Any], kind: str) -> sa.ColumnElement[object]:
    return sa.cast(value, _Kind(kind))


def _negative_product(
    a: sa.ColumnElement[object], b: sa.ColumnElement[object]
) -> sa.ColumnElement[float]:
    return a.op("<#>", return_type=sa.Double())(b)
