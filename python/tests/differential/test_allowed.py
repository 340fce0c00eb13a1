"""Each allowed difference really is one: the seed does this, ours does that."""
import pytest

from . import sides
from .allowed import ALLOWED
from .observe import World


def outcome(side, difference):
    return difference.scenario(World(side))


@pytest.mark.parametrize('difference', ALLOWED, ids=lambda difference: difference.scenario.__name__)
def test_the_seed_does_what_the_list_says(difference):
    assert outcome(sides.SEED, difference) == difference.seed, f'{difference.clause}: {difference.says}'


@pytest.mark.skipif(sides.IS_SEED, reason='under test is the seed: it has none of the differences')
@pytest.mark.parametrize('difference', ALLOWED, ids=lambda difference: difference.scenario.__name__)
def test_ours_does_what_the_list_says(difference):
    assert outcome(sides.OURS, difference) == difference.ours, f'{difference.clause}: {difference.says}'


@pytest.mark.parametrize('difference', ALLOWED, ids=lambda difference: difference.scenario.__name__)
def test_it_is_a_difference_with_a_clause(difference):
    assert difference.seed != difference.ours and difference.clause and difference.says
