"""One profile of hypothesis for everybody: the same examples in every run, no deadline."""
from hypothesis import HealthCheck, settings

settings.register_profile('ci', derandomize=True, deadline=None, max_examples=100, database=None,
                          suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
settings.register_profile('explore', deadline=None, max_examples=2000, database=None,
                          suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def pytest_configure(config):
    if config.getoption('--hypothesis-profile', None) is None:
        settings.load_profile('ci')


def pytest_report_header():
    from .sides import OURS, UNDER_TEST
    return f'differential: under test is {UNDER_TEST} ({OURS.package.__file__})'
