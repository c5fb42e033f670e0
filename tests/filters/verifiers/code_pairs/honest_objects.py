"""Objects and classes of the program."""

HONEST = {
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
}
