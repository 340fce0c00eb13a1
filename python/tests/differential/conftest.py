"""One profile of hypothesis for everybody: the same examples in every run, no deadline."""
import os

import pytest
from hypothesis import HealthCheck, Phase, settings

common = {'deadline': None, 'database': None, 'suppress_health_check': [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile('ci', derandomize=True, phases=[Phase.explicit, Phase.generate, Phase.shrink], **common)
settings.register_profile('explore', max_examples=2000, **common)
# A mutant only has to be found, not to be found in its shortest form.
settings.register_profile('mutant', derandomize=True, phases=[Phase.explicit, Phase.generate], **common)


def pytest_configure(config):
    if config.getoption('--hypothesis-profile', None) is None:
        settings.load_profile('mutant' if os.environ.get('QUICKCACHE_UNDER_TEST', '').startswith('mutant:') else 'ci')


def pytest_report_header():
    from .sides import OURS, UNDER_TEST
    return f'differential: under test is {UNDER_TEST} ({OURS.package.__file__})'


@pytest.fixture(autouse=True)
def classes_as_they_were():
    """No test may leave a class of ours changed: every later test would then take the Python path, and prove less."""
    from .sides import OURS
    classes = [OURS.QuickCacheHelper, OURS.TieredCache, OURS.CacheWithPresets]
    before = [set(vars(cls)) for cls in classes]
    yield
    for cls, names in zip(classes, before, strict=True):
        if '__slotnames__' in set(vars(cls)) - names:       # left by `copy` and `pickle`
            del cls.__slotnames__
        assert set(vars(cls)) == names
