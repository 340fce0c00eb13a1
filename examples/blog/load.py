#!/usr/bin/env python3
"""The client: a skewed load on the site from several threads, in a process of its own, for a fixed time.

Readers prefer people with many posts (Zipf over the people, most posts first); a few requests in a hundred
write a post. Each thread sends its next request when it has the answer to the last (a closed loop), over one
connection that it keeps, if the server does.

Every read is checked: a post whose writer had its answer before the read began must be in it. The server
clears before it answers a writer, so a read that misses such a post was served a value that `clear` should
have made impossible.

The first second warms up and is not measured. The site's own counters are read at the measured time's begin
and end. Progress goes to stderr, the report as one JSON object to stdout.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import math
import random
import sys
import threading
import time
from dataclasses import asdict, dataclass, field

SKEW = 0.9
WARM_UP_SECONDS = 1.0
ERRORS_ENOUGH = 20  # then a thread gives up


@dataclass
class Report:
    """What one thread saw, or all of them together; latencies in milliseconds."""

    seconds: float = 0.0
    reads: int = 0
    writes: int = 0
    read_ms: list[float] = field(default_factory=list)
    write_ms: list[float] = field(default_factory=list)
    reads_after_clear: int = 0
    stale: int = 0
    errors: int = 0
    examples: list[str] = field(default_factory=list)
    stats: list[dict] = field(default_factory=list)  # what the site counted at the begin and at the end

    def add(self, other: Report) -> None:
        for name in (
            "reads",
            "writes",
            "read_ms",
            "write_ms",
            "reads_after_clear",
            "stale",
            "errors",
            "examples",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def summary(self) -> dict[str, object]:
        told = asdict(self)
        for name in ("read_ms", "write_ms"):
            values = sorted(told.pop(name))
            told[name] = {"p50": percentile(values, 50), "p99": percentile(values, 99)}
        told["examples"] = list(dict.fromkeys(self.examples))[:3]
        told["requests_per_second"] = (self.reads + self.writes) / self.seconds
        return told


def percentile(ordered: list[float], percent: float) -> float | None:
    """The nearest-rank percentile of sorted values; None of none."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else None


def milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} ms" if value < 1 else f"{value:.2f} ms"


class Site:
    """One kept connection to the site; answers are (status, JSON). `worker` is the process id of the worker that gave the
    last one, where the server tells it.
    """

    def __init__(self, port: int) -> None:
        self.worker: int | None = None
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(self, method: str, path: str, body: dict[str, object] | None = None) -> tuple[int, dict]:
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
        answer = self._connection.getresponse()
        data = answer.read()
        self.worker = int(answer.headers["X-Worker"]) if "X-Worker" in answer.headers else None
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(data) if is_json else {}

    def close(self) -> None:
        self._connection.close()


class Newest:
    """For each person the newest post whose writer had its answer; post ids grow."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._posts: dict[int, int] = {}

    def wrote(self, person: int, post: int) -> None:
        with self._lock:
            self._posts[person] = max(post, self._posts.get(person, 0))

    def of(self, person: int) -> int | None:
        return self._posts.get(person)


class Load:
    """The load on one port. Those of several workers of one site share their `newest`."""

    def __init__(self, port: int, writes: float, seed: int, newest: Newest | None = None) -> None:
        self._port, self._writes, self._seed = port, writes, seed
        site = Site(port)
        self._people = [row["id"] for row in site.ask("GET", "/people/")[1]["people"]]
        self._stats_site = site
        self._weights = list(itertools.accumulate(1 / rank**SKEW for rank in range(1, len(self._people) + 1)))
        self._newest = newest or Newest()
        self._stop = threading.Event()
        self._measure = threading.Event()
        self._begin = 0.0
        self._threads: list[threading.Thread] = []
        self.reports: list[Report] = []

    def run(self, seconds: float, threads: int) -> Report:
        self.start(threads)
        try:
            time.sleep(WARM_UP_SECONDS)
            stats = [self._stats()]
            begin = self.measure()
            while (passed := time.perf_counter() - begin) < seconds and any(
                thread.is_alive() for thread in self._threads
            ):
                show_progress(passed, seconds, self.requests())
                time.sleep(min(1.0, seconds - passed))
            self._measure.clear()
            passed = time.perf_counter() - begin
            stats.append(self._stats())
        finally:
            total = self.finish()
        total.seconds, total.stats = passed, stats
        return total

    def start(self, threads: int) -> None:
        self.reports = [Report() for _ in range(threads)]
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def measure(self) -> float:
        """From now on requests are counted; gives the time."""
        self._begin = time.perf_counter()
        self._measure.set()
        return self._begin

    def finish(self) -> Report:
        """Ends the threads when each has its answer, and gives what they saw since `measure`; errors always count."""
        total = Report(seconds=time.perf_counter() - self._begin)
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for report in self.reports:
            total.add(report)
        return total

    def requests(self) -> int:
        return sum(report.reads + report.writes for report in self.reports)

    def _stats(self) -> dict:
        return self._stats_site.ask("GET", "/stats")[1]

    def _work(self, number: int) -> None:
        chance = random.Random(self._seed * 1000 + number)
        report = self.reports[number]
        site = Site(self._port)
        while not self._stop.is_set():
            person = chance.choices(self._people, cum_weights=self._weights)[0]
            write = chance.random() < self._writes
            try:
                begin = time.perf_counter()
                trouble = self._write(site, person) if write else self._read(site, person, report)
                passed = (time.perf_counter() - begin) * 1000
            except (OSError, http.client.HTTPException, ValueError) as error:
                trouble = f"{type(error).__name__}: {error}"
                site.close()
            if trouble:
                report.errors += 1
                report.examples.append(trouble)
                if report.errors >= ERRORS_ENOUGH:
                    break
                self._stop.wait(0.1)
            elif self._measure.is_set():
                if write:
                    report.writes += 1
                    report.write_ms.append(passed)
                else:
                    report.reads += 1
                    report.read_ms.append(passed)
        site.close()

    def _write(self, site: Site, person: int) -> str | None:
        status, answer = site.ask("POST", f"/people/{person}/posts", {"title": "A new post"})
        if status != 201:
            return f"POST of person {person}: status {status}"
        self._newest.wrote(person, answer["id"])
        return None

    def _read(self, site: Site, person: int, report: Report) -> str | None:
        newest = self._newest.of(person)
        status, answer = site.ask("GET", f"/people/{person}/posts")
        if status != 200:
            return f"GET of person {person}: status {status}"
        if newest is not None:
            report.reads_after_clear += 1
            if all(post["id"] != newest for post in answer["posts"]):
                report.stale += 1
                report.examples.append(
                    f"a read of person {person} missed post {newest}, written and cleared before it"
                )
        return None


def show_progress(passed: float, seconds: float, requests: int) -> None:
    if sys.stderr.isatty():
        print(
            f"\r  {passed:3.0f} of {seconds:.0f} s  {requests:9,} requests",
            end="",
            file=sys.stderr,
            flush=True,
        )
        if passed + 1 >= seconds:
            print(file=sys.stderr)
    elif int(passed) % 5 == 0:
        print(f"  {passed:3.0f} of {seconds:.0f} s  {requests:9,} requests", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--writes", type=float, default=0.03, help="the share of requests that write")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    try:
        report = Load(wanted.port, wanted.writes, wanted.seed).run(wanted.seconds, wanted.threads)
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"client: the site on port {wanted.port} does not answer: {error}")
    print(json.dumps(report.summary()))


if __name__ == "__main__":
    main()
