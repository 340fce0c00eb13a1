"""Django's own cache test suite passes on `MemoryCache`, every case, and on `StoreCache` and `RedisCache`, all but those that count
entries."""
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('django.conf', reason='Django is not installed in this environment')

import django

HERE = Path(__file__).resolve().parent
# Fewer would mean that cases were lost on the way.
AT_LEAST = {'MemoryCache': 109, 'StoreCache': 105, 'RedisCache': 105}


def source():
    spec = importlib.util.spec_from_file_location('source', HERE.parents[2] / 'tools' / 'setup' / 'source.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.folder('django', django.__version__)


COUNT_ENTRIES = ['test_cull', 'test_cull_delete_when_store_empty', 'test_zero_cull']


@pytest.mark.parametrize('backend, skips', [('MemoryCache', []), ('StoreCache', COUNT_ENTRIES), ('RedisCache', COUNT_ENTRIES)])
def test_djangos_own_cache_suite_passes(backend, skips):
    done = subprocess.run([sys.executable, str(HERE / 'own_suite.py'), str(source()), backend], capture_output=True, text=True,
                          timeout=300)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    ran, failed, skipped = map(int, re.fullmatch(r'ran (\d+), failed (\d+), skipped (\d+)', done.stdout.splitlines()[-1]).groups())
    assert failed == 0
    assert sorted(re.findall(r'^skipped .*\.(\w+): ', done.stdout, re.MULTILINE)) == skips and skipped == len(skips)
    assert ran >= AT_LEAST[backend]
