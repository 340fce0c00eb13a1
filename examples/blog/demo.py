#!/usr/bin/env python3
"""The demo: the article's blog as a real site, under load, without and with the cache, in one process and in several.

    python examples/blog/demo.py                      with a Python that has Django, waitress, gunicorn, quickcache
    python examples/blog/demo.py --caches locmem      with Django's own LocMemCache, as any quickcache can
    python examples/blog/demo.py --fleet              two machines with one Redis between them, which is killed
    python examples/blog/demo.py --rust target/release/blog-rs      then in Rust, on the same database

It makes the database in .cache/blog/, starts one server per phase on a free port of 127.0.0.1 and a fresh
copy of the database, runs the client beside it, and stops the server by its process id, also when something
fails. The exit code is 1 if a request failed, a read missed a post that was written and cleared before it, or
something that workers.py claims of several workers did not hold.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import films
import fleet
import workers
from load import Site, milliseconds
from servers import FOLDER, WAITRESS, DemoError, fresh_copy, make_database, run_client, serving


@dataclass(frozen=True)
class Phase:
    """One run of the load: its title, and the environment that the server gets."""

    title: str
    caches: str
    cached: bool

    @property
    def environment(self) -> dict[str, str]:
        return {"BLOG_CACHES": self.caches, "BLOG_CACHED": "yes" if self.cached else "no"}


@dataclass(frozen=True)
class Result:
    """What the client saw in one phase, and how far the server's own counters moved meanwhile."""

    phase: Phase
    seen: dict

    @property
    def queries(self) -> int:
        before, after = self.seen["stats"]
        return sum(after["queries"].values()) - sum(before["queries"].values())

    @property
    def executions(self) -> int:
        before, after = (told["executions"].get("get_all_posts", 0) for told in self.seen["stats"])
        return after - before

    @property
    def reading_ms(self) -> float | None:
        """CPU time in the two functions per read, without HTTP, JSON and waiting for other threads."""
        before, after = (told["reading"] for told in self.seen["stats"])
        reads, nanoseconds = (after.get(name, 0) - before.get(name, 0) for name in ("reads", "nanoseconds"))
        return nanoseconds / reads / 1e6 if reads else None

    @property
    def cache(self) -> dict[str, int]:
        """How far each whole number of the cached function's stats moved; empty where it has none."""
        before, after = (told["cache"] or {} for told in self.seen["stats"])
        return {
            name: after[name] - before[name]
            for name in after
            if type(after[name]) is int and after[name] != before[name]
        }


def show_a_clear(port: int) -> None:
    """The article's last example: a post is written, the cached value is out of date, `clear` mends it."""
    site = Site(port)
    person = site.ask("GET", "/people/")[1]["people"][0]
    where = f"/people/{person['id']}/posts"

    def read(query: str = "") -> int:
        return len(site.ask("GET", where + query)[1]["posts"])

    print(f"\nwhat a clear does, with {person['name']}:")
    first = read()
    print(f"  get_all_posts(person)                       {first} posts, now cached")
    site.ask("POST", where + "?forget-to-clear", {"title": "A new post"})
    stale = read()
    print(f"  a post is written, nobody clears            {stale} posts: the cached value, out of date")
    site.ask("POST", f"/people/{person['id']}/clear")
    cleared = read()
    print(f"  get_all_posts.clear(person)                 {cleared} posts")
    site.ask("POST", where + "?forget-to-clear", {"title": "Another new post"})
    forced, after = read("?force"), read()
    print(f"  one more; get_all_posts(person, force=True) {forced} posts, and {after} for the next reader")
    site.close()
    if (stale, cleared, forced, after) != (first, first + 1, first + 2, first + 2):
        raise DemoError("these counts are not what a cache and its clear must give")


