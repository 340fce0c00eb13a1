"""The site's settings. The environment chooses what the demo compares; everything else is fixed.

BLOG_DATABASE   the SQLite file (default: .cache/blog/blog.sqlite3 of the repository)
BLOG_CACHES     what the two aliases that get_django_quickcache uses stand for: one of CHOICES below
BLOG_REDIS      with BLOG_CACHES=fleet, the URL of the Redis; BLOG_MACHINE the folder in which the processes of a machine meet
BLOG_CACHED     `no` serves every request by calling the undecorated functions
"""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

FOLDER = Path(os.environ.get("BLOG_FOLDER") or Path(__file__).resolve().parents[3] / ".cache" / "blog")
DATABASE = os.environ.get("BLOG_DATABASE") or str(FOLDER / "blog.sqlite3")
BLOG_CACHED = os.environ.get("BLOG_CACHED", "yes") != "no"

SECRET_KEY = "the demo signs nothing"
DEBUG = False  # DEBUG would keep every SQL statement in memory
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "config.urls"
INSTALLED_APPS = ["posts"]
MIDDLEWARE: list[str] = []  # JSON only: no cookies, no sessions, no forms
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATABASE,
        "CONN_MAX_AGE": None,  # one connection per server thread, for the life of the thread
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}


def _cache(backend: str, location: str) -> dict[str, object]:
    # Django's own default of 300 entries is fewer than there are people here.
    return {"BACKEND": backend, "LOCATION": location, "OPTIONS": {"MAX_ENTRIES": 10_000}}


LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
FILES = "django.core.cache.backends.filebased.FileBasedCache"
MEMORY = "quickcache.django_backends.MemoryCache"
STORE = "quickcache.django_backends.StoreCache"
REDIS = "quickcache.django_backends.RedisCache"


def _redis() -> dict[str, object]:
    # The folder stands for the machine; a site leaves it out.
    return {
        "BACKEND": REDIS,
        "LOCATION": os.environ.get("BLOG_REDIS", "redis://localhost:6379/0"),
        "OPTIONS": {"FOLDER": os.environ.get("BLOG_MACHINE")},
    }


CHOICES = {
    "locmem": (_cache(LOCMEM, "memoize"), _cache(LOCMEM, "shared")),
    "files": (_cache(LOCMEM, "memoize"), _cache(FILES, f"{DATABASE}.cache")),
    "memory": (_cache(MEMORY, "memoize"), _cache(MEMORY, "shared")),
    "store": (_cache(MEMORY, "memoize"), _cache(STORE, f"{DATABASE}.store")),
    "fleet": (_cache(MEMORY, "memoize"), _redis()),
}

_choice = os.environ.get("BLOG_CACHES", "locmem")
if _choice not in CHOICES:
    raise ImproperlyConfigured(f"BLOG_CACHES is {_choice!r}; it must be one of {', '.join(CHOICES)}")
CACHES = dict(zip(("locmem", "default"), CHOICES[_choice], strict=True))
