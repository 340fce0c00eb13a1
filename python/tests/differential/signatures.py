"""Random functions and random calls of them, as source text that `inspect.getsource` finds."""
import itertools
import linecache
from dataclasses import dataclass

from hypothesis import strategies as st

NAMES = ('a', 'b', 'c', 'key', 'fn', 'args', 'kwargs', 'name')
UNKNOWN = ('z', 'default')
_files = itertools.count()


def compile_function(text, name='f', **names):
    """Run `text` as if it were a file, so that its source can be found; return what it calls `name`."""
    filename = f'<generated {next(_files)}>'
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    exec(compile(text, filename, 'exec'), names)
    return names[name]


@dataclass(frozen=True)
class Signature:
    positional_only: tuple
    normal: tuple
    varargs: str
    keyword_only: tuple
    varkw: str
    defaults: int           # how many of the last positional names have one
    keyword_defaults: int   # how many of the last keyword-only names have one

    @property
    def positional(self):
        return self.positional_only + self.normal

    def text(self):
        first = len(self.positional) - self.defaults
        parts = [name if number < first else f'{name}={number + 100}' for number, name in enumerate(self.positional)]
        if self.positional_only:
            parts.insert(len(self.positional_only), '/')
        if self.varargs:
            parts.append('*' + self.varargs)
        elif self.keyword_only:
            parts.append('*')
        first = len(self.keyword_only) - self.keyword_defaults
        parts += [name if number < first else f'{name}={number + 200}' for number, name in enumerate(self.keyword_only)]
        if self.varkw:
            parts.append('**' + self.varkw)
        return ', '.join(parts)

    def function(self, note):
        """A function of this signature that notes what it was given and returns it."""
        names = [*self.positional, *filter(None, [self.varargs]), *self.keyword_only, *filter(None, [self.varkw])]
        shown = ', '.join(f'{name!r}: {name}' for name in names)
        return compile_function(f'def f({self.text()}):\n    found = {{{shown}}}\n    note("ran", found)\n    return found\n', note=note)


@st.composite
def signatures(draw):
    names = list(draw(st.permutations(NAMES)))
    positional_only = tuple(names.pop() for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))))
    normal = tuple(names.pop() for _ in range(draw(st.integers(0, 3))))
    varargs = names.pop() if draw(st.booleans()) else ''
    keyword_only = tuple(names.pop() for _ in range(draw(st.sampled_from([0, 0, 1, 2]))))
    varkw = names.pop() if names and draw(st.booleans()) else ''
    return Signature(positional_only, normal, varargs, keyword_only, varkw,
                     draw(st.integers(0, len(positional_only + normal))), draw(st.integers(0, len(keyword_only))))


small = st.one_of(st.integers(0, 9), st.sampled_from(['x', None, True, 1.5, b'x', (1,)]))


@st.composite
def calls(draw, signature):
    """A call of the function: half of them good by construction, the rest anything."""
    if draw(st.booleans()):
        required = len(signature.positional) - signature.defaults
        count = draw(st.integers(min(len(signature.positional_only), required), len(signature.positional)))
        args = [draw(small) for _ in range(count)]
        kwargs = {name: draw(small) for number, name in enumerate(signature.positional)
                  if number >= count and name in signature.normal and (number < required or draw(st.booleans()))}
        kwargs.update({name: draw(small) for number, name in enumerate(signature.keyword_only)
                       if number < len(signature.keyword_only) - signature.keyword_defaults or draw(st.booleans())})
        if signature.varargs and count == len(signature.positional):
            args += draw(st.lists(small, max_size=2))
        if signature.varkw:
            kwargs.update(draw(st.dictionaries(st.sampled_from(UNKNOWN), small, max_size=2)))
        return tuple(args), kwargs
    args = draw(st.lists(small, max_size=len(signature.positional) + 1))
    kwargs = draw(st.dictionaries(st.sampled_from(NAMES + UNKNOWN), small, max_size=4))
    return tuple(args), kwargs
