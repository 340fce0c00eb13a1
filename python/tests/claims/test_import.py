"""Importing beside the replaced distribution, whose files are the same."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import quickcache

PACKAGE = Path(quickcache.__file__).resolve().parent


@pytest.mark.parametrize('beside, warned', [
    ('quickcache-0.5.4.dist-info', True), ('quickcache-0.5.4-py3.11.egg-info', True),
    ('quickcache_rs-0.1.0.dist-info', False), ('quickcache_tools-1.0.dist-info', False),
])
def test_both_distributions_are_one_clear_warning(tmp_path, beside, warned):
    (tmp_path / 'quickcache').symlink_to(PACKAGE)
    (tmp_path / beside).mkdir()
    done = subprocess.run([sys.executable, '-W', 'always', '-c', 'import quickcache'], capture_output=True, text=True, check=True, cwd=tmp_path,
                          env=dict(os.environ, PYTHONPATH=str(tmp_path), PYTHONDONTWRITEBYTECODE='1'))
    said = re.findall('UserWarning: (.*)', done.stderr)
    assert said == [
        'both quickcache and quickcache-rs are installed, and they own the same files: pip uninstall quickcache quickcache-rs, '
        'then pip install quickcache-rs'] * warned


def test_importing_leaves_out_what_only_some_use_needs():
    """Nine tenths of the import's time went into these: decorating needs `inspect`, a message `logging`."""
    program = 'import sys, quickcache; print(*{"asyncio", "dataclasses", "django", "inspect", "logging", "pickle", "threading"} & {*sys.modules})'
    asked = [sys.executable, '-S', '-c', program]      # site may import anything
    done = subprocess.run(asked, capture_output=True, text=True, check=True, env=dict(os.environ, PYTHONPATH=str(PACKAGE.parent)))
    assert done.stdout.split() == []


def test_the_logger_is_imported_when_it_is_asked_for(tmp_path):
    program = tmp_path / 'program.py'
    program.write_text("""
import sys
from quickcache import Memory, get_quickcache

@get_quickcache(cache=Memory())(['key'])
def look_up(key):
    return key

look_up(1), look_up(1), look_up.clear(1)
print('logging' in sys.modules)
import logging
from quickcache import cache_helpers, logger, quickcache_helper
print(logging.getLogger('quickcache') is logger.logger is cache_helpers.logger is quickcache_helper.logger)
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format='%(name)s %(message)s')
look_up(1)
""")
    done = subprocess.run([sys.executable, '-S', str(program)], capture_output=True, text=True, check=True,
                          env=dict(os.environ, PYTHONPATH=str(PACKAGE.parent)))
    key = re.search(r'quickcache\.look_up\.[0-9a-f]{8}/n1', done.stdout).group()
    assert done.stdout.splitlines() == [
        'False', 'True', 'quickcache checking caches for look_up', f'quickcache {key}', 'quickcache cache miss, calling look_up']
