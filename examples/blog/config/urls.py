"""The site's addresses."""

from django.urls import path
from posts import views

urlpatterns = [
    path("people/", views.people),
    path("people/<int:person_id>/posts", views.posts),
    path("people/<int:person_id>/clear", views.clear),
    path("stats", views.stats),
]
