"""The site with several gunicorn workers: how often they execute together, what a clear in one of them is to the others,
and what is noticed when one of them is killed.

All of it is done twice, without the store (each worker has a memory of its own) and with it. What only the store can
give is shown to be missing without it, so that a check which sees nothing is found out.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from load import Load, Newest, Report, Site, milliseconds
from servers import DemoError, gunicorn, run_client, serving

WORKERS = 4
ROUNDS = 50
REQUESTS = 100  # under load, of each worker, before and after one is killed
PATIENCE_SECONDS = 30.0
LONG_MS = 5000.0  # an answer that takes longer counts as one that hung


class Worker:
    """One worker, asked over the port of its own; an answer of another process is an error."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid, self.port = pid, port
        self._site = Site(port)

    def ask(self, method: str, path: str, body: dict[str, object] | None = None) -> dict:
        status, answer = self._site.ask(method, path, body)
        if status not in (200, 201) or self._site.worker != self.pid:
            raise DemoError(f"worker {self.pid}: {method} {path}: status {status} from {self._site.worker}")
        return answer

    def posts(self, person: int) -> set[int]:
        return {post["id"] for post in self.ask("GET", f"/people/{person}/posts")["posts"]}

    def write(self, person: int) -> int:
        return self.ask("POST", f"/people/{person}/posts", {"title": "A new post"})["id"]

    def executions(self) -> int:
        return self.ask("GET", "/stats")["executions"].get("get_all_posts", 0)


@dataclass
class Killing:
    """What was seen when a worker was killed under load."""

    pid: int
    others: Report
    restart_seconds: float
    executions_of_new: int

    @property
    def slowest_ms(self) -> float:
        return max(self.others.read_ms + self.others.write_ms, default=0.0)


@dataclass
class Result:
    """What was seen of the site in one phase."""

    title: str
    people: int
    executions: int = 0  # when each worker is asked for everyone
    seen: dict = field(default_factory=dict)  # the client's report
    asked: int = 0  # reads that followed a clear, one in each worker
    stale: int = 0
    killing: Killing | None = None


def run(original: Path, seconds: float, threads: int, writes: float) -> list[str]:
    """Shows both phases; gives what did not hold."""
    results = []
    for title, caches in (("memory of each", "memory"), ("one store", "store")):
        print(f"\n{WORKERS} gunicorn workers, {title}: {seconds:.0f} s, {threads} client threads", flush=True)
        with site(original, caches) as (port, folder):
            everyone = [row["id"] for row in Site(port).ask("GET", "/people/")[1]["people"]]
            workers = living(folder)
            result = Result(title, len(everyone))
            result.executions = read_all(workers, everyone)
            result.seen = run_client(port, seconds, threads, writes)
            result.asked, result.stale = clear_in_each(workers, everyone)
            if caches == "store":
                result.killing, workers = kill_one(workers, everyone, folder, writes)
                asked, stale = clear_in_each(workers, everyone)
                result.asked, result.stale = result.asked + asked, result.stale + stale
            results.append(result)
    print_summary(results)
    return failures(*results)


@contextlib.contextmanager
def site(original: Path, caches: str) -> Iterator[tuple[int, Path]]:
    """The site for a `with` block: the port that the workers share, and the folder that names the port of each."""
    folder = Path(f"{original.with_name('phase.sqlite3')}.workers")
    command = gunicorn(WORKERS)
    with serving(command, original, BLOG_CACHES=caches, BLOG_WORKERS=str(folder)) as (port, _):
        yield port, folder


def living(folder: Path, many: int = WORKERS, but: int | None = None) -> list[Worker]:
    """All workers, as soon as there are as many as there should be without `but`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = [tuple(map(int, path.name.split("."))) for path in folder.iterdir()]
        workers = [Worker(pid, port) for pid, port in sorted(found) if pid != but]
        if len(workers) == many:
            return workers
        time.sleep(0.01)
    raise DemoError(f"{many} workers were not there within {PATIENCE_SECONDS:.0f} s")


def read_all(workers: list[Worker], everyone: list[int]) -> int:
    """All workers are asked for everyone's posts, at the same time and in the same order; gives their executions."""

    def read(worker: Worker) -> None:
        for person in everyone:
            worker.posts(person)

    before = sum(worker.executions() for worker in workers)
    at_once([lambda worker=worker: read(worker) for worker in workers])
    return sum(worker.executions() for worker in workers) - before


