"""Values, objects and tests of all kinds cross between the two processes, and are judged as Python judges them."""

import pytest

from filters.execution.sandbox import isolation_missing
from filters.verdict import Check, Task, VerifierSettings
from filters.verifiers.registry import checker

pytestmark = pytest.mark.skipif(isolation_missing() is not None, reason=str(isolation_missing()))

HONEST = {
    "the same object": (
        """
def f(x): x.sort(); return x
def g(x): return sorted(x)
""",
        """
a = [2, 1]
assert f(a) is a and a == [1, 2]
assert g(a) is not a and g(a) == a
""",
    ),
    "parts that the tests change": (
        """
log = []
class Account:
    def __init__(self): self.items = [1]; self.by = {}
    def total(self): return sum(self.items) + len(self.by)
def f(): log.append(1)
""",
        """
a = Account()
a.items.append(2)
a.by['x'] = 1
assert a.total() == 4 and a.items == [1, 2]
f()
log.clear()
f()
assert log == [1]
""",
    ),
    "bodies of classes": (
        """
LIMIT = 3
class E(Exception): pass
class Base:
    def go(self): return 1
def f(x):
    if x > LIMIT: raise E
    return x
""",
        """
class Cases:
    first = f(LIMIT)
    kinds = (E, Base)
    def test(self): assert self.first == LIMIT and f(1) == 1
Cases().test()
assert [x for x in range(LIMIT)] == [0, 1, 2] and (lambda: LIMIT)() == 3
""",
    ),
    "files in memory": (
        """
import csv, json
def read(file): return [row for row in csv.reader(file)]
def write(file): print('hi', file=file); json.dump([1], file)
""",
        """
import io
assert read(io.StringIO('a,b\\nc,d\\n')) == [['a', 'b'], ['c', 'd']]
out = io.StringIO()
write(out)
assert out.getvalue() == 'hi\\n[1]'
""",
    ),
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
    "numpy args": (
        """
import numpy as np
def f(a):
    a[0]=7
    return a.sum()
""",
        """
import numpy as np
a=np.array([1,2])
assert f(a)==9 and a[0]==7
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
    "float subclass": (
        """
class F(float):
    def g(self): return 5
    def __repr__(self): return 'F'
def f(): return F(2.5)
""",
        """
assert f()==2.5 and f()+1==3.5 and f().g()==5 and isinstance(f(),float) and isinstance(f(),F) and repr(f())=='F' and abs(f()-2.5)<1e-9
""",
    ),
    "list subclass": (
        """
class S(list):
    def push(self,x): self.append(x)
    def peek(self): return self[-1]
""",
        """
s=S()
s.push(1); s.push(2)
assert s.peek()==2 and s==[1,2] and len(s)==2 and isinstance(s,list) and s.pop()==2 and s==[1] and sorted(s)==[1] and s+[3]==[1,3] and 1 in s and list(s)==[1] and [1]==s and s[0]==1 and sum(s)==1
""",
    ),
    "dict subclass": (
        """
from collections import OrderedDict
class LRU(OrderedDict):
    def __init__(self,n): super().__init__(); self.n=n
    def get(self,k):
        if k not in self: return -1
        self.move_to_end(k); return self[k]
    def put(self,k,v):
        self[k]=v; self.move_to_end(k)
        if len(self)>self.n: self.popitem(last=False)
""",
        """
c=LRU(2)
c.put(1,1);c.put(2,2)
assert c.get(1)==1
c.put(3,3)
assert c.get(2)==-1 and c=={1:1,3:3} and 3 in c and isinstance(c,dict)
""",
    ),
    "isinstance": (
        """
class A: pass
class B(A): pass
def f(): return B()
""",
        """
assert isinstance(f(),A) and isinstance(f(),(int,B)) and issubclass(B,A) and not isinstance(3,A) and type(f()).__name__=='B' and f().__class__.__name__=='B' and type(f()) is B
""",
    ),
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
    "globals": (
        """
n=0
log=[]
def f():
    global n
    n+=1; log.append(n); return n
""",
        """
assert n==0
f();f()
assert n==2 and log==[1,2]
def g(): return n
f()
assert g()==3
""",
    ),
    "global object": (
        """
class N:
    v=1
head=None
def f():
    global head
    head=N()
""",
        """
assert head is None
f()
assert head.v==1
""",
    ),
    "async": (
        """
import asyncio
async def f(x):
    await asyncio.sleep(0.01)
    return x*2
""",
        """
import asyncio
assert asyncio.run(f(2))==4
async def main():
    assert await f(1)==2
    assert await asyncio.gather(f(1),f(2))==[2,4]
asyncio.run(main())
""",
    ),
    "async queue": (
        """
import asyncio
q=None
async def put():
    global q
    q=q or asyncio.Queue()
    await asyncio.sleep(0.01); await q.put(5)
async def get():
    global q
    q=q or asyncio.Queue()
    return await q.get()
""",
        """
import asyncio
async def main(): return await asyncio.gather(get(),put())
assert asyncio.run(main())[0]==5
""",
    ),
    "async timeout": (
        """
import asyncio
async def f(): await asyncio.sleep(10)
""",
        """
import asyncio
async def main():
    try: await asyncio.wait_for(f(),0.05)
    except asyncio.TimeoutError: return 1
assert asyncio.run(main())==1
""",
    ),
    "async with": (
        """
import asyncio
class A:
    async def __aenter__(self): return 5
    async def __aexit__(self,*a): self.done=True
async def g(n):
    for i in range(n):
        yield i
""",
        """
import asyncio
async def main():
    a=A()
    async with a as v: assert v==5
    assert a.done
    return [x async for x in g(3)]
assert asyncio.run(main())==[0,1,2]
""",
    ),
    "async raises": (
        """
async def f(): raise ValueError('x')
""",
        """
import asyncio
try: asyncio.run(f())
except ValueError as e: assert str(e)=='x'
else: assert 0
""",
    ),
    "generator": (
        """
def f(n):
    x = yield 1
    yield x
    return 3
""",
        """
import types
g=f(1)
assert next(g)==1 and g.send(7)==7 and isinstance(f(1),types.GeneratorType)
assert list(f(1))==[1,None]
""",
    ),
    "printed": (
        """
def f(x): print('hi',x)
""",
        """
import io,contextlib
b=io.StringIO()
with contextlib.redirect_stdout(b): f(1)
assert b.getvalue()=='hi 1\\n'
""",
    ),
    "printed sys": (
        """
import sys
def f(x): sys.stdout.write('hi')
""",
        """
import sys,io
old=sys.stdout; sys.stdout=io.StringIO()
f(1)
out=sys.stdout.getvalue(); sys.stdout=old
assert out=='hi'
""",
    ),
    "input": (
        """
def f(): return int(input('n? '))+int(input())
""",
        """
from unittest.mock import patch
with patch('builtins.input',side_effect=['1','2']): assert f()==3
import sys,io
sys.stdin=io.StringIO('3\\n4\\n')
assert f()==7
""",
    ),
    "unittest": (
        """
class E(Exception): pass
def f(x):
    if x<0: raise E('n')
    return x*x
""",
        """
import unittest
class T(unittest.TestCase):
    def setUp(self): self.v=2
    def test_a(self): self.assertEqual(f(self.v),4)
    def test_b(self):
        with self.assertRaises(E): f(-1)
        self.assertAlmostEqual(f(1.5),2.25)
""",
    ),
    "unittest main": (
        """
def f(x): return x*x
""",
        """
import unittest
class T(unittest.TestCase):
    def test_a(self): self.assertEqual(f(2),4)
if __name__=='__main__':
    unittest.main()
""",
    ),
    "unittest main argv": (
        """
def f(x): return x*x
""",
        """
import unittest
class T(unittest.TestCase):
    def test_a(self): self.assertEqual(f(2),4)
unittest.main(argv=[''],exit=False)
""",
    ),
    "pytest functions": (
        """
def f(x): return x*x
""",
        """
import pytest
def test_a(): assert f(2)==4
@pytest.mark.parametrize('a,b',[(1,1),(2,4)])
def test_b(a,b): assert f(a)==b
class TestX:
    def setup_method(self): self.v=3
    def test_c(self): assert f(self.v)==9
async def test_d(): assert f(1)==1
""",
    ),
    "approx": (
        """
def f(x): return x/3
""",
        """
import pytest
assert f(1)==pytest.approx(0.33333,abs=1e-3)
""",
    ),
    "leetcode": (
        """
from typing import List
class Solution:
    def twoSum(self,nums:List[int],t:int)->List[int]:
        d={}
        for i,n in enumerate(nums):
            if t-n in d: return [d[t-n],i]
            d[n]=i
""",
        """
assert Solution().twoSum([2,7],9)==[0,1]
s=Solution()
assert s.twoSum(nums=[3,3],t=6)==[0,1]
""",
    ),
    "tests' nodes": (
        """
class Solution:
    def depth(self,root):
        return 0 if root is None else 1+max(self.depth(root.left),self.depth(root.right))
    def flip(self,root):
        if root: root.left,root.right=self.flip(root.right),self.flip(root.left)
        return root
""",
        """
class TreeNode:
    def __init__(self,v,left=None,right=None): self.val=v; self.left=left; self.right=right
t=TreeNode(1,TreeNode(2,TreeNode(3)))
assert Solution().depth(t)==3
assert Solution().flip(t).right.val==2 and t.left is None and t.right.right.val==3
""",
    ),
    "iterators given": (
        """
def f(xs): return sum(xs)
""",
        """
assert f(iter([1,2]))==3 and f(x for x in (1,2,3))==6 and f(map(int,'12'))==3
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
    "decorators": (
        """
import functools
def deco(g):
    @functools.wraps(g)
    def w(*a,**k): return g(*a,**k)+1
    return w
""",
        """
@deco
def h(x,y=0): return x+y
assert h(1,y=2)==4 and h.__name__=='h'
""",
    ),
    "context manager": (
        """
from contextlib import contextmanager
@contextmanager
def f(x):
    yield x+1
class C:
    def __enter__(self): self.o=1; return self
    def __exit__(self,*a): self.o=0; return a[0] is ValueError
""",
        """
with f(1) as v: assert v==2
with C() as c: assert c.o==1
assert c.o==0
with C(): raise ValueError
""",
    ),
    "vector": (
        """
class V:
    def __init__(s,x,y): s.x,s.y=x,y
    def __add__(s,o): return V(s.x+o.x,s.y+o.y)
    def __mul__(s,k): return V(s.x*k,s.y*k)
    def __rmul__(s,k): return s*k
    def __eq__(s,o): return (s.x,s.y)==(o.x,o.y)
    def __abs__(s): return (s.x**2+s.y**2)**.5
    def __neg__(s): return V(-s.x,-s.y)
    def __matmul__(s,o): return s.x*o.x+s.y*o.y
    def __len__(s): return 2
    def __iter__(s): return iter((s.x,s.y))
    def __bool__(s): return True
    def __le__(s,o): return abs(s)<=abs(o)
""",
        """
assert V(1,2)+V(1,1)==V(2,3) and V(1,2)*3==V(3,6) and 2*V(1,1)==V(2,2) and abs(V(3,4))==5 and -V(1,1)==V(-1,-1) and V(1,2)@V(3,4)==11 and len(V(1,1))==2 and list(V(1,2))==[1,2] and tuple(V(1,2))==(1,2) and V(1,1)<=V(2,2)
""",
    ),
    "static and class": (
        """
class A:
    count=0
    def __init__(self): A.count+=1
    @staticmethod
    def s(x): return x
    @classmethod
    def make(cls): return cls()
    @property
    def p(self): return 7
""",
        """
a=A.make()
assert A.count==1 and A.s(3)==3 and a.p==7 and isinstance(a,A)
A.count=5
assert a.count==5
""",
    ),
    "sorting things": (
        """
class P:
    def __init__(s,n): s.n=n
    def __lt__(s,o): return s.n<o.n
    def __repr__(s): return f'P{s.n}'
""",
        """
assert [p.n for p in sorted([P(2),P(1)])]==[1,2] and str([P(1)])=='[P1]' and f'{P(2)}'=='P2' and sorted([P(2),P(1)],key=lambda p:p.n)[0].n==1
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
    "nested in place": (
        """
def f(m):
    for r in m: r.reverse()
""",
        """
m=[[1,2],[3,4]]
r=m[0]
f(m)
assert m==[[2,1],[4,3]] and r==[2,1]
""",
    ),
    "in place by name": (
        """
def f(xs=None): xs.append(1)
""",
        """
a=[]
f(xs=a)
assert a==[1]
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
    "linked list": (
        """
class ListNode:
    def __init__(self,v=0,next=None): self.val=v; self.next=next
def rev(h):
    p=None
    while h: h.next,p,h=p,h,h.next
    return p
""",
        """
def build(xs):
    h=None
    for x in reversed(xs): h=ListNode(x,h)
    return h
def out(h):
    r=[]
    while h: r.append(h.val); h=h.next
    return r
assert out(rev(build([1,2,3])))==[3,2,1]
""",
    ),
    "subclassed in tests": (
        """
from abc import ABC, abstractmethod
class Shape(ABC):
    @abstractmethod
    def area(self): ...
class Sq(Shape):
    def __init__(s,a): s.a=a
    def area(s): return s.a**2
""",
        """
assert Sq(2).area()==4
try:
    Shape()
except TypeError: pass
else: assert 0
""",
    ),
    "threads": (
        """
import threading
class C:
    def __init__(s): s.n=0; s.l=threading.Lock()
    def inc(s):
        with s.l: s.n+=1
""",
        """
import threading
c=C()
ts=[threading.Thread(target=c.inc) for _ in range(5)]
[t.start() for t in ts];[t.join() for t in ts]
assert c.n==5
""",
    ),
    "hasattr": (
        """
class A:
    x=1
""",
        """
assert hasattr(A(),'x') and not hasattr(A(),'y') and getattr(A(),'z',3)==3 and callable(A)
""",
    ),
    "hash": (
        """
class A:
    def __init__(s,v): s.v=v
    def __hash__(s): return hash(s.v)
    def __eq__(s,o): return isinstance(o,A) and s.v==o.v
""",
        """
assert len({A(1),A(1),A(2)})==2 and A(1) in [A(1)] and A(1)!=3 and not A(1)==None
""",
    ),
    "same object": (
        """
class S:
    _i=None
    def __new__(c):
        if c._i is None: c._i=super().__new__(c)
        return c._i
""",
        """
assert S() is S()
""",
    ),
    "docs": (
        """
def f():
    'doc'
class A:
    'adoc'
""",
        """
assert f.__doc__=='doc' and f.__name__=='f' and A.__doc__=='adoc' and A.__name__=='A'
""",
    ),
    "asdict": (
        """
from dataclasses import dataclass
@dataclass
class P:
    x:int
""",
        """
from dataclasses import asdict
assert asdict(P(1))=={'x':1}
""",
    ),
    "deepcopy": (
        """
class A:
    def __init__(s): s.v=[1]
""",
        """
import copy
a=A(); b=copy.deepcopy(a)
b.v=[2]
assert a.v==[1] and b.v==[2]
""",
    ),
    "mock": (
        """
def f(cb,xs):
    for x in xs: cb(x)
""",
        """
from unittest.mock import Mock
m=Mock()
f(m,[1,2])
assert m.call_count==2
m.assert_any_call(1)
""",
    ),
    "set global": (
        """
LIMIT=3
def f(): return LIMIT
""",
        """
assert f()==3
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
    "iter": (
        """
def f(): return map(str,[1,2]), zip([1],[2]), filter(None,[0,1]), reversed([1,2]), iter([1])
""",
        """
m,z,g,r,i=f()
assert list(m)==['1','2'] and list(z)==[(1,2)] and list(g)==[1] and list(r)==[2,1] and next(i)==1
""",
    ),
}


@pytest.fixture(scope="module")
def check() -> Check:
    return checker(VerifierSettings("code"))


@pytest.mark.parametrize("name", HONEST)
def test_honest_programs_are_right(check: Check, name: str) -> None:
    program, tests = HONEST[name]
    if "numpy" in program:
        pytest.importorskip("numpy")
    verdict = check(f"```python\n{program}\n```", Task(columns={"tests": tests}))
    assert verdict.kind == "right", verdict
