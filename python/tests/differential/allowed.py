"""Every difference that is there on purpose, with its clause. What is not on this list must be equal.

Predicates that the random tests use to step around a difference come first; then `ALLOWED`, in which each difference is
shown by a scenario together with what the seed does and what ours does. `test_allowed.py` proves both, so the list cannot rot.
"""


def takes_a_positional_only_name_as_keyword(signature, args, kwargs):
    """K3 (F): `def f(a, /, **more)` called with `a=...`: ours binds as Python does, the seed as `getcallargs` does."""
    return bool(signature.varkw) and any(name in kwargs for name in signature.positional_only)
