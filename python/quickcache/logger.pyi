from logging import Logger

logger: Logger

def assert_function(assertion: object, message: str) -> None: ...
