"""S2, S3: which names are where, and that Django is imported for Django only."""
import subprocess
import sys
import textwrap

import pytest

from . import sides
from .observe import same

SURFACE = {
    'quickcache': ['ConfigMixin', 'QuickCache', 'get_quickcache', 'assert_function'], 'quickcache_helper': ['QuickCacheHelper'],
    'cache_helpers': ['ForceSkipCache', 'CacheWithPresets', 'CacheWithTimeout', 'TieredCache'], 'logger': ['logger', 'assert_function'], 'native_utc': ['UTC', 'utc', 'ZERO'],
    'django_quickcache': ['DjangoQuickCache', 'tiered_django_cache', 'get_django_quickcache'],
}


def run(code):
    """Run `code` in a fresh interpreter, with the package under test as `root`."""
    load = f'import importlib\nroot = {sides.OURS.root!r}\n'
    if sides.IS_SEED:
        load += f'import sys\nsys.path.insert(0, {str(sides.REPOSITORY / "tools" / "setup")!r})\nimport seed\nseed.load_seed(root)\n'
    finished = subprocess.run([sys.executable, '-c', load + textwrap.dedent(code)], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.split()


@pytest.mark.parametrize('module', [name for name in SURFACE if name != 'django_quickcache'])
def test_s2_every_name_is_where_it_was(module):
    def scenario(world):
        for name in SURFACE[module]:
            value = getattr(world.side.module(module), name)
            world.note(name, type(value).__name__, getattr(value, '__name__', ''), getattr(value, '__module__', ''))
    same(scenario)


def test_s2_the_package_itself():
    def scenario(world):
        for name in ('get_quickcache', 'QuickCacheHelper', 'ForceSkipCache'):
            value = getattr(world.side.package, name)
            world.note(name, value.__name__)
        world.note([type(getattr(world.side.package, name)).__name__ for name in ('quickcache', 'quickcache_helper', 'cache_helpers', 'logger', 'native_utc')])
        world.note(hasattr(world.side.package, '__all__'), world.side.package.QuickCacheHelper is world.side.module('quickcache_helper').QuickCacheHelper)
    same(scenario)


def test_s2_all_names_the_public_names():
    assert set(sides.SEED.package.__all__) <= set(sides.OURS.package.__all__)
    assert all(hasattr(sides.OURS.package, name) for name in sides.OURS.package.__all__)


def test_s2_star_import():
    code = "names = {}\nexec(f'from {root} import *', names)\nprint(*sorted(n for n in names if not n.startswith('__')))\n"
    assert {'get_quickcache', 'QuickCacheHelper', 'ForceSkipCache'} <= set(run(code))


def test_s3_importing_the_package_and_all_its_plain_modules_does_not_import_django():
    modules = [name for name in SURFACE if name != 'django_quickcache']
    assert run(f"""
        import sys
        importlib.import_module(root)
        for name in {modules}:
            importlib.import_module(f'{{root}}.{{name}}')
        print(any(name.partition('.')[0] == 'django' for name in sys.modules))
    """) == ['False']


def test_s3_the_django_module_needs_django():
    assert run("""
        import sys
        sys.modules['django'] = None
        importlib.import_module(root)
        try:
            importlib.import_module(f'{root}.django_quickcache')
        except ImportError as error:
            print(type(error).__name__)
    """) == ['ModuleNotFoundError']


def test_s3_the_django_module_imports_django_but_needs_no_settings():
    pytest.importorskip('django.conf', reason='Django is not installed in this environment')
    assert run("""
        import sys
        module = importlib.import_module(f'{root}.django_quickcache')
        print('django.core.cache' in sys.modules, *[hasattr(module, name) for name in ('DjangoQuickCache', 'tiered_django_cache', 'get_django_quickcache')])
        from django.conf import settings
        print(settings.configured)
    """) == ['True'] * 4 + ['False']


def test_a_function_typed_at_the_prompt_has_no_source():
    assert run("""
        package = importlib.import_module(root)
        def f(a): return a
        try:
            package.get_quickcache(cache={}, vary_on=['a'])()(f)
        except OSError as error:
            print(type(error).__name__, *str(error).split())
    """) == ([] if sys.version_info >= (3, 13) else ['OSError', 'could', 'not', 'get', 'source', 'code'])      # 3.13 keeps the text of -c
