from collections.abc import Callable
from typing import Any, Literal

def clear_with(
    helper: Any, wait: bool, strict: bool, settle: float
) -> Callable[..., Literal['applied', 'pending']]: ...
def clear_on_commit(helper: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None: ...
