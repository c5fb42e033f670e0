"""Programs that attack the sandbox, or forge success: none passes, none harms, and the next check works."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from filters.execution.limit import PATIENCE
from filters.execution.sandbox import isolation_missing
from filters.verdict import Check, Task, VerifierError, VerifierSettings
from filters.verifiers.registry import checker

TASK = Task(columns={"tests": ["assert f(2) == 4", "assert f(3) == 9"]})
HONEST = "def f(x):\n    return x * x\n"
SECRET = "swordfish-4711"

pytestmark = pytest.mark.skipif(isolation_missing() is not None, reason=str(isolation_missing()))


@pytest.fixture(scope="module")
def check() -> Iterator[Check]:
    os.environ["SYNTH_TEST_SECRET"] = SECRET
    made = checker(VerifierSettings("code", time_limit=2, memory_limit=256))
    assert made(HONEST, TASK).kind == "right"
    yield made
    del os.environ["SYNTH_TEST_SECRET"]


FORGERIES = {
    "exits before the tests": "import sys\nprint('passed')\nsys.exit(0)",
    "exits hard before the tests": "import os\nprint('{\"passed\": true}', flush=True)\nos._exit(0)",
    "exits within the test": "import os\ndef f(x):\n    os._exit(0)",
    "raises SystemExit within the test": "def f(x):\n    raise SystemExit(0)",
    "equals everything": """
