"""Reading the shared corpus of keys: from its tagged JSON to Python values."""
import datetime
import uuid


def build(tagged):
    kind, value = tagged['t'], tagged.get('v')
    if kind == 'none':
        return None
    if kind == 'datetime':
        offset = tagged['off']
        zone = None if offset is None else datetime.timezone(datetime.timedelta(minutes=offset))
        return datetime.datetime(*value, tzinfo=zone)
    return {
        'bool': lambda: value, 'int': lambda: int(value), 'float': lambda: float(value), 'str': lambda: value,
        'bytes': lambda: bytes.fromhex(value), 'uuid': lambda: uuid.UUID(value),
        'list': lambda: [build(item) for item in value], 'tuple': lambda: tuple(build(item) for item in value),
        'set': lambda: {build(item) for item in value}, 'dict': lambda: {build(key): build(item) for key, item in value},
    }[kind]()
