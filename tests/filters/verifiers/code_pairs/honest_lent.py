"""Objects of the tests whose parts the program changes."""

HONEST = {
    "lent, append child": (
        """
def f(root,v): root.kids.append(v)
""",
        """
class N:
    def __init__(s,v): s.v=v; s.kids=[]; s.by={}
    def n(s): return len(s.kids)
r=N(1)
f(r,5)
assert r.kids==[5]
""",
    ),
    "lent, read by method": (
        """
def f(root,v):
    root.kids.append(v)
    return root.n()
""",
        """
class N:
    def __init__(s,v): s.v=v; s.kids=[]; s.by={}
    def n(s): return len(s.kids)
r=N(1)
assert f(r,5)==1 and r.kids==[5]
""",
    ),
    "lent, twice": (
        """
def f(root):
    root.kids.append(1)
    root.kids.append(2)
    return root.kids is root.kids
""",
        """
class N:
    def __init__(s,v): s.v=v; s.kids=[]; s.by={}
    def n(s): return len(s.kids)
r=N(1)
assert f(r) and r.kids==[1,2]
""",
    ),
    "lent, dict": (
        """
def f(root): root.by['a']=[1]; root.by['a'].append(2)
""",
        """
class N:
    def __init__(s,v): s.v=v; s.kids=[]; s.by={}
    def n(s): return len(s.kids)
r=N(1)
f(r)
assert r.by=={'a':[1,2]}
""",
    ),
    "lent, tests change between": (
        """
def f(root): root.kids.append(1)
""",
        """
class N:
    def __init__(s,v): s.v=v; s.kids=[]; s.by={}
    def n(s): return len(s.kids)
r=N(1)
f(r)
r.kids.clear()
f(r)
assert r.kids==[1]
""",
    ),
    "lent, raises": (
        """
def f(root):
    root.kids.append(1)
    raise ValueError
""",
        """
class N:
    def __init__(s,v): s.v=v; s.kids=[]; s.by={}
    def n(s): return len(s.kids)
r=N(1)
try: f(r)
except ValueError: pass
assert r.kids==[1]
""",
    ),
    "lent, nodes": (
        """
def f(root):
    for k in list(root.kids): k.kids.append(k.v)
    root.kids.reverse()
""",
        """
class N:
    def __init__(s,v): s.v=v; s.kids=[]; s.by={}
    def n(s): return len(s.kids)
r=N(1)
a,b=N(2),N(3)
r.kids=[a,b]
f(r)
assert r.kids==[b,a] and a.kids==[2]
""",
    ),
    "lent, many nodes": (
        """
def f(nodes):
    for n in nodes: n.kids.append(n.v)
""",
        """
class N:
    def __init__(s,v): s.v=v; s.kids=[]; s.by={}
    def n(s): return len(s.kids)
L=[N(i) for i in range(200)]
f(L)
assert all(n.kids==[n.v] for n in L)
""",
    ),
    "lent, alias": (
        """
def f(root):
    k=root.kids
    k.append(1)
    k.append(root.n())
""",
        """
class N:
    def __init__(s,v): s.v=v; s.kids=[]; s.by={}
    def n(s): return len(s.kids)
r=N(1)
f(r)
assert r.kids==[1,1]
""",
    ),
    "lent, subscript": (
        """
def f(g): g[0].append(1)
""",
        """
class G:
    def __init__(s): s.a=[[],[]]
    def __getitem__(s,i): return s.a[i]
g=G()
f(g)
assert g.a==[[1],[]]
""",
    ),
}
