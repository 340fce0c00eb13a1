"""The two cached functions of the site. `get_all_posts` is the article's own; a line that counts executions
was added.
"""

from singletons.quickcache import quickcache

from posts.counting import executions
from posts.models import Person, Post


@quickcache(["person.id"], skip_arg="force")
def get_all_posts(person, force=False):
    executions.add("get_all_posts")
    return Post.objects.filter(person=person).all()


@quickcache(["person_id"], timeout=60 * 60)
def get_person(person_id):
    executions.add("get_person")
    return Person.objects.filter(id=person_id).first()
