"""One profile of hypothesis for everybody: the same examples in every run, no deadline."""
import os

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
