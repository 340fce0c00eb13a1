"""Cache objects that write down how they are called, and that misbehave on demand."""


class BackendDown(Exception):
    """What a faulty backend raises."""


class RecordingCache:
    """get/set/delete on a dict. Every call is noted as it came: positional stays positional, keyword stays keyword.

    `faults` maps the number of an operation (counted from 0) to what goes wrong with it: 'raise', 'lose' (get misses,
    set and delete do nothing), or an exception to raise. With `safe_deletes` a delete never raises.
    """

    def __init__(self, name, note, faults=None, answers=None, safe_deletes=False):
        self.name = name
        self.note = note
        self.store = {}
        self.faults = dict(faults or {})
        self.answers = dict(answers or {})
        self.operations = 0
        self.safe_deletes = safe_deletes

    def __repr__(self):
        return f'RecordingCache({self.name})'

    def _fault(self, method, args, kwargs):
        self.note(f'{self.name}.{method}', args, kwargs)
        fault = self.faults.get(self.operations)
        self.operations += 1
        if method == 'delete' and self.safe_deletes and fault != 'lose':
            return False
        if fault == 'raise':
            raise BackendDown(f'{method} is down')
        if isinstance(fault, BaseException):
            raise fault
        return fault == 'lose'

    def get(self, *args, **kwargs):
        lost = self._fault('get', args, kwargs)

        def get(key, default=None):
            return default if lost else self.store.get(key, default)
        return get(*args, **kwargs)

    def set(self, *args, **kwargs):
        lost = self._fault('set', args, kwargs)

        def set_(key, value, timeout=None):
            if not lost:
                self.store[key] = value
        set_(*args, **kwargs)
        return self.answers.get('set')

    def delete(self, *args, **kwargs):
        lost = self._fault('delete', args, kwargs)

        def delete(key):
            if not lost:
                self.store.pop(key, None)
        delete(*args, **kwargs)
        return self.answers.get('delete')
