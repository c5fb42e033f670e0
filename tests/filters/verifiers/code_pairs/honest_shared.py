"""Data that both the program and its tests have, and change."""

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
    "set global": (
        """
LIMIT=3
def f(): return LIMIT
""",
        """
assert f()==3
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
    "kept, closure": (
        """
def f(xs):
    def g(v): xs.append(v)
    return g
""",
        """
a=[]
f(a)(3)
assert a==[3]
""",
    ),
    "kept, gen": (
        """
def f(xs):
    while xs: yield xs.pop()
""",
        """
a=[1,2,3]
assert list(f(a))==[3,2,1] and a==[]
""",
    ),
    "kept, gen2": (
        """
def f(xs):
    while xs: yield xs.pop()
""",
        """
a=[1,2,3]
g=f(a)
assert next(g)==3 and a==[1,2]
""",
    ),
    "kept, global": (
        """
S=[]
def keep(x): S.append(x)
def go(): S[0].append(1)
""",
        """
a=[]
keep(a)
go()
assert a==[1]
""",
    ),
    "kept, bound method": (
        """
def f(add): add(4)
""",
        """
a=[]
f(a.append)
assert a==[4]
""",
    ),
    "kept, copy is no alias": (
        """
class S:
    def __init__(s,a): s.a=list(a)
    def add(s,v): s.a.append(v)
""",
        """
a=[1]
s=S(a)
s.add(2)
assert a==[1]
""",
    ),
    "kept, attr alias": (
        """
class S:
    def __init__(s,a): s.a=a
    def add(s,v): s.a.append(v)
""",
        """
a=[1]
s=S(a)
assert s.a is a
s.add(2)
assert s.a is a and a==[1,2]
""",
    ),
    "kept, returned then changed": (
        """
class S:
    def __init__(s): s.a=[]
    def get(s): return s.a
    def add(s,v): s.a.append(v)
""",
        """
s=S()
a=s.get()
s.add(1)
assert a==[1]
""",
    ),
    "kept, prop returned then changed": (
        """
class S:
    def __init__(s): s.a=[]
    def add(s,v): s.a.append(v)
""",
        """
s=S()
a=s.a
s.add(1)
assert a==[1]
""",
    ),
    "kept, global read then changed": (
        """
log=[]
def add(v): log.append(v)
""",
        """
l=log
add(1)
assert l==[1]
""",
    ),
    "kept, returned, tests change it": (
        """
class S:
    def __init__(s): s.a=[]
    def get(s): return s.a
""",
        """
s=S()
s.get().append(3)
assert s.get()==[3]
""",
    ),
    "kept, thread": (
        """
import threading
def f(xs):
    t=threading.Thread(target=lambda: xs.append(1)); t.start(); return t
""",
        """
a=[]
t=f(a)
t.join()
assert a==[1]
""",
    ),
}
