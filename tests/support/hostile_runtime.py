"""A runtime that was taken over: where it would load a model, it does what an attacker would.

It lies before onnxruntime on the path of the child that loads models. It tries each of `ATTACKS`
and answers with the names of those that worked, in place of why the model does not load.
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

RUNTIME = textwrap.dedent('''
    """Stands before onnxruntime: loads it, and puts attacks in place of loading a file."""
    import importlib
    import sys
    from pathlib import Path

    HERE = str(Path(__file__).parents[1])
    sys.path.remove(HERE)
    del sys.modules["onnxruntime"]
    real = importlib.import_module("onnxruntime")
    sys.path.insert(0, HERE)
    import attacks

    class InferenceSession(real.InferenceSession):
        def __init__(self, source, *arguments, **named):
            if isinstance(source, str):
                raise RuntimeError(attacks.run(source))
            super().__init__(source, *arguments, **named)

    real.InferenceSession = InferenceSession
''')

ATTACKS = textwrap.dedent('''
    """What code inside the runtime would try."""
    import ctypes, fcntl, json, os, resource, signal, socket, subprocess, threading
    from pathlib import Path

    told = json.loads(Path(__file__).with_name("told.json").read_text())
    state, secret, victim, agent = Path(told["state"]), told["secret"], told["victim"], os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)

    def ok(result):
        if result < 0:
            raise OSError(ctypes.get_errno(), "refused")

    def read(path):
        with open(path, "rb", buffering=0) as file:
            if not file.read(1):
                raise OSError("empty")

    def read_memory(path, pid):
        start = int(Path(f"/proc/{pid}/maps").read_text().split("-")[0], 16)
        with open(path, "rb", buffering=0) as file:
            os.pread(file.fileno(), 1, start)

    def listen_local():
        socket.socket(socket.AF_UNIX).connect(told["listener"])

    def send_local():
        socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b"x", told["datagrams"])

    def watch_names():
        watching = libc.inotify_init1(0)
        ok(watching)
        ok(libc.inotify_add_watch(watching, bytes(state), 0x100))

    def look_at_shared():
        ok(libc.shmctl(told["shared"], 2, ctypes.create_string_buffer(256)))

    def own_signals():
        owned = os.pipe()[0]
        fcntl.fcntl(owned, fcntl.F_SETOWN, victim)

    def choose_signal():
        fcntl.fcntl(os.pipe()[0], fcntl.F_SETSIG, signal.SIGKILL)

    def bind_to_one():
        before = os.sched_getaffinity(victim)
        os.sched_setaffinity(victim, {min(before)})
        if os.sched_getaffinity(victim) == before:
            raise OSError("said, and not done")

    def put_last():
        number = {"x86_64": 251}.get(os.uname().machine, 30)
        ok(libc.syscall(number, 1, victim, 3 << 13))

    def fork():
        if os.fork() == 0:
            os.setsid()
            os._exit(0)

    def vm_read():
        buffer, text = ctypes.create_string_buffer(8), ctypes.c_void_p
        class Part(ctypes.Structure):
            _fields_ = [("base", text), ("size", ctypes.c_size_t)]
        mine, other = Part(ctypes.addressof(buffer), 8), Part(told["address"], 8)
        ok(libc.process_vm_readv(agent, ctypes.byref(mine), 1, ctypes.byref(other), 1, 0))

    def inherited():
        for name in os.listdir("/proc/self/fd"):
            try:
                if int(name) > 2 and os.pread(int(name), 6, 0) == b"secret":
                    return
            except OSError:
                pass
        raise OSError("none")

    def unfiltered():
        tasks = [task.joinpath("status").read_text() for task in Path("/proc/self/task").iterdir()]
        if all("Seccomp:\\t2" in text for text in tasks):
            raise OSError("all are filtered")

    def environment():
        if not [name for name in os.environ if "PASS" in name or "SECRET" in name]:
            raise OSError("none")

    def in_thread(attack):
        done = []
        def run():
            try:
                attack()
                done.append(1)
            except OSError:
                pass
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if not done:
            raise OSError("refused")

    NETWORK = {
        "inet": lambda: socket.socket(socket.AF_INET),
        "inet6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
        "unix": listen_local,
        "unix by a pair": send_local,
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "inet in a thread": lambda: in_thread(lambda: socket.socket(socket.AF_INET)),
        "io_uring": lambda: ok(libc.syscall(425, 1, ctypes.create_string_buffer(120))),
    }
    READING = {
        "device.toml": lambda: read(secret),
        "state.json": lambda: read(state / "state.json"),
        "the other slot": lambda: read(state / "slots/b/m.onnx"),
        "the state's names": lambda: os.listdir(state),
        "the state's names as they change": watch_names,
        "shared memory": look_at_shared,
        "accounts": lambda: read("/etc/passwd"),
        "the agent's environment": lambda: read(f"/proc/{agent}/environ"),
        "the agent's files": lambda: os.listdir(f"/proc/{agent}/fd"),
        "the agent's memory": lambda: read_memory(f"/proc/{agent}/mem", agent),
        "another's environment": lambda: read(f"/proc/{victim}/environ"),
        "an open file of the agent": inherited,
        "a password in the environment": environment,
    }
    CHANGING = {
        "append": lambda: open(state / "state.json", "ab"),
        "overwrite": lambda: open(state / "state.json", "r+b"),
        "make": lambda: open(state / "new", "xb"),
        "own model": lambda: open(state / "slots/a/m.onnx", "r+b"),
        "remove": lambda: os.unlink(state / "state.json"),
        "rename": lambda: os.rename(state / "state.json", state / "moved"),
        "mkdir": lambda: os.mkdir(state / "folder"),
        "symlink": lambda: os.symlink("/", state / "link"),
        "link": lambda: os.link(state / "slots/a/m.onnx", state / "linked"),
        "truncate": lambda: os.truncate(state / "state.json", 0),
        "chmod": lambda: os.chmod(state / "state.json", 0o777),
        "times": lambda: os.utime(state / "state.json", (0, 0)),
        "/tmp": lambda: open(told["tmp"] + "/dropped", "xb"),
        "/dev/shm": lambda: open(f"/dev/shm/slotcast.{agent}", "xb"),
        "a device": lambda: open("/dev/zero", "r+b"),
        "a pipe": lambda: os.mkfifo(told["tmp"] + "/pipe"),
    }
    PROCESSES = {
        "fork": fork,
        "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "subprocess": lambda: subprocess.run(["/bin/true"]),
        "session": os.setsid,
        "fork in a thread": lambda: in_thread(fork),
    }
    OTHERS = {
        "signal the agent": lambda: os.kill(agent, 0),
        "end another": lambda: os.kill(victim, signal.SIGKILL),
        "end a group": lambda: os.killpg(os.getpgid(victim), signal.SIGKILL),
        "end all": lambda: os.kill(-1, 0),
        "queue a signal": lambda: ok(libc.sigqueue(victim, signal.SIGTERM, 0)),
        "trace": lambda: ok(libc.ptrace(16, victim, 0, 0)),
        "its memory": vm_read,
        "its handle": lambda: os.pidfd_open(agent),
        "its limits": lambda: resource.prlimit(agent, resource.RLIMIT_CORE, (0, 0)),
        "signal by an open file": own_signals,
        "choose that signal": choose_signal,
        "bind it to a processor": bind_to_one,
        "its scheduling": lambda: os.sched_setscheduler(victim, os.SCHED_BATCH, os.sched_param(0)),
        "its turn at the disk": put_last,
        "remove its shared memory": lambda: ok(libc.shmctl(told["shared"], 0, None)),
        "its priority": lambda: os.setpriority(os.PRIO_PROCESS, victim, 19),
    }
    GAINING = {
        "be root": lambda: os.setresuid(0, 0, 0),
        "groups": lambda: os.setgroups([0]),
        "namespace": lambda: ok(libc.unshare(0x10000000)),
        "mount": lambda: ok(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
        "chroot": lambda: os.chroot("/"),
        "keys": lambda: ok(libc.syscall({"x86_64": 250}.get(os.uname().machine, 219), 0, -3, 1)),
        "unfiltered thread": unfiltered,
        "thread from before": lambda: BEFORE[1],
    }
    KINDS = dict(network=NETWORK, reading=READING, changing=CHANGING, processes=PROCESSES,
                 others=OTHERS, gaining=GAINING)

    def works(attack):
        try:
            attack()
        except (OSError, IndexError):
            return False
        return True

    BEFORE = list(Path("/proc/self/task").iterdir())

    def run(source):
        """Try all; at last another program, which would not come back."""
        done = [f"{kind}: {name}" for kind, each in KINDS.items() for name, attack in each.items()
                if works(attack)]
        works(lambda: os.execv("/bin/true", ["true"]))
        return f"attacks {json.dumps(done)} as {os.getuid()}"
''')


def place(
    folder: Path,
    *,
    state: Path,
    secret: Path,
    victim: int,
    listener: Path,
    datagrams: Path,
    shared: int,
    address: int,
) -> None:
    """Put the runtime into a folder for `PYTHONPATH`.

    Args:
        folder: where to.
        state: the agent's state of one model.
        secret: a file that only the agent reads.
        victim: another process of the same user.
        listener: a Unix socket that somebody listens at.
        datagrams: another one, that takes single messages.
        shared: the number of memory that processes of the agent's user share (System V).
        address: of the agent's memory.
    """
    (folder / "onnxruntime").mkdir(parents=True)
    (folder / "onnxruntime/__init__.py").write_text(RUNTIME)
    (folder / "attacks.py").write_text(ATTACKS)
    told = {
        "state": str(state),
        "secret": str(secret),
        "victim": victim,
        "listener": str(listener),
        "datagrams": str(datagrams),
        "shared": shared,
        "address": address,
        "tmp": str(folder.parent),
    }
    (folder / "told.json").write_text(json.dumps(told))


def attacks_that_worked(said: str) -> list[str]:
    """Read what the runtime answered."""
    found = re.search(r"attacks (\[.*?\])", said)
    assert found is not None, said
    names: list[str] = json.loads(found[1])
    return names


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
