"""The two sides of every comparison: `SEED`, the replaced library, and `OURS`, the package under test."""
import importlib
import importlib.util
import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
UNDER_TEST = os.environ.get('QUICKCACHE_UNDER_TEST', 'ours')


def _load_seed(alias):
    spec = importlib.util.spec_from_file_location('quickcache_seed_loader', REPOSITORY / 'tools' / 'setup' / 'seed.py')
    loader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    return loader.load_seed(alias)


class Side:
    """One library: its package, its modules, and the public names the scenarios use."""

    def __init__(self, package):
        self.package = package
        self.root = package.__name__

    def __repr__(self):
        return f'Side({self.root})'

    def module(self, name):
        return importlib.import_module(f'{self.root}.{name}')

    def __getattr__(self, name):
        for module in ('quickcache_helper', 'cache_helpers', 'quickcache'):
            if name in self.module(module).__dict__:
                return getattr(self.module(module), name)
        raise AttributeError(name)


def _under_test():
    if UNDER_TEST == 'ours':
        return Side(importlib.import_module('quickcache'))
    side = Side(_load_seed('other_quickcache'))
    if UNDER_TEST.startswith('mutant:'):
        from .mutants import MUTANTS
        MUTANTS[UNDER_TEST.partition(':')[2]].spoil(side)
    elif UNDER_TEST != 'seed':
        raise ValueError(f'QUICKCACHE_UNDER_TEST={UNDER_TEST!r}: must be "ours", "seed" or "mutant:NAME"')
    return side


SEED = Side(_load_seed('seed_quickcache'))
OURS = _under_test()
IS_SEED = UNDER_TEST != 'ours'
