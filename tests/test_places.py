"""Where the app has to run: without network, HOME or name, on odd paths and read-only inputs, beside others of its kind."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes_run import command, environment, make_dataset, masks

from bids_app.simulate.participant import simulate_participant

VALIDATOR = Path(sys.executable).parent / "bids-validator-deno"
#: So many processes write into one folder at once.
WRITERS = 20
#: Forbids sockets to the outside from the start of the interpreter; processes of one machine still talk to each other.
NO_NETWORK = """
import socket

class Refused(socket.socket):
    def __init__(self, family=-1, *more, **named):
        if family in (-1, socket.AF_INET, socket.AF_INET6):
            raise RuntimeError("the network was asked for")
        super().__init__(family, *more, **named)

def refuse(*_, **__):
    raise RuntimeError("the network was asked for")

socket.socket = Refused
socket.create_connection = socket.getaddrinfo = refuse
"""

#: Runs a program that may take no lock: a filter of system calls (flock, and fcntl with a command of locks) that it inherits.
NO_LOCKS = """
import ctypes, os, struct, sys

ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 37  # 37: ENOLCK
FLOCK, FCNTL, LOCKS = 73, 72, (6, 7, 37, 38)  # F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW
def code(op, yes, no, value):
    return struct.pack("HBBI", op, yes, no, value)
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
end = len(LOCKS)
program = [code(LOAD, 0, 0, 0), code(EQUAL, end + 3, 0, FLOCK), code(EQUAL, 0, end + 1, FCNTL), code(LOAD, 0, 0, 24)]
program += [code(EQUAL, end - n, 0, lock) for n, lock in enumerate(LOCKS)]
program += [code(RETURN, 0, 0, ALLOW), code(RETURN, 0, 0, REFUSE)]
blob = ctypes.create_string_buffer(b"".join(program))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
filled = Program(len(program), ctypes.addressof(blob))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(filled), 0, 0):
    sys.exit("no seccomp here: " + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
"""
#: Makes the worker of the first participant ask for more memory than `LIMIT`.
LIMIT = 1_500_000_000
GREEDY = """
import sys
if any("multiprocessing.spawn" in word for word in sys.orig_argv):
    import bids_app.preprocess as room
    whole = room.prepare
    def prepare(request):
        if request.unit.participant == "01":
            hold = bytearray(3_000_000_000)
            for at in range(0, len(hold), 4096):
                hold[at] = 1
        return whole(request)
    prepare.__module__, prepare.__qualname__ = whole.__module__, whole.__qualname__
    room.prepare = prepare
"""


@pytest.fixture(scope="module")
def scan():
    return simulate_participant(51, ("T2starAx",), half_mm=20)[0].image


def test_no_network_is_asked_for(scan, tmp_path):
    root = make_dataset(tmp_path / "bids", scan, ["01"])
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook/sitecustomize.py").write_text(NO_NETWORK)
    hooked = environment(PYTHONPATH=str(tmp_path / "hook"))
    tried = "import socket; socket.socket(socket.AF_INET)"
    assert subprocess.run(
        [sys.executable, "-c", tried], env=hooked, capture_output=True, check=False
    ).returncode
    done = subprocess.run(
        command(root, tmp_path / "out"), env=hooked, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(masks(tmp_path / "out")) == 1


def test_odd_paths_no_home_a_strict_umask_and_an_input_that_is_links(scan, tmp_path):
    """As git-annex leaves it: links out of the tree to read-only files."""
    store = make_dataset(tmp_path / "store", scan, ["01"])
    root, out = tmp_path / "Daten für alle (neu)" / "bids", tmp_path / "Ergebnis à 'l' é"
    shutil.copytree(store, root)
    link = root / "sub-01/anat/sub-01_T2starw.nii.gz"
    link.unlink()
    target = store / "sub-01/anat/sub-01_T2starw.nii.gz"
    target.chmod(0o444)
    link.symlink_to(target)
    before = target.read_bytes()
    code = f"import os, sys; os.umask(0o077); os.execv(sys.executable, {command(root, out)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (mask,) = masks(out)
    sidecar = json.loads(mask.with_name(mask.name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["Sources"] == ["bids:raw:sub-01/anat/sub-01_T2starw.nii.gz"]
    assert target.read_bytes() == before
    assert [path.name for path in root.rglob("*") if path.is_file()] == [
        "dataset_description.json",
        link.name,
    ]


def test_any_uid_without_a_name(scan, tmp_path):
    somebody = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]
    asked = [*somebody, sys.executable, "-c", "import os; print(os.getuid())"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine makes no user namespaces")
    assert answer.strip() == "54321"
    root, out = make_dataset(tmp_path / "bids", scan, ["01"]), tmp_path / "out"
    done = subprocess.run(
        [*somebody, *command(root, out)], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(masks(out)) == 1


def test_a_read_only_root_and_input(scan, tmp_path):
    """Everything but the output and a small folder for temporary files is read-only, as in a hardened container."""
    root, out = make_dataset(tmp_path / "bids", scan, ["01"]), tmp_path / "out"
    spare = tmp_path / "tmp"
    out.mkdir()
    spare.mkdir()
    script = (
        'mount --make-rprivate / && mount --bind "$1" "$1" && mount -t tmpfs -o size=64m none "$2" && '
        "mount -o remount,bind,ro / && shift 2 && ! touch /probe 2>/dev/null && ! touch tests/probe 2>/dev/null && "
        'exec "$@"'
    )
    alone = ["unshare", "--mount", "sh", "-c", script, "sh", str(out), str(spare)]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let this user mount the root read-only in a namespace of its own")
    done = subprocess.run(
        [*alone, *command(root, out)],
        env=environment(TMPDIR=str(spare), PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(masks(out)) == 1


def test_the_output_on_another_device_than_the_work_folder(scan, tmp_path):
    if not os.access("/dev/shm", os.W_OK) or Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has no second file system to write to")
    root = make_dataset(tmp_path / "bids", scan, ["01"])
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        done = subprocess.run(
            command(root, Path(other) / "out", "--work-dir", str(tmp_path / "work")),
            env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert len(masks(Path(other) / "out")) == 1


def test_a_file_system_without_locks(scan, tmp_path):
    """Every lock that a program asks the kernel for is refused, as some network file systems do."""
    if platform.machine() != "x86_64" or sys.platform != "linux":
        pytest.skip("the filter of system calls is written for Linux on x86-64")
    root = make_dataset(tmp_path / "bids", scan, ["01"])
    (tmp_path / "no_locks.py").write_text(NO_LOCKS)
    without = [sys.executable, str(tmp_path / "no_locks.py")]
    tried = "import fcntl; fcntl.flock(open('/dev/null'), fcntl.LOCK_SH)"
    refused = subprocess.run(
        [*without, sys.executable, "-c", tried], capture_output=True, text=True, check=False
    )
    if "seccomp" in refused.stderr:
        pytest.skip("this machine lets nobody filter system calls")
    assert "No locks available" in refused.stderr
    lines = [command(root, tmp_path / "out"), [*command(root, tmp_path / "out")[:5], "group"]]
    for line in lines:
        done = subprocess.run(
            [*without, *line], env=environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert len(masks(tmp_path / "out")) == 1


def test_where_memory_runs_out_the_unit_fails_and_the_others_go_on(scan, tmp_path):
    """The kernel ends a worker that asks for more than its control group has; within seconds that is a failed unit."""
    with control_group(LIMIT) as enter:
        root, out = make_dataset(tmp_path / "bids", scan, ["01", "02"]), tmp_path / "out"
        (tmp_path / "sitecustomize.py").write_text(GREEDY)
        began = time.monotonic()
        done = subprocess.run(
            ["sh", "-c", f'{enter} && exec "$@"', "sh", *command(root, out)],
            env=environment(PYTHONPATH=str(tmp_path)), capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "killed twice, most likely for lack of memory" in done.stderr
    assert time.monotonic() - began < 200
    assert [path.parts[-3] for path in masks(out)] == ["sub-02"]
    crash = (out / "logs/sub-01_T2starw_crash.txt").read_text()
    assert "Grant more memory" in crash
    manifests = [json.loads(path.read_text()) for path in (out / "logs").glob("run-*_manifest.json")]
    assert [record["ExitCode"] for record in manifests] == [3]


@contextmanager
def control_group(limit: int) -> Iterator[str]:
    """Yield the shell command that puts a process into a control group with so many bytes of memory."""
    for base, bound in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        group = Path("/sys/fs/cgroup", base, f"mscord-test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            try:
                (group / bound).write_text(str(limit))
            except OSError:
                continue
            yield f"echo $$ > {group}/cgroup.procs"
            return
        finally:
            _remove(group)
    pytest.skip("this machine lets this user make no control group with a limit of memory")


def _remove(group: Path) -> None:
    """Wait for the last process of a control group, and remove it."""
    for _ in range(100):
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"processes are left: {(group / 'cgroup.procs').read_text()}")


@pytest.mark.parametrize(("full", "words"), [("out", "The disk (or the quota) is full"), ("work", "full")])
def test_a_full_disk_is_said_in_words(scan, tmp_path, full, words):
    """A real one, of 64 KiB: no injected error."""
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    small = tmp_path / full
    small.mkdir()
    mount = f"mount -t tmpfs -o size=64k none '{small}'"
    if subprocess.run([*alone, mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine mounts nothing in a namespace of its own")
    root = make_dataset(tmp_path / "bids", scan, ["01"])
    line = command(root, tmp_path / "out", "--work-dir", str(tmp_path / "work"))
    done = subprocess.run(
        [*alone, f'{mount} && exec "$@"', "sh", *line],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_many_write_into_one_folder_at_once(scan, tmp_path):
    labels = [f"{number:02d}" for number in range(WRITERS)]
    root, out = make_dataset(tmp_path / "bids", scan, labels), tmp_path / "out"
    running = [
        subprocess.Popen(
            command(root, out, "--participant-label", label),
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for label in labels
    ]
    said = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0] * WRITERS, "\n".join(said)
    assert len(masks(out)) == WRITERS
    assert not list(out.rglob("*.part"))
    # One scan under twenty names: one answer.
    assert len({path.read_bytes() for path in masks(out)}) == 1
    assert len(list((out / "logs").glob("run-*_manifest.json"))) == WRITERS
    group = [*command(root, out)[:5], "group"]
    assert subprocess.run(group, env=environment(), check=False).returncode == 0
    assert len((out / "group_units.tsv").read_text().splitlines()) == 1 + WRITERS
    if VALIDATOR.exists():
        report = tmp_path / "report.json"
        subprocess.run([VALIDATOR, out, "--format", "json", "-o", report], check=False, capture_output=True)
        assert json.loads(report.read_text())["issues"]["issues"] == []
