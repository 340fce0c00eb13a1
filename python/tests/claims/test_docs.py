"""The documents' Python runs as it stands: the blocks of a page, one after the other, as one program."""
import re
from pathlib import Path

import pytest

from .tools import script

ROOT = Path(__file__).resolve().parents[3]

# A site's settings, and a model, for the pages that speak of a site.
SITE = '''
from django.conf import settings
settings.configure(CACHES={
    'locmem': {'BACKEND': 'quickcache.django_backends.MemoryCache'},
    'default': {'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'},
})
import types
person = types.SimpleNamespace(id=1)
Post = types.SimpleNamespace(objects=types.SimpleNamespace(filter=lambda person: [person]))
'''


def runs(folder, page, before=''):
    blocks = re.findall(r'^```python\n(.*?)^```$', (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    # What a page leaves behind is removed with the test's folder.
    done = script(folder, before + '\n'.join(blocks), TMPDIR=str(folder), XDG_CACHE_HOME=str(folder))
    assert (done.returncode, done.stderr) == (0, '')


def test_the_lines_of_the_readme_run_as_they_stand(tmp_path):
    runs(tmp_path, 'README.md')


@pytest.mark.parametrize('page', ['docs/python.md', 'docs/switches.md'])
def test_the_code_of_a_page_runs(tmp_path, page):
    pytest.importorskip('django')
    runs(tmp_path, page, before=SITE)
