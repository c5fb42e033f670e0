"""Values of the types of Python and its libraries."""

HONEST = {
    "numpy scalars": (
        """
import numpy as np
def f(x): return np.float64(x)/2, np.int64(3), np.bool_(True), np.float32(0.1)
""",
        """
assert f(1)==(0.5,3,True,np.float32(0.1)) and f(1)[1]==3 and isinstance(f(1)[0],float) and f(1)[3]==0.1
""",
    ),
    "numpy arrays": (
        """
import numpy as np
def f(n): return np.arange(n)
""",
        """
import numpy as np
assert np.array_equal(f(3),[0,1,2]) and (f(3)==np.array([0,1,2])).all() and f(3).tolist()==[0,1,2] and f(2).dtype==np.int64
np.testing.assert_allclose(f(2),[0,1])
""",
    ),
    "numpy objects": (
        """
import numpy as np
def f(): return np.array([1,'a',None],dtype=object), np.array(['a','b']), np.datetime64('2020-01-01')
""",
        """
import numpy as np
assert f()[0].tolist()==[1,'a',None] and f()[1].tolist()==['a','b'] and f()[2]==np.datetime64('2020-01-01')
""",
    ),
    "fraction": (
        """
from fractions import Fraction
def f(): return Fraction(1,3)
""",
        """
from fractions import Fraction
assert f()==Fraction(1,3) and f()*3==1 and isinstance(f(),Fraction) and Fraction(2,6)==f()
""",
    ),
    "fraction name": (
        """
from fractions import Fraction
def f(): return Fraction(1,2)
""",
        """
assert f()==Fraction(1,2)==0.5
""",
    ),
    "decimal": (
        """
from decimal import Decimal, getcontext
def f(x): return Decimal(x)/3
""",
        """
from decimal import Decimal
assert f('1')==Decimal(1)/3 and f(3)==1 and round(f(1),2)==Decimal('0.33')
""",
    ),
    "dates": (
        """
from datetime import *
def f(d): return d+timedelta(days=1), d.date() if isinstance(d,datetime) else d, timedelta(1,2,3), time(1,2)
""",
        """
from datetime import date,datetime,timedelta,time,timezone
assert f(date(2020,1,1))[0]==date(2020,1,2)
assert f(datetime(2020,1,1,3,tzinfo=timezone.utc))[0]==datetime(2020,1,2,3,tzinfo=timezone.utc)
assert f(date(2020,1,1))[2:]==(timedelta(1,2,3),time(1,2))
""",
    ),
    "views": (
        """
def f(d): return d.keys(), d.values(), d.items()
""",
        """
k,v,i=f({'a':1})
assert k=={'a'} and list(v)==[1] and sorted(i)==[('a',1)] and k=={'a':2}.keys() and v!=[1] and set(k)|{'b'}=={'a','b'}
""",
    ),
    "collections": (
        """
from collections import *
def f(): return deque([1,2],5), Counter('aab'), OrderedDict(a=1), defaultdict(list,a=[1])
""",
        """
from collections import *
d,c,o,e=f()
assert d==deque([1,2]) and d.maxlen==5 and c.most_common(1)==[('a',2)] and c=={'a':2,'b':1} and o=={'a':1} and e['x']==[] and isinstance(c,Counter)
""",
    ),
    "namedtuple": (
        """
from collections import namedtuple
P=namedtuple('P','x y')
def f(): return P(1,2)
""",
        """
assert f()==(1,2) and f().x==1 and f()==P(1,2) and isinstance(f(),P) and f()._asdict()=={'x':1,'y':2} and isinstance(f(),tuple) and repr(f())=='P(x=1, y=2)' and f()._replace(x=5)==(5,2)
""",
    ),
    "NamedTuple": (
        """
from typing import NamedTuple
class P(NamedTuple):
    x:int
    y:int=2
    def s(self): return self.x+self.y
def f(): return P(1)
""",
        """
assert f().s()==3 and P(1)==f() and P(x=3).x==3
""",
    ),
    "dataclass": (
        """
from dataclasses import dataclass, field
@dataclass
class P:
    x:int
    y:list=field(default_factory=list)
def f(): return P(1)
""",
        """
assert f()==P(1) and f().x==1 and P(2)!=f() and repr(f())=='P(x=1, y=[])' and isinstance(f(),P) and not isinstance(f(),dict)
""",
    ),
    "dataclass annotations": (
        """
from __future__ import annotations
from dataclasses import dataclass
@dataclass(order=True)
class P:
    x: int
def f(): return P(1)
""",
        """
assert f()<P(2) and max(P(1),P(3)).x==3 and sorted([P(3),P(1)])==[P(1),P(3)]
""",
    ),
    "enum": (
        """
from enum import Enum,IntEnum
class C(Enum):
    A=1
    B='b'
class I(IntEnum):
    X=1
def f(x): return C(x)
""",
        """
assert f(1)==C.A and f(1) is C.A and f('b').name=='B' and C.A.value==1 and I.X==1 and I.X.name=='X' and list(C)==[C.A,C.B] and C['A'] is C.A and len(C)==2 and isinstance(f(1),C) and f(1)!=1 and I.X+1==2 and f(1) in (C.A,) and {C.A:1}[f(1)]==1 and C.A in C
""",
    ),
    "str enum": (
        """
from enum import Enum
class C(str,Enum):
    A='a'
def f(): return C.A
""",
        """
assert f()=='a' and f() is C.A and f().value=='a' and f().upper()=='A'
""",
    ),
    "types": (
        """
def f(): return int, ValueError
""",
        """
assert f()==(int,ValueError)
""",
    ),
    "bytes": (
        """
def f(x): return x+b'a', bytearray(x), memoryview(x).tobytes()
""",
        """
assert f(b'x')==(b'xa',b'x',b'x') and f(b'x')[0].decode()=='xa'
""",
    ),
    "regex match": (
        """
import re
def f(s): return re.match(r'(\\d+)',s)
""",
        """
assert f('12a').group(1)=='12' and f('a') is None and f('12a')
""",
    ),
    "path": (
        """
from pathlib import Path
def f(): return Path('a')/'b'
""",
        """
from pathlib import Path
assert str(f())=='a/b' and f().name=='b'
""",
    ),
    "partial": (
        """
from functools import partial
f=partial(max,3)
""",
        """
assert f(5)==5
""",
    ),
    "lru cache": (
        """
from functools import lru_cache
@lru_cache(None)
def f(n): return n if n<2 else f(n-1)+f(n-2)
""",
        """
assert f(50)==12586269025
assert f.cache_info().currsize==51
""",
    ),
    "ellipsis etc": (
        """
def f(): return ..., NotImplemented, slice(1,2)
""",
        """
assert f()==(...,NotImplemented,slice(1,2))
""",
    ),
    "surrogate": (
        """
def f(): return '\\ud800'
""",
        """
assert f()=='\\ud800'
""",
    ),
    "big": (
        """
def f(n): return 10**n
""",
        """
assert f(5000)==10**5000
""",
    ),
    "nan": (
        """
def f(): return float('nan'), float('inf'), -0.0
""",
        """
import math
assert math.isnan(f()[0]) and f()[1]==math.inf and str(f()[2])=='-0.0'
""",
    ),
    "math isclose": (
        """
import math
def f(): return math.sqrt(2)
""",
        """
assert math.isclose(f(),1.41421356,rel_tol=1e-6)
""",
    ),
    "sets of frozensets": (
        """
def f(): return {frozenset({1}),frozenset()}
""",
        """
assert f()=={frozenset(),frozenset([1])}
""",
    ),
    "tests import program numpy": (
        """
import numpy as np
def f(x): return np.mean(x)
""",
        """
assert abs(f([1,2])-1.5)<1e-9 and np.isclose(f([1,2]),1.5)
""",
    ),
}
