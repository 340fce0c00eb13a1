"""A Django cache backend that notes its calls, and the settings that use it."""
from django.conf import settings
from django.core.cache.backends.locmem import LocMemCache

NOTES = []      # where `Recording` writes: a list with one `note` function, or none


class Recording(LocMemCache):
    """Django's locmem; what is asked of it is noted."""

    def __init__(self, name, params):
        super().__init__(name, params)
        self.name = name

    def _note(self, method, *what):
        for note in NOTES:
            note(f'{self.name}.{method}', *what)

    def get(self, *args, **kwargs):
        self._note('get', args, kwargs)
        return super().get(*args, **kwargs)

    def set(self, *args, **kwargs):
        self._note('set', args, kwargs)
        return super().set(*args, **kwargs)

    def delete(self, *args, **kwargs):
        self._note('delete', args, kwargs)
        return super().delete(*args, **kwargs)


def configure():
    """Settings for the whole process; once."""
    if not settings.configured:
        backend = f'{__name__}.Recording'
        settings.configure(USE_TZ=True, SECRET_KEY='test', CACHES={
            'default': {'BACKEND': backend, 'LOCATION': 'default'}, 'locmem': {'BACKEND': backend, 'LOCATION': 'locmem'},
            'dummy': {'BACKEND': 'django.core.cache.backends.dummy.DummyCache'},
            'plain': {'BACKEND': 'django.core.cache.backends.locmem.LocMemCache', 'LOCATION': 'plain'},
        })
        import django
        django.setup()
