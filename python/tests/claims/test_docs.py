"""The documents' Python runs as it stands: the blocks of a page, one after the other, as one program."""
import re
from pathlib import Path

import pytest

from .tools import script

ROOT = Path(__file__).resolve().parents[3]

# A site's settings; and what the README's ten lines take from a site.
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


@pytest.mark.parametrize('page', ['README.md', 'docs/python.md', 'docs/switches.md'])
def test_the_code_of_a_page_runs(tmp_path, page):
    pytest.importorskip('django')
    blocks = re.findall(r'^```python\n(.*?)^```$', (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    done = script(tmp_path, SITE + '\n'.join(blocks))
    assert (done.returncode, done.stderr) == (0, '')
