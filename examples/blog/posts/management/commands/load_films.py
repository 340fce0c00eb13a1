"""`manage.py load_films FILE`: directors become persons, films become posts; what is left out or mended is
printed.
"""

import json
from collections import Counter
from datetime import date, datetime
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from posts.models import Person, Post

LAST_YEAR = 2011  # the data ends here; a later year is of the century before (1915 was read as 2015)


class Command(BaseCommand):
    help = "Fill an empty database from the movies.json of vega-datasets."

    def add_arguments(self, parser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *, file: Path, **_) -> None:
        if Post.objects.exists():
            raise CommandError("the database already has posts; start from an empty one")
        rows = json.loads(file.read_text(encoding="utf-8"))
        seen: Counter[str] = Counter()
        kept = [row for row in rows if _usable(row, seen)]
        with transaction.atomic():
            names = sorted({row["Director"].strip() for row in kept})
            people = {
                person.name: person
                for person in Person.objects.bulk_create([Person(name=name) for name in names])
            }
            Post.objects.bulk_create([_post(row, people[row["Director"].strip()], seen) for row in kept])
        self.stdout.write(
            f"{len(rows):,} rows read; {len(kept):,} films by {len(people):,} directors used; left out:"
            f" {seen['no director']:,} without a director, {seen['no title']:,} without a title\n"
            f"mended: {seen['century']} release dates a century too late; kept as they are:"
            f" {seen['no date']} unreadable dates (stored as none),"
            f" {seen['number']} titles that are numbers (stored as text)"
        )


def _usable(row: dict, seen: Counter[str]) -> bool:
    if not row["Director"]:
        seen["no director"] += 1
    elif row["Title"] is None:
        seen["no title"] += 1
    else:
        return True
    return False


def _post(row: dict, person: Person, seen: Counter[str]) -> Post:
    if not isinstance(row["Title"], str):
        seen["number"] += 1
    return Post(
        person=person,
        title=str(row["Title"]),
        released=_released(row["Release Date"], seen),
        genre=row["Major Genre"],
        mpaa_rating=row["MPAA Rating"],
        us_gross=row["US Gross"],
        worldwide_gross=row["Worldwide Gross"],
        production_budget=row["Production Budget"],
        imdb_rating=row["IMDB Rating"],
        imdb_votes=row["IMDB Votes"],
        rotten_tomatoes_rating=row["Rotten Tomatoes Rating"],
    )


def _released(text: str | None, seen: Counter[str]) -> date | None:
    try:
        day = datetime.strptime(text or "", "%b %d %Y").date()
        if day.year <= LAST_YEAR:
            return day
        mended = day.replace(year=day.year - 100)
    except ValueError:
        seen["no date"] += 1
        return None
    seen["century"] += 1
    return mended
