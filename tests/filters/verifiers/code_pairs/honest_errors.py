"""What programs raise."""

HONEST = {
    "own exception": (
        """
class E(Exception):
    def __init__(self,code): super().__init__(f'bad {code}'); self.code=code
class E2(E, ValueError): pass
def f(x): raise E2(x)
""",
        """
try:
    f(5)
except E as e:
    assert e.code==5 and str(e)=='bad 5' and e.args==('bad 5',) and isinstance(e,E2)
else:
    assert False
try: f(1)
except ValueError: pass
try:
    f(1)
except (KeyError,E2): pass
assert issubclass(E2,E) and issubclass(E,Exception)
assert E(4).code==4
""",
    ),
    "with raises": (
        """
def f(x):
    if x<0: raise ValueError('neg')
    return x
""",
        """
from contextlib import suppress
class R:
    def __init__(s,k): s.k=k
    def __enter__(s): return s
    def __exit__(s,k,e,t):
        assert k and issubclass(k,s.k); s.e=e; return True
with R(ValueError) as r: f(-1)
assert 'neg' in str(r.e)
with suppress(ValueError): f(-1)
""",
    ),
    "pytest raises": (
        """
class MyErr(Exception): pass
def f(x):
    if x<0: raise ValueError('neg')
    raise MyErr('mine')
""",
        """
import pytest
with pytest.raises(ValueError, match='neg'): f(-1)
with pytest.raises(MyErr) as i: f(1)
assert str(i.value)=='mine'
""",
    ),
    "exception args": (
        """
def f(x): return {}[x]
""",
        """
try: f('k')
except KeyError as e: assert e.args==('k',) and str(e)=="'k'"
""",
    ),
    "json error": (
        """
import json
def f(s): return json.loads(s)
""",
        """
import json
try: f('{')
except json.JSONDecodeError as e: assert 'Expecting' in str(e)
else: assert 0
""",
    ),
    "os error": (
        """
def f(): open('/nope')
""",
        """
try: f()
except FileNotFoundError as e: assert e.errno==2
""",
    ),
    "system exit": (
        """
import sys
def f(): sys.exit(3)
""",
        """
try: f()
except SystemExit as e: assert e.code==3
else: assert 0
""",
    ),
    "callbacks raise": (
        """
def f(g):
    try: return g()
    except ValueError as e: return str(e)
""",
        """
def g(): raise ValueError('x')
assert f(g)=='x'
""",
    ),
    "recursion error": (
        """
def f(n): return f(n+1)
""",
        """
try: f(0)
except RecursionError: pass
else: assert 0
""",
    ),
}
