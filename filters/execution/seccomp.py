"""What a program may ask of the kernel: a list of allowed system calls, everything else is refused with EPERM.

Allowed is what an interpreter needs to compute, and to read and write files: no new processes, no other programs, no
sockets, no signals to others, no looking into others, no new namespaces or mounts. Threads are allowed, and pairs of
sockets that lead from a process to itself: an event loop of asyncio wakes itself through one.
"""

import ctypes
import functools
import os
import struct
import sys

_X86_64 = """
    0 read, 1 write, 2 open, 3 close, 4 stat, 5 fstat, 6 lstat, 7 poll, 8 lseek, 9 mmap, 10 mprotect, 11 munmap, 12 brk,
    13 rt_sigaction, 14 rt_sigprocmask, 15 rt_sigreturn, 17 pread64, 18 pwrite64, 19 readv, 20 writev, 21 access, 22
    pipe, 23 select, 24 sched_yield, 25 mremap, 26 msync, 27 mincore, 28 madvise, 32 dup, 33 dup2, 34 pause, 35
    nanosleep, 36 getitimer, 37 alarm, 38 setitimer, 39 getpid, 40 sendfile, 60 exit, 63 uname, 73 flock, 74 fsync, 75
    fdatasync, 76 truncate, 77 ftruncate, 78 getdents, 79 getcwd, 80 chdir, 81 fchdir, 82 rename, 83 mkdir, 84 rmdir, 85
    creat, 86 link, 87 unlink, 88 symlink, 89 readlink, 90 chmod, 91 fchmod, 95 umask, 96 gettimeofday, 97 getrlimit, 98
    getrusage, 99 sysinfo, 100 times, 102 getuid, 104 getgid, 107 geteuid, 108 getegid, 110 getppid, 111 getpgrp, 118
    getresuid, 120 getresgid, 121 getpgid, 124 getsid, 127 rt_sigpending, 131 sigaltstack, 137 statfs, 138 fstatfs, 158
    arch_prctl, 186 gettid, 201 time, 202 futex, 204 sched_getaffinity, 213 epoll_create, 217 getdents64, 218
    set_tid_address, 228 clock_gettime, 229 clock_getres, 230 clock_nanosleep, 231 exit_group, 232 epoll_wait, 233
    epoll_ctl, 257 openat, 258 mkdirat, 262 newfstatat, 263 unlinkat, 264 renameat, 267 readlinkat, 268 fchmodat, 269
    faccessat, 270 pselect6, 271 ppoll, 273 set_robust_list, 280 utimensat, 281 epoll_pwait, 285 fallocate, 290
    eventfd2, 291 epoll_create1, 292 dup3, 293 pipe2, 316 renameat2, 318 getrandom, 332 statx, 334 rseq, 436
    close_range, 439 faccessat2
"""

_AARCH64 = """
    17 getcwd, 19 eventfd2, 20 epoll_create1, 21 epoll_ctl, 22 epoll_pwait, 23 dup, 24 dup3, 32 flock, 34 mkdirat,
    35 unlinkat, 36 symlinkat, 37 linkat, 38 renameat, 43 statfs, 44 fstatfs, 45 truncate, 46 ftruncate, 47 fallocate,
    48 faccessat, 49 chdir, 50 fchdir, 52 fchmod, 53 fchmodat, 56 openat, 57 close, 59 pipe2, 61 getdents64, 62 lseek,
    63 read, 64 write, 65 readv, 66 writev, 67 pread64, 68 pwrite64, 71 sendfile, 72 pselect6, 73 ppoll, 78 readlinkat,
    79 newfstatat, 80 fstat, 82 fsync, 83 fdatasync, 88 utimensat, 93 exit, 94 exit_group, 96 set_tid_address, 98 futex,
    99 set_robust_list, 101 nanosleep, 102 getitimer, 103 setitimer, 113 clock_gettime, 114 clock_getres,
    115 clock_nanosleep, 123 sched_getaffinity, 124 sched_yield, 132 sigaltstack, 134 rt_sigaction, 135 rt_sigprocmask,
    136 rt_sigpending, 139 rt_sigreturn, 148 getresuid, 150 getresgid, 153 times, 155 getpgid, 156 getsid, 160 uname,
    163 getrlimit, 165 getrusage, 166 umask, 169 gettimeofday, 172 getpid, 173 getppid, 174 getuid, 175 geteuid,
    176 getgid, 177 getegid, 178 gettid, 179 sysinfo, 214 brk, 215 munmap, 216 mremap, 222 mmap, 226 mprotect,
    227 msync, 232 mincore, 233 madvise, 276 renameat2, 278 getrandom, 291 statx, 293 rseq, 436 close_range,
    439 faccessat2
"""

_MACHINES = {
    # audit architecture, allowed calls, and the numbers of those whose arguments decide
    "x86_64": (
        0xC000003E,
        _X86_64,
        {
            "clone": 56,
            "clone3": 435,
            "fcntl": 72,
            "ioctl": 16,
            "prlimit64": 302,
            "socketpair": 53,
            "sendto": 44,
            "recvfrom": 45,
        },
    ),
    "aarch64": (
        0xC00000B7,
        _AARCH64,
        {
            "clone": 220,
            "clone3": 435,
            "fcntl": 25,
            "ioctl": 29,
            "prlimit64": 261,
            "socketpair": 199,
            "sendto": 206,
            "recvfrom": 207,
        },
    ),
}

