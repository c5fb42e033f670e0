"""Ways to test: unittest, pytest, asyncio, output that is caught, input that is given."""

HONEST = {
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
}
