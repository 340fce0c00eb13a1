"""The harness can fail: each wrong library is caught by the tests that hold its clause."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import sides
from .mutants import MUTANTS

HERE = Path(__file__).parent


@pytest.mark.skipif(sides.UNDER_TEST.startswith('mutant:'), reason='under test is a mutant already')
@pytest.mark.parametrize('name', MUTANTS)
def test_a_mutant_is_caught(name):
    environment = {**os.environ, 'QUICKCACHE_UNDER_TEST': f'mutant:{name}', 'PYTHONDONTWRITEBYTECODE': '1'}
    finished = subprocess.run([sys.executable, '-m', 'pytest', '-x', '-q', '-p', 'no:cacheprovider', '--tb=line', f'{HERE}/{MUTANTS[name].caught_by}'],
                              env=environment, cwd=HERE.parent, capture_output=True, text=True)
    assert finished.returncode == 1, finished.stdout[-2000:] + finished.stderr[-2000:]
    assert '1 failed' in finished.stdout or 'FAILED' in finished.stdout, finished.stdout[-2000:]