class Any(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
def f(x):
    return Any(7)
""",
    "an object that equals everything": """
class Any:
    def __eq__(self, other): return True
    def __bool__(self): return True
def f(x):
    return Any()
""",
    "replaces the builtins": """
import builtins
builtins.AssertionError = type('E', (Exception,), {})
builtins.exec = builtins.compile = lambda *a, **k: None
def f(x):
    return 0
""",
    "replaces the tests' functions": "def check(candidate): pass\ndef assertEqual(*a): pass\nf = lambda x: 0",
    "walks the frames": """
import sys
def f(x):
    frame = sys._getframe()
    while frame:
        for name in ('request', 'result', 'names', 'program', 'tests'):
            if name in frame.f_locals and isinstance(frame.f_locals[name], dict):
                frame.f_locals[name]['passed'] = True
        frame = frame.f_back
    return 0
""",
    "changes the collected objects": """
import gc
def f(x):
    for item in gc.get_objects():
        if isinstance(item, dict) and 'failed' in item:
            item.clear(); item['passed'] = True
    return 0
""",
    "writes success into every file descriptor": """
import os, json, struct
def f(x):
    body = json.dumps({'passed': True}).encode()
    for fd in range(256):
        for message in (body, struct.pack('<I', len(body)) + body):
            try: os.write(fd, message)
            except OSError: pass
    return 0
""",
    "at exit": "import atexit, os\natexit.register(lambda: os.write(1, b'passed'))\ndef f(x):\n    return 0",
    "a thread that answers for it": """
import threading, os, time
def spam():
    while True:
        for fd in range(3, 30):
            try: os.write(fd, b'\\x12\\x00\\x00\\x00{"result": {"int": "0x4"}}')
            except OSError: pass
threading.Thread(target=spam, daemon=True).start()
def f(x):
    return 0
""",
    "hostile data on the channel": """
import os, struct
def f(x):
    body = b'[' * 100000
    for fd in range(3, 30):
        try: os.write(fd, struct.pack('<I', len(body)) + body)
        except OSError: pass
    return 0
""",
    "a result without end": "def f(x):\n    return ['x' * 10**7] * 100",
    "a result too deep": "def f(x):\n    r = []\n    for _ in range(100000):\n        r = [r]\n    return r",
    "an object that contains everything": """
class Any:
    def __contains__(self, item): return True
    def __sub__(self, other): return 0
    def __rsub__(self, other): return 0
    def __lt__(self, other): return True
def f(x):
    return Any()
""",
    "NUL bytes": "def f(x):\n    return '\\0' * 1000",
    "source with NUL": "x = 1\0\ndef f(x):\n    return x * x",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_success_is_wrong(check: Check, name: str) -> None:
    verdict = check(f"```python\n{FORGERIES[name]}\n```", TASK)
    assert verdict.kind == "wrong", verdict
    assert verdict.reason
    assert check(HONEST, TASK).kind == "right"


@pytest.mark.parametrize(
    "tests", ["assert 4 in f(2)", "assert abs(f(2) - 4) < 1e-6", "assert f(2) < 5", "assert [f(2)] == [4]"]
)
def test_what_an_object_says_of_itself_counts_for_nothing(check: Check, tests: str) -> None:
    program = FORGERIES["an object that contains everything"].replace("def __lt__", "def __eq__")
    assert check(program, Task(columns={"tests": tests})).kind == "wrong"


READER = """
import ctypes, os, re
def f(x):
    # write() copies any page that is mapped into a pipe, and refuses the others without a fault
    read, write = os.pipe()
    libc = ctypes.CDLL(None)
    libc.sbrk.restype = ctypes.c_void_p
    pages = [libc.sbrk(0) - 4096 * n for n in range(1, 8192)]
    for item in (object(), 'text' * 3, [], {}):
        pages += [(id(item) & ~0xfffff) + 4096 * n for n in range(-2048, 2048)]
    needle = bytes([97, 115, 115, 101, 114, 116]) + b' f[(]2[)] == ([0-9]{12})'
    for page in pages:
        if libc.write(write, ctypes.c_void_p(page), 4096) == 4096:
            if found := re.search(needle, os.read(read, 4096)):
                return int(found[1])
    return 0
"""


def test_a_program_cannot_find_its_tests_in_memory(check: Check) -> None:
    for answer in (271828182845, 314159265358):
        task = Task(columns={"tests": [f"assert f(2) == {answer}"]})
        assert check(f"def f(x): return {answer}", task).kind == "right"
        assert check(f"```python{READER}```", task).kind == "wrong"
    # The search itself works: a program that holds such a text finds it.
    decoy = READER + "\nkept = ['as' + 'sert f(2) == ' + str(10**11 + n) for n in range(100)]\n"
    assert check(f"```python{decoy}```", Task(columns={"tests": ["assert f(2) >= 10**11"]})).kind == "right"


GREEDY = {
    "endless loop": "while True: pass",
    "endless loop in the test": "def f(x):\n    while True: pass",
    "sleeps": "import time\ntime.sleep(1000)",
    "fork bomb": "import os\nwhile True:\n    os.fork()",
    "processes": "import subprocess\nfor _ in range(1000):\n    subprocess.Popen(['sleep', '1000'])\n",
    "memory bomb": "x = []\nwhile True:\n    x.append(bytearray(10**7))",
    "memory bomb in threads": """
import threading
def eat():
    x = []
    while True: x.append(bytearray(10**7))
for _ in range(50): threading.Thread(target=eat).start()
""",
    "thread bomb": "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(1000,)).start()",
    "gigabytes on standard output": "while True:\n    print('x' * 10**6)",
    "fills the disk": """
n = 0
while True:
    with open(f'{n}', 'wb') as file: file.write(b'x' * 10**6)
    n += 1
""",
    "deep recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef g(): g()\ng()",
    "huge number": "def f(x):\n    return 9 ** 9 ** 9",
    "closes everything": "import os\nos.closerange(0, 1000)\ndef f(x):\n    return x * x",
}


@pytest.mark.parametrize("name", GREEDY)
def test_greed_is_bounded(check: Check, name: str) -> None:
    began = time.monotonic()
    verdict = check(f"```python\n{GREEDY[name]}\n```", TASK)
    assert verdict.kind == "wrong", verdict
    assert time.monotonic() - began < PATIENCE * 2 + 30  # much less where the machine is not busy
    assert check(HONEST, TASK).kind == "right"


# Each sets `f` so that the tests pass if the attack succeeds.
REACHES = {
    "the environment": f"import os\nleak = {SECRET!r} in str(os.environ)",
    "another's environment": f"""
import glob
leak = False
for path in glob.glob('/proc/*/environ'):
    leak |= {SECRET!r}.encode() in open(path, 'rb').read()
""",
    "home": "import os\nleak = any(os.path.exists(os.path.expanduser(p)) for p in ('~root/.ssh', '/home'))",
    "passwords": "leak = len(open('/etc/passwd').read()) > 0",
    "this repository": f"import os\nleak = os.path.exists({str(Path(__file__).parents[3] / 'pyproject.toml')!r})",
    "a socket": "import socket\nsocket.socket().bind(('127.0.0.1', 0))\nleak = True",
    "an abstract socket": "import socket\nsocket.socket(socket.AF_UNIX).bind('\\0x')\nleak = True",
    "a socket beside its pair": """
import socket
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
a.send(b'x')
assert b.recv(1) == b'x'
a.sendto(b'x', '/dev/log')
leak = True
""",
    "another kind of pair": "import socket\nsocket.socketpair(socket.AF_INET)\nleak = True",
    "writing beside": "open('/usr/leak', 'w').write('x')\nleak = True",
    "writing to its interpreter": "import os, json\nopen(os.path.dirname(json.__file__) + '/x.py', 'w')\nleak = True",
    "writing to devices": "open('/dev/shm/x', 'w').write('x' * 100)\nleak = True",
    "killing its parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nleak = True",
    "killing all": "import os, signal\nos.kill(-1, signal.SIGKILL)\nleak = True",
    "tracing its parent": """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
leak = libc.ptrace(16, os.getppid(), 0, 0) == 0
""",
    "its parent's memory": "import os\nopen(f'/proc/{os.getppid()}/mem', 'rb')\nleak = True",
    "signals through a file's owner": """
import fcntl, os
r, w = os.pipe()
fcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())
leak = True
""",
    "new namespaces": "import ctypes\nleak = ctypes.CDLL(None).unshare(0x10000000) == 0",
    "another program": "import os\nos.execv('/usr/bin/env', ['env'])\nleak = True",
    "higher limits": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nleak = True",
    "what an earlier program left": "import os\nleak = os.path.exists('left')",
}


@pytest.mark.parametrize("name", REACHES)
def test_out_of_reach(check: Check, name: str) -> None:
    check("open('left', 'w').write('x')", TASK)
    attack = "\n".join(f"    {line}" for line in REACHES[name].splitlines())
    program = f"leak = False\ntry:\n{attack}\nexcept Exception:\n    leak = False\ndef f(x):\n    return leak"
    verdict = check(f"```python\n{program}\n```", Task(columns={"tests": ["assert f(0) is False"]}))
    assert verdict.kind == "right", verdict
    assert check(HONEST, TASK).kind == "right"


LEFT = {
    "no rights": "os.chmod('.', 0)",
    "no right to write": "os.chmod('.', 0o555)",
    "directories without rights": "os.makedirs('a/b'); open('a/b/c', 'w'); os.chmod('a/b', 0); os.chmod('a', 0)",
    "another directory": "os.chdir('/')",
    "a mask": "os.umask(0o777)",
    "directories in directories": "for _ in range(1000): os.mkdir('d'); os.chdir('d')\nos.chmod('..', 0)",
    "a full disk": "for n in range(200): open(str(n), 'w').write('x' * 10**6)",
    "many files": "for n in range(2000): os.mkdir(str(n))",
    "links": "os.symlink('/usr', 'a'); os.symlink('b', 'b'); os.symlink('.', 'c'); os.link('a', 'd')",
    "the name of a file of ours": "os.mkdir('input')",
    "a pipe": "os.mkfifo('p')",
    "a name that is no text": "os.mkdir(b'\\xff\\n')",
    "signals": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.alarm(1)",
    "another locale": "import locale; locale.setlocale(locale.LC_ALL, 'C')",
}


@pytest.mark.parametrize("name", LEFT)
def test_whatever_a_program_leaves_the_next_finds_a_clean_place(check: Check, name: str) -> None:
    left = "\n".join(f"    {line}" for line in LEFT[name].splitlines())
    leaves = f"import os\ntry:\n{left}\nexcept OSError: pass\ndef f(x): return x * x\n"
    finds = (
        "import os\nassert os.listdir('.') == [] and os.umask(0o22) == 0o22\nos.mkdir('d')\n"
        "open('d/x', 'w').write('x' * 10**6)\n"
    )
    assert check(f"```python\n{leaves}```", TASK).kind == "right"
    assert check(f"```python\n{finds}def f(x): return x * x\n```", TASK).kind == "right"
    cases = Task(columns={"inputs": ["1", "2"], "outputs": ["1", "2"]})
    assert check(f"```python\n{finds}{leaves}print(input())\n```", cases).kind == "right"


def test_nothing_outlives_a_check(check: Check) -> None:
    before = _processes()
    program = """
