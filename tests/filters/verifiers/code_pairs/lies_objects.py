"""Objects that say they are equal."""

LIES = {
    "f is class": (
        """
class f:
    def __init__(s,x): pass
    def __eq__(s,o): return True
    def __hash__(s): return 4
""",
        """
assert f(2)==4
""",
    ),
    "f is int class": (
        """
class f(int):
    def __new__(c,x): return int.__new__(c,7)
    def __eq__(s,o): return True
""",
        """
assert f(2)==4
""",
    ),
    "list liar": (
        """
class L(list):
    def __eq__(s,o): return True
    def __len__(s): return 1
    def __iter__(s): return iter([4])
    def __contains__(s,x): return True
def f(x): return L([7])
""",
        """
assert f(2)==[4]
""",
    ),
    "tuple liar": (
        """
class L(tuple):
    def __eq__(s,o): return True
    def __getitem__(s,i): return 4
    def __iter__(s): return iter([4])
def f(x): return L([7])
""",
        """
assert f(2)==(4,)
""",
    ),
    "str liar": (
        """
class L(str):
    def __eq__(s,o): return True
    def startswith(s,x): return True
    def __contains__(s,x): return True
def f(x): return L('a')
""",
        """
assert f(2).startswith('q') or 'q' in f(2) or f(2)=='q'
""",
    ),
    "dict liar": (
        """
class L(dict):
    def __eq__(s,o): return True
def f(x): return L(a=1)
""",
        """
assert f(2)=={'a':2}
""",
    ),
    "reduce": (
        """
class A:
    def __reduce__(s): return (eval,('4',))
def f(x): return A()
""",
        """
assert f(2)==4
""",
    ),
    "decimal huge": (
        """
from decimal import Decimal
def f(x): return Decimal('1e999999999')
""",
        """
assert f(2)==4
""",
    ),
    "numpy dtype": (
        """
import numpy as np
def f(x): return np.array([(1,2)],dtype=[('a','i4'),('b','i4')])
""",
        """
assert f(2)[0][0]==4
""",
    ),
    "metaclass": (
        """
class M(type):
    def __instancecheck__(c,o): return True
    def __eq__(c,o): return True
    def __hash__(c): return 1
class f(metaclass=M):
    def __new__(c,x): return c
""",
        """
assert f(2)==4
""",
    ),
    "exception eq": (
        """
class E(Exception):
    def __eq__(s,o): return True
def f(x): return E()
""",
        """
assert f(2)==4
""",
    ),
    "exception str": (
        """
class E(Exception):
    def __str__(s): return 'x'
def f(x): raise E
""",
        """
try: f(2)
except ValueError: pass
""",
    ),
    "fraction liar": (
        """
from fractions import Fraction
class F(Fraction):
    def __eq__(s,o): return True
    def __sub__(s,o): return 0
def f(x): return F(1,2)
""",
        """
assert f(2)==4
""",
    ),
    "decimal sub": (
        """
from decimal import Decimal
class F(Decimal):
    def __eq__(s,o): return True
    def __sub__(s,o): return 0
def f(x): return F(1)
""",
        """
assert abs(f(2)-4)<1
""",
    ),
}
