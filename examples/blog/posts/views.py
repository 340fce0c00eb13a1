"""The pages, all JSON. With BLOG_CACHED=no they call the same two functions without their decorator."""

import dataclasses
import json
import time
from importlib import metadata

from django.conf import settings
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from posts import counting, queries
from posts.models import Person, Post

if settings.BLOG_CACHED:
    get_all_posts, get_person = queries.get_all_posts, queries.get_person
else:
    get_all_posts, get_person = queries.get_all_posts.__wrapped__, queries.get_person.__wrapped__


@require_GET
def people(request: HttpRequest) -> JsonResponse:
    """Everyone, those with the most posts first."""
    rows = Person.objects.annotate(posts_written=Count("posts")).order_by("-posts_written", "id")
    return JsonResponse(
        {"people": [{"id": row.id, "name": row.name, "posts": row.posts_written} for row in rows]}
    )


@require_http_methods(["GET", "POST"])
def posts(request: HttpRequest, person_id: int) -> HttpResponse:
    begin = time.thread_time_ns()
    person = get_person(person_id)
    if person is None:
        return JsonResponse({"error": f"no person {person_id}"}, status=404)
    if request.method == "POST":
        return _write(request, person)
    all_posts = list(get_all_posts(person, force="force" in request.GET))
    counting.reading.add("nanoseconds", time.thread_time_ns() - begin)
    counting.reading.add("reads")
    return JsonResponse({"person": person.name, "posts": [_as_json(post) for post in all_posts]})


def _write(request: HttpRequest, person: Person) -> HttpResponse:
    """A person writes a new post; now the cached value is out of date, so clear it."""
    try:
        title = json.loads(request.body)["title"]
    except (ValueError, KeyError, TypeError):
        return JsonResponse({"error": 'send {"title": "..."}'}, status=400)
    post = Post.objects.create(person=person, title=title)
    if "forget-to-clear" not in request.GET:  # the demo forgets once, to show what a clear is for
        _clear(person)
    return JsonResponse({"id": post.id}, status=201)


@require_POST
def clear(request: HttpRequest, person_id: int) -> HttpResponse:
    person = get_person(person_id)
    if person is None:
        return JsonResponse({"error": f"no person {person_id}"}, status=404)
    _clear(person)
    return HttpResponse(status=204)


def _clear(person: Person) -> None:
    if settings.BLOG_CACHED:
        get_all_posts.clear(person)


def _as_json(post: Post) -> dict[str, object]:
    return {
        "id": post.id,
        "title": post.title,
        "released": post.released and post.released.isoformat(),
        "genre": post.genre,
        "mpaa_rating": post.mpaa_rating,
        "us_gross": post.us_gross,
        "worldwide_gross": post.worldwide_gross,
        "imdb_rating": post.imdb_rating,
        "rotten_tomatoes_rating": post.rotten_tomatoes_rating,
    }


@require_GET
def stats(request: HttpRequest) -> JsonResponse:
    """What was counted since the start; `cache` is what the cached function tells of itself, if it does."""
    tell = getattr(get_all_posts, "stats", None)
    return JsonResponse(
        {
            "queries": counting.queries.read(),
            "executions": counting.executions.read(),
            "reading": counting.reading.read(),
            "cache": dataclasses.asdict(tell()) if tell else None,
            "library": _library(),
        }
    )


def _library() -> str:
    for name in ("quickcache-rs", "quickcache"):
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return "quickcache, not installed as a package"