_ALLOW, _EPERM, _ENOSYS, _KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
_LOAD, _EQUAL, _AND, _RETURN = 0x20, 0x15, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENT_0, _ARGUMENT_1, _ARGUMENT_2, _ARGUMENT_4 = 0, 4, 16, 24, 32, 48
_AF_UNIX = 1
_CLONE_THREAD = 0x00010000
_OWNERSHIP = (8, 10, 15)  # fcntl's F_SETOWN, F_SETSIG, F_SETOWN_EX: signals to somebody else when a file is ready
_HARMLESS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # ioctl: terminal size and modes, bytes ready, flags
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_SET_DUMPABLE, _FILTER = 22, 38, 4, 2

Instruction = tuple[int, int, int, int]


def supported() -> bool:
    """Whether the calls of this kind of machine are known here."""
    return sys.platform == "linux" and os.uname().machine in _MACHINES


def confine() -> None:
    """Refuse this process and its threads everything else from now on. There is no way back.

    Raises:
        OSError: the kernel has no such filters.
    """
    code, libc = _code(), _libc()
    buffer = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    for call in ((_PR_SET_DUMPABLE, 0), (_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_SECCOMP, _FILTER, described)):
        arguments = [ctypes.c_char_p(item) if isinstance(item, bytes) else ctypes.c_ulong(item) for item in call[1:]]
        if libc.prctl(call[0], *arguments, *[ctypes.c_ulong(0)] * (4 - len(arguments))):
            number = ctypes.get_errno()
            raise OSError(number, f"the kernel refuses to confine a program: {os.strerror(number)}")


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def _code() -> bytes:
    """The filter as the kernel takes it: eight bytes an instruction."""
    return b"".join(struct.pack("HBBI", *instruction) for instruction in _program(os.uname().machine))


def prepare() -> None:
    """Make what `confine` needs, once for all processes that are forked from this one."""
    _code()
    _libc()


def _program(machine: str) -> list[Instruction]:
    """The filter: classic BPF, instructions of (code, jump if true, jump if false, constant)."""
    architecture, listed, special = _MACHINES[machine]
    allowed = [int(item.split()[0]) for item in listed.split(",")]
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),  # another instruction set's calls have other numbers
        (_LOAD, 0, 0, _NUMBER),
    ]
    for number in allowed:
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    program += _when(
        special["clone3"], [(_RETURN, 0, 0, _ENOSYS)]
    )  # its flags lie in memory: the C library takes clone
    threads = [(_LOAD, 0, 0, _ARGUMENT_0), (_AND, 0, 0, _CLONE_THREAD), (_EQUAL, 1, 0, 0), (_RETURN, 0, 0, _ALLOW)]
    program += _when(special["clone"], [*threads, (_RETURN, 0, 0, _EPERM)])
    program += _when(special["prlimit64"], _reading_its_own_limits())
    refused = [step for item in _OWNERSHIP for step in ((_EQUAL, 0, 1, item), (_RETURN, 0, 0, _EPERM))]
    program += _when(special["fcntl"], [(_LOAD, 0, 0, _ARGUMENT_1), *refused, (_RETURN, 0, 0, _ALLOW)])
    program += _when(special["socketpair"], _equal({_ARGUMENT_0: _AF_UNIX}))
    program += _when(special["sendto"], _equal({_ARGUMENT_4: 0, _ARGUMENT_4 + 4: 0}))  # to no address but its pair's
    program += _when(special["recvfrom"], [(_RETURN, 0, 0, _ALLOW)])
    granted = [step for item in _HARMLESS for step in ((_EQUAL, 0, 1, item), (_RETURN, 0, 0, _ALLOW))]
    program += _when(special["ioctl"], [(_LOAD, 0, 0, _ARGUMENT_1), *granted, (_RETURN, 0, 0, _EPERM)])
    return [*program, (_RETURN, 0, 0, _EPERM)]


def _reading_its_own_limits() -> list[Instruction]:
    """`prlimit64` of process 0 (itself) with no new limit, its third argument, a pointer of two words."""
    return _equal({_ARGUMENT_0: 0, _ARGUMENT_2: 0, _ARGUMENT_2 + 4: 0})


def _equal(words: dict[int, int]) -> list[Instruction]:
    """Allow a call if these words of its arguments have these values."""
    checks = [
        step
        for at, value in words.items()
        for step in ((_LOAD, 0, 0, at), (_EQUAL, 1, 0, value), (_RETURN, 0, 0, _EPERM))
    ]
    return [*checks, (_RETURN, 0, 0, _ALLOW)]


def _when(number: int, body: list[Instruction]) -> list[Instruction]:
    """Run `body`, which ends in a return, for one call; go on behind it for any other."""
    return [(_EQUAL, 0, len(body), number), *body]
