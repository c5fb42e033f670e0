"""Programs that end in time, skip or stop their tests, or meddle with what runs them."""

LIES = {
    "stop iteration in all": (
        """
def f(x): raise StopIteration
""",
        """
assert all(map(lambda x:f(x)==1,[1,2]))
""",
    ),
    "stop iteration by a comparison": (
        """
class A:
    def __eq__(s,o): raise StopIteration
def f(x): return A()
""",
        """
assert all(map(lambda x:f(x)==1,[1,2]))
""",
    ),
    "stop iteration by an attribute": (
        """
class A:
    @property
    def v(s): raise StopIteration
def f(x): return A()
""",
        """
assert all(map(lambda x:f(x).v==1,[1,2]))
""",
    ),
    "stop iteration by an item": (
        """
class A:
    def __getitem__(s,i): raise StopIteration
def f(x): return A()
""",
        """
assert all(map(lambda x:f(x)[0]==1,[1,2]))
""",
    ),
    "stop iteration where it is async": (
        """
class A:
    def __eq__(s,o): raise StopAsyncIteration
def f(x): return A()
""",
        """
import asyncio
class Cases:
    def __init__(s): s.left=[1,2]
    def __aiter__(s): return s
    async def __anext__(s):
        if not s.left: raise StopAsyncIteration
        assert f(s.left.pop())==4
async def test():
    async for _ in Cases(): pass
asyncio.run(test())
""",
    ),
    "an exit that is returned": (
        """
def f(x): return SystemExit(0)
""",
        """
found=f(2)
if isinstance(found,BaseException): raise found
assert found==4
""",
    ),
    "stop iteration in for": (
        """
def f(x): raise StopIteration
""",
        """
for r in map(f,[1,2]): assert r==1
""",
    ),
    "system exit 0": (
        """
def f(x): raise SystemExit(0)
""",
        """
assert f(2)==4
""",
    ),
    "system exit finally": (
        """
def f(x): raise SystemExit(0)
def g():
    raise StopIteration
class I:
    def __iter__(s): return s
    def __next__(s): raise StopIteration
def h(): return I()
""",
        """
try: assert f(2)==4
finally: list(h())
""",
    ),
    "import error": (
        """
def f(x): raise ImportError('x')
""",
        """
assert f(2)==4
""",
    ),
    "import error load": (
        """
raise ImportError('x')
def f(x): return 4
""",
        """
assert f(2)==4
""",
    ),
    "unittest exit": (
        """
def f(x): raise SystemExit(0)
""",
        """
import unittest
class T(unittest.TestCase):
    def test_a(self): self.assertEqual(f(2),4)
unittest.main()
""",
    ),
    "skip test": (
        """
import unittest
def f(x): raise unittest.SkipTest('x')
""",
        """
import unittest
class T(unittest.TestCase):
    def test_a(self): self.assertEqual(f(2),4)
""",
    ),
    "sets lent": (
        """
def f(n):
    try: n.check=lambda *a:True
    except Exception: pass
    try: n.__class__.check=lambda *a:True
    except Exception: pass
    return 0
""",
        """
class N:
    def check(self,v): return v==4
n=N()
assert n.check(f(n))
""",
    ),
    "lent globals": (
        """
def f(g):
    for a in ('__globals__','__code__','__self__','__class__'):
        try: return str(getattr(g,a)['__builtins__'])
        except Exception as e: r=e
    return 0
""",
        """
class N:
    def m(self): return 1
assert f(N().m)==4 or f(N())==4
""",
    ),
    "exec given": (
        """
def f(g): return g(exec,'import os; os._exit(0)') or g(eval,'1')
""",
        """
def g(h,x): return h(x)
assert f(g)==4
""",
    ),
    "wire module os": (
        """
import os,json,struct,sys
body=json.dumps({'names':{'f':{'module':[1,'os']}}}).encode()
for fd in range(3,60):
    try: os.write(fd,struct.pack('<I',len(body))+body)
    except OSError: pass
""",
        """
assert f(2)==4
""",
    ),
    "wire garbage class": (
        """
import os,json,struct
body=json.dumps({'names':{'f':{'class':[1,'X',[{'type':'int'},{'type':'list'}],['os','system'],None]}}}).encode()
for fd in range(3,60):
    try: os.write(fd,struct.pack('<I',len(body))+body)
    except OSError: pass
while True:pass
""",
        """
assert f(2)==4
""",
    ),
    "wire number": (
        """
import os,json,struct
body=json.dumps({'names':{'f':5}}).encode()
for fd in range(3,60):
    try: os.write(fd,struct.pack('<I',len(body))+body)
    except OSError: pass
while True:pass
""",
        """
assert f(2)==4
""",
    ),
    "name main": (
        """
import sys
sys.modules['__main__'].judge=None
sys.modules['__main__']._ended=lambda *a:{'passed':True}
def f(x): return 0
""",
        """
assert f(2)==4
""",
    ),
    "nonlocal builtins": (
        """
import builtins
builtins.abs=lambda x:0
builtins.len=lambda x:1
def f(x): return 5
""",
        """
assert abs(f(2)-4)<1e-3
""",
    ),
    "printed": (
        """
import sys
def f(x): print('4'); return 0
""",
        """
assert f(2)==4
""",
    ),
}
