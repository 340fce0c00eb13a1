#!/usr/bin/env python
"""Serves the site by waitress: one process, several threads, on a free port of 127.0.0.1, which it prints
first.

It ends on SIGTERM, on Ctrl-C, and when its standard input closes, so that no server outlives the program that
started it.
"""

import os
import sys
import threading

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver
from waitress.server import create_server

THREADS = 8


def _end_with_the_starter() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    application = get_wsgi_application()
    get_resolver().check()  # imports the views, so that a mistake in the settings ends the server here
    server = create_server(application, host="127.0.0.1", port=0, threads=THREADS, ident="blog")
    print(f"serving 127.0.0.1:{server.effective_port}", flush=True)
    if not sys.stdin.isatty():
        threading.Thread(target=_end_with_the_starter, daemon=True).start()
    server.run()


if __name__ == "__main__":
    main()