import os, subprocess
try:
    if os.fork() == 0:
        os.setsid()
        os.execv('/bin/sleep', ['sleep', '4711'])
except OSError:
    subprocess.Popen(['setsid', 'sleep', '4711'])
"""
    assert check(program, TASK).kind == "wrong"
    assert not [line for line in _processes() - before if "4711" in line]


def test_tests_are_no_way_in_for_hostile_data() -> None:
    """The tests of a data set may be hostile, too: they run under the same limits."""
    made = checker(VerifierSettings("code", time_limit=2, memory_limit=256))
    attack = Task(columns={"tests": ["import os\nassert os.fork() >= 0"]})
    assert made(HONEST, attack).kind != "right"
    assert made(HONEST, Task(columns={"tests": ["while True: pass"]})).kind == "wrong"
    assert made(HONEST, TASK).kind == "right"


def test_without_bubblewrap_it_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VerifierError, match=r"bubblewrap is missing.*`unsafe_no_sandbox`"):
        checker(VerifierSettings("code"))
    unsafe = checker(VerifierSettings("code", unsafe_no_sandbox=True, time_limit=2))
    assert unsafe(HONEST, TASK).kind == "right"
    assert unsafe(FORGERIES["exits hard before the tests"], TASK).kind == "wrong"
    assert unsafe("import os\nos.fork()\ndef f(x):\n    return x * x", TASK).kind == "wrong"


def _processes() -> set[str]:
    return set(subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines())
