"""Interleaved timing of small calls in one process: ratios hold on a noisy machine where absolute times do not.

Time is the thread's CPU time: what other processes take away is not counted. Where a peer waits for another process, it is
the wall's.
"""
import gc
import statistics
import time


def compile_loop(call, names):
    """A function that runs `call` ten times in each of n turns, with the given names as its locals."""
    params = ', '.join(names)
    body = '; '.join([call] * 10)
    scope = {}
    exec(f'def loop(n, {params}):\n    for _ in range(n):\n        {body}\n', scope)
    return lambda n: scope['loop'](n, *names.values())


def interleave(loops, samples=101, seconds=0.002, clock=time.thread_time_ns):
    """ns per call of each loop, as {name: [sample, ...]}; the loops take turns, so that they meet the same weather."""
    turns = {}
    for name, loop in loops.items():
        # The first call runs the function: counted in, it would make the samples so short that they measure the reading of
        # the clock.
        loop(1)
        n = 1
        while True:
            start = clock()
            loop(n)
            took = (clock() - start) / 1e9
            if took > seconds / 4:
                break
            n *= 2
        turns[name] = max(1, int(n * seconds / took))
    out = {name: [] for name in loops}
    gc.disable()
    try:
        for _ in range(samples):
            for name, loop in loops.items():
                n = turns[name]
                start = clock()
                loop(n)
                out[name].append((clock() - start) / n / 10)
    finally:
        gc.enable()
    return out


def ratio(ours, theirs):
    """Median of the paired ratios, with the first and third quartile."""
    quotients = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    q1, _, q3 = statistics.quantiles(quotients, n=4)
    return statistics.median(quotients), q1, q3


def all_that_run(makers):
    """{name: what its maker gives}. A peer that cannot run here is a fact to print, not the end of the bench."""
    made = {}
    for name, make in makers.items():
        try:
            made[name] = make()
        except Exception as error:
            print(f'{name}: left out: {type(error).__name__}: {error}')
    return made
