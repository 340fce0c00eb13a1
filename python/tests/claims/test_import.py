"""Importing beside the replaced distribution, whose files are the same."""
import os
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
    assert done.stderr.count('UserWarning: both quickcache and quickcache-rs') == warned, done.stderr
