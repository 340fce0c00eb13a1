"""The differential tests: one scenario, told to `quickcache` 0.5.4 and to ours, must have one outcome.

`observe.same(scenario)` runs a scenario on both sides and compares everything a user could see: results, errors with type
and text, every call of the cache object with its arguments, log records, warnings. What differs on purpose is in
`allowed.py`, and nowhere else.

    QUICKCACHE_UNDER_TEST=ours           (default) the package importable as `quickcache`
    QUICKCACHE_UNDER_TEST=seed           a second copy of the seed: proves the harness, everything must agree
    QUICKCACHE_UNDER_TEST=mutant:NAME    a seed with one fault of `mutants.py`: proves that the harness can fail
"""
