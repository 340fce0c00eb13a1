"""What quickcache raises that is nothing else's."""


class ClearPending(RuntimeError):
    """A clear that is not in force in every tier yet; from ``clear_with(strict=True)``"""
