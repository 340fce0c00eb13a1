import pytest

from .processes import Site


@pytest.fixture
def site(tmp_path):
    """A store and the processes that a test starts on it; whatever happens they end with it."""
    made = Site(tmp_path)
    yield made
    made.end()


@pytest.fixture
def folder(tmp_path):
    """Where a store of this process may be."""
    return tmp_path / 'store'