def print_summary(results: list[Result]) -> None:
    def per_request(result: Result, number: int) -> str:
        return f"{number / max(1, result.seen['reads'] + result.seen['writes']):.2f}"

    rows = [
        ("requests/s", lambda r: f"{r.seen['requests_per_second']:,.0f}"),
        ("read, p50", lambda r: milliseconds(r.seen["read_ms"]["p50"])),
        ("read, p99", lambda r: milliseconds(r.seen["read_ms"]["p99"])),
        ("CPU in the functions, a read", lambda r: milliseconds(r.reading_ms)),
        ("write and clear, p50", lambda r: milliseconds(r.seen["write_ms"]["p50"])),
        ("write and clear, p99", lambda r: milliseconds(r.seen["write_ms"]["p99"])),
        ("database queries", lambda r: f"{r.queries:,}"),
        ("database queries per request", lambda r: per_request(r, r.queries)),
        ("executions of get_all_posts", lambda r: f"{r.executions:,}"),
        (
            "reads served by the cache",
            lambda r: f"{max(0, r.seen['reads'] - r.executions) / max(1, r.seen['reads']):.1%}",
        ),
        ("posts written, then cleared", lambda r: f"{r.seen['writes']:,}"),
        ("reads after a clear", lambda r: f"{r.seen['reads_after_clear']:,}"),
        ("of them without the new post", lambda r: f"{r.seen['stale']:,}"),
        ("failed requests", lambda r: f"{r.seen['errors']:,}"),
    ]
    width = max(len(result.phase.title) for result in results) + 3
    print("\n" + " " * 32 + "".join(result.phase.title.rjust(width) for result in results))
    for name, value in rows:
        print(name.ljust(32) + "".join(value(result).rjust(width) for result in results))
    for result in results:
        if result.phase.cached:
            told = ", ".join(f"{name} {value:,}" for name, value in result.cache.items())
            print(f"get_all_posts.stats(), {result.phase.title}: {told or 'this library has none'}")


def failures(results: list[Result]) -> list[str]:
    found = []
    for result in results:
        if result.seen["errors"] or result.seen["stale"]:
            examples = "; ".join(result.seen["examples"])
            counts = f"{result.seen['errors']} failed, {result.seen['stale']} stale"
            found.append(f"{result.phase.title}: {counts}: {examples}")
        if not result.seen["reads"]:
            found.append(f"{result.phase.title}: not one read was answered")
    return found


def run_rust(program: Path, original: Path, options: argparse.Namespace) -> None:
    print("\nthe same load through #[quickcache], in Rust, on the same database", flush=True)
    _rust(program, original, "--seconds", options.seconds / 3, "--threads", options.threads)
    _rust(program, original, "--store", FOLDER / "phase.sqlite3.store")


def _rust(program: Path, original: Path, *words: object) -> None:
    with fresh_copy(original) as database:
        done = subprocess.run([str(program), str(database), *map(str, words)], check=False)
    if done.returncode != 0:
        raise DemoError(f"{program.name} ended with code {done.returncode}")


def native() -> bool:
    """Whether the library has backends for Django of its own."""
    if not importlib.util.find_spec("quickcache"):
        return False
    return importlib.util.find_spec("quickcache.django_backends") is not None


def phases(caches: list[str]) -> list[Phase]:
    caches = caches or ["memory" if native() else "locmem"]
    return [
        Phase("without the cache", "locmem", False),
        *(Phase(f"with {name}", name, True) for name in caches),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--caches", action="append", default=[], choices=["locmem", "files", "memory", "store"])
    parser.add_argument("--seconds", type=float, default=15, help="length of a phase")
    parser.add_argument("--threads", type=int, default=4, help="threads of the client")
    parser.add_argument("--writes", type=float, default=0.03, help="the share of requests that write a post")
    parser.add_argument("--rust", type=Path, help="the program of examples/blog-rs, run as the last phase")
    parser.add_argument("--fleet", action="store_true", help="only: two machines with one Redis between them")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped
    begin = time.monotonic()
    database = make_database()
    if options.fleet:
        return ended(begin, fleet.run(database, options.writes))
    results = []
    for phase in phases(options.caches):
        print(f"\n{phase.title}: {options.seconds:.0f} s, {options.threads} client threads", flush=True)
        with serving(WAITRESS, database, **phase.environment) as (port, _):
            seen = run_client(port, options.seconds, options.threads, options.writes)
            results.append(Result(phase, seen))
            if phase.cached:
                print(f"  served by {Site(port).ask('GET', '/stats')[1]['library']}")
                show_a_clear(port)
    print_summary(results)
    troubles = []
    if native():
        troubles += workers.run(database, options.seconds / 3, options.threads, options.writes)
    else:
        print("\nseveral workers on one store: not with this library, which has none")
    if options.rust:
        run_rust(options.rust, database, options)
    return ended(begin, troubles + failures(results))


def ended(begin: float, troubles: list[str]) -> int:
    print(f"\n{time.monotonic() - begin:.0f} s in all. " + ("FAILED" if troubles else "Every check held."))
    for trouble in troubles:
        print(f"  {trouble}")
    return 1 if troubles else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (DemoError, films.DataError) as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