def at_once(calls: list[Callable[[], None]]) -> None:
    """Runs each in a thread; the first error is raised when all have ended."""
    errors: list[Exception] = []

    def guarded(call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def clear_in_each(workers: list[Worker], everyone: list[int]) -> tuple[int, int]:
    """Posts are written through one worker after the other, and after each every worker is asked: how often, and how
    many answers lacked the post. Before it is written all of them have the old value in memory.
    """
    stale = 0
    for number in range(ROUNDS):
        person = everyone[number % len(everyone)]
        for worker in workers:
            worker.posts(person)
        post = workers[number % len(workers)].write(person)
        stale += sum(post not in worker.posts(person) for worker in workers)
    return ROUNDS * len(workers), stale


def kill_one(
    workers: list[Worker], everyone: list[int], folder: Path, writes: float
) -> tuple[Killing, list[Worker]]:
    """Kills the first worker while all are under load; gives what was seen, and the workers there are afterwards."""
    victim, *others = workers
    newest = Newest()
    loads = [Load(worker.port, writes, worker.pid, newest) for worker in workers]
    for load in loads:
        load.start(threads=1)
        load.measure()
    try:
        go_on(loads)
        os.kill(victim.pid, signal.SIGKILL)
        killed = time.monotonic()
        present = living(folder, but=victim.pid)
        passed = time.monotonic() - killed
        go_on(loads[1:])
    finally:
        reports = [load.finish() for load in loads]
    seen = Report()
    for report in reports[1:]:
        seen.add(report)
    read_all(others[:1], everyone)  # the last clears of the load left nothing where they were
    new = [worker for worker in present if worker.pid not in {old.pid for old in workers}]
    return Killing(victim.pid, seen, passed, read_all(new, everyone)), present


def go_on(loads: list[Load]) -> None:
    """Waits until each of the loads has had REQUESTS more answers."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    goals = [load.requests() + REQUESTS for load in loads]
    while any(load.requests() < goal for load, goal in zip(loads, goals, strict=True)):
        if time.monotonic() > deadline:
            examples = [text for load in loads for report in load.reports for text in report.examples]
            raise DemoError(f"the load came to a stop: {'; '.join(examples[:3]) or 'no answer'}")
        time.sleep(0.01)


def print_summary(results: list[Result]) -> None:
    rows: list[tuple[str, Callable[[Result], str]]] = [
        (f"executions, {results[0].people} people asked of each", lambda r: f"{r.executions:,}"),
        ("requests/s", lambda r: f"{r.seen['requests_per_second']:,.0f}"),
        ("read, p50", lambda r: milliseconds(r.seen["read_ms"]["p50"])),
        ("read, p99", lambda r: milliseconds(r.seen["read_ms"]["p99"])),
        ("write and clear, p50", lambda r: milliseconds(r.seen["write_ms"]["p50"])),
        ("reads after a clear, under load", lambda r: f"{r.seen['reads_after_clear']:,}"),
        ("of them without the new post", lambda r: f"{r.seen['stale']:,}"),
        ("failed requests", lambda r: f"{r.seen['errors']:,}"),
        ("each worker asked after a clear", lambda r: f"{r.asked:,}"),
        ("answers without the new post", lambda r: f"{r.stale:,}"),
    ]
    print("\n" + " " * 42 + "".join(result.title.rjust(18) for result in results))
    for name, value in rows:
        print(name.ljust(42) + "".join(value(result).rjust(18) for result in results))
    for killing in (result.killing for result in results if result.killing):
        others = killing.others
        print(f"worker {killing.pid} was killed under load:")
        print(f"  answers of the others      {others.reads + others.writes:,}, {others.errors} failed", end="")
        print(f", the slowest after {killing.slowest_ms:.0f} ms")
        print(f"  reads after a clear        {others.reads_after_clear:,}", end="")
        print(f", of them without the new post: {others.stale}")
        print(f"  a new worker was there     after {killing.restart_seconds:.2f} s", end="")
        print(f"; asked for all {results[0].people} people it executed {killing.executions_of_new}")


def failures(without: Result, stored: Result) -> list[str]:
    """What does not hold, in words."""
    assert stored.killing is not None
    killing, seen = stored.killing, stored.seen
    claims = [
        (stored.executions == stored.people, f"{stored.executions} executions for {stored.people} people"),
        (not seen["stale"] and not seen["errors"], "; ".join(seen["examples"])),
        (seen["reads"] > 0 and without.seen["reads"] > 0, "not one read was answered"),
        (not without.seen["errors"], f"without the store: {without.seen['errors']} failed requests"),
        (without.stale > 0, "without the store no answer was stale: the check sees nothing"),
        (stored.stale == 0, f"{stored.stale} of {stored.asked} answers after a clear were stale"),
        (not killing.others.errors, f"after the kill: {'; '.join(killing.others.examples[:3])}"),
        (not killing.others.stale, f"after the kill: {killing.others.stale} stale reads"),
        (killing.slowest_ms < LONG_MS, f"after the kill an answer took {killing.slowest_ms:.0f} ms"),
        (killing.executions_of_new == 0, f"the new worker executed {killing.executions_of_new} times"),
    ]
    return [f"{WORKERS} workers, {stored.title}: {text}" for holds, text in claims if not holds]
