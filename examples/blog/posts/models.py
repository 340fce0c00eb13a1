"""A person and the posts they wrote. In the data of the demo these are film directors and their films."""

from django.db import models


class Person(models.Model):
    name = models.CharField(max_length=200, unique=True)

    def __str__(self) -> str:
        return self.name


class Post(models.Model):
    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="posts")
    title = models.CharField(max_length=300)
    released = models.DateField(null=True)
    genre = models.CharField(max_length=60, null=True)
    mpaa_rating = models.CharField(max_length=20, null=True)
    us_gross = models.BigIntegerField(null=True)
    worldwide_gross = models.BigIntegerField(null=True)
    production_budget = models.BigIntegerField(null=True)
    imdb_rating = models.FloatField(null=True)
    imdb_votes = models.IntegerField(null=True)
    rotten_tomatoes_rating = models.IntegerField(null=True)

    def __str__(self) -> str:
        return self.title
