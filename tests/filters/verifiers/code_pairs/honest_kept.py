"""Data that the tests hand to an object of the program, and that one of them changes later."""

HONEST = {
    "kept, direct": (
        """
class Q:
    def __init__(s,xs): s.xs=xs
    def push(s,v): s.xs.append(v)
    def inner(s,v): s.xs[0].append(v)
    def key(s,v): s.xs['a'].append(v)
    def attr(s,v): s.xs.v.append(v)
""",
        """
a=[1]
q=Q(a)
q.push(2)
assert a==[1,2]
""",
    ),
    "kept, kw": (
        """
class Q:
    def __init__(s,xs): s.xs=xs
    def push(s,v): s.xs.append(v)
    def inner(s,v): s.xs[0].append(v)
    def key(s,v): s.xs['a'].append(v)
    def attr(s,v): s.xs.v.append(v)
""",
        """
a=[1]
q=Q(xs=a)
q.push(2)
assert a==[1,2]
""",
    ),
    "kept, attr set": (
        """
class Q:
    def __init__(s,xs): s.xs=xs
    def push(s,v): s.xs.append(v)
    def inner(s,v): s.xs[0].append(v)
    def key(s,v): s.xs['a'].append(v)
    def attr(s,v): s.xs.v.append(v)
""",
        """
a=[1]
q=Q([])
q.xs=a
q.push(2)
assert a==[1,2]
""",
    ),
    "kept, nested": (
        """
class Q:
    def __init__(s,xs): s.xs=xs
    def push(s,v): s.xs.append(v)
    def inner(s,v): s.xs[0].append(v)
    def key(s,v): s.xs['a'].append(v)
    def attr(s,v): s.xs.v.append(v)
""",
        """
a=[1]
b=[a]
q=Q(b)
q.inner(2)
assert a==[1,2] and b==[[1,2]] and b[0] is a
""",
    ),
    "kept, nested literal": (
        """
class Q:
    def __init__(s,xs): s.xs=xs
    def push(s,v): s.xs.append(v)
    def inner(s,v): s.xs[0].append(v)
    def key(s,v): s.xs['a'].append(v)
    def attr(s,v): s.xs.v.append(v)
""",
        """
a=[1]
q=Q([a])
q.inner(2)
assert a==[1,2]
""",
    ),
    "kept, dict": (
        """
class Q:
    def __init__(s,xs): s.xs=xs
    def push(s,v): s.xs.append(v)
    def inner(s,v): s.xs[0].append(v)
    def key(s,v): s.xs['a'].append(v)
    def attr(s,v): s.xs.v.append(v)
""",
        """
a=[1]
q=Q({'a':a})
q.key(2)
assert a==[1,2]
""",
    ),
    "kept, tuple": (
        """
class Q:
    def __init__(s,xs): s.xs=xs
    def push(s,v): s.xs.append(v)
    def inner(s,v): s.xs[0].append(v)
    def key(s,v): s.xs['a'].append(v)
    def attr(s,v): s.xs.v.append(v)
""",
        """
a=[1]
q=Q((a,))
q.inner(2)
assert a==[1,2]
""",
    ),
    "kept, many": (
        """
class Q:
    def __init__(s,xs): s.xs=xs
    def push(s,v): s.xs.append(v)
    def inner(s,v): s.xs[0].append(v)
    def key(s,v): s.xs['a'].append(v)
    def attr(s,v): s.xs.v.append(v)
""",
        """
L=[[i] for i in range(12)]
q=[Q(x) for x in L]
for x in q: x.push(9)
assert all(x[-1]==9 for x in L)
""",
    ),
    "kept, many later": (
        """
class Q:
    def __init__(s,xs): s.xs=xs
    def push(s,v): s.xs.append(v)
    def inner(s,v): s.xs[0].append(v)
    def key(s,v): s.xs['a'].append(v)
    def attr(s,v): s.xs.v.append(v)
""",
        """
L=[[i] for i in range(12)]
q=[Q(x) for x in L]
q[0].push(9)
assert L[0]==[0,9]
""",
    ),
    "kept, long": (
        """
class Q:
    def __init__(s,xs): s.xs=xs
    def push(s,v): s.xs.append(v)
    def inner(s,v): s.xs[0].append(v)
    def key(s,v): s.xs['a'].append(v)
    def attr(s,v): s.xs.v.append(v)
""",
        """
a=list(range(3000))
q=Q(a)
q.push(2)
assert a[-1]==2 and len(a)==3001
""",
    ),
    "kept, item": (
        """
class D(dict):
    def go(s): s['k'].append(5)
""",
        """
a=[1]
d=D()
d['k']=a
d.go()
assert a==[1,5]
""",
    ),
    "kept, method": (
        """
class R:
    def __init__(s): s.l=[]
    def add(s,x): s.l.append(x)
    def go(s):
        for x in s.l: x.append(0)
""",
        """
a=[1]
b=[2]
r=R()
r.add(a)
r.add(b)
r.go()
assert a==[1,0] and b==[2,0]
""",
    ),
    "kept, sort later": (
        """
class S:
    def __init__(s,a): s.a=a
    def sort(s): s.a.sort()
""",
        """
a=[3,1]
s=S(a)
s.sort()
assert a==[1,3]
""",
    ),
    "kept, matrix": (
        """
class M:
    def __init__(s,m): s.m=m
    def set(s,i,j,v): s.m[i][j]=v
    def rot(s):
        s.m[:]=[list(r) for r in zip(*s.m[::-1])]
""",
        """
m=[[1,2],[3,4]]
q=M(m)
q.set(0,0,9)
assert m[0][0]==9
q.rot()
assert m==[[3,9],[4,2]]
""",
    ),
    "kept, set": (
        """
class S:
    def __init__(s,a): s.a=a
    def add(s,v): s.a.add(v)
""",
        """
a={1}
s=S(a)
s.add(2)
assert a=={1,2}
""",
    ),
    "kept, dataclass": (
        """
from dataclasses import dataclass,field
@dataclass
class S:
    items: list
    def add(s,v): s.items.append(v)
""",
        """
a=[1]
s=S(a)
s.add(2)
assert a==[1,2] and s.items==[1,2]
""",
    ),
    "kept, tests change": (
        """
class S:
    def __init__(s,a): s.a=a
    def total(s): return sum(s.a)
""",
        """
a=[1]
s=S(a)
a.append(5)
assert s.total()==6
""",
    ),
    "kept, two objects one list": (
        """
class S:
    def __init__(s,a): s.a=a
    def add(s,v): s.a.append(v)
""",
        """
a=[]
x=S(a)
y=S(a)
x.add(1)
y.add(2)
assert a==[1,2] and x.a==y.a==[1,2]
""",
    ),
    "kept, default dict": (
        """
class S:
    def __init__(s,a): s.a=a
    def add(s,k,v): s.a[k].append(v)
""",
        """
from collections import defaultdict
a=defaultdict(list)
s=S(a)
s.add('x',1)
assert a=={'x':[1]}
""",
    ),
}
