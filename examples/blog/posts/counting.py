"""What the demo measures: SQL queries on every connection, executions, CPU time spent on reading."""

import threading
from collections import Counter

from django.db.backends.signals import connection_created


class Tally:
    """A counter that threads may share; a hit of the cache never comes here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str, amount: int = 1) -> None:
        with self._lock:
            self._counts[name] += amount

    def read(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)


executions = Tally()
queries = Tally()
reading = Tally()  # reads, and the nanoseconds of their threads' CPU time spent in the two functions


def _count_query(execute, sql, params, many, context):
    queries.add(sql.split(None, 1)[0].upper())
    return execute(sql, params, many, context)


def watch_connections() -> None:
    """Puts the query counter on every connection that is opened from now on: one per server thread."""

    def on_connection(connection, **_):
        if _count_query not in connection.execute_wrappers:
            connection.execute_wrappers.append(_count_query)

    connection_created.connect(on_connection, weak=False)
