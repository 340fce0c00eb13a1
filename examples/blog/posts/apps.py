"""Installs the counters when Django starts."""

from django.apps import AppConfig


class PostsConfig(AppConfig):
    name = "posts"

    def ready(self) -> None:
        from posts.counting import watch_connections

        watch_connections()
