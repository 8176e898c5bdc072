"""What the processes of soak_test.py do, each until it is told to stop. Every one works on a set of
files of a bounded size, so that the load looks the same after an hour as after a minute, and every
one knows what it must read."""

import ctypes
import errno
import filecmp
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import time
import traceback

from cluster import binary

KIB = 1 << 10
MIB = 1 << 20
PR_SET_PDEATHSIG = 1


class Load:
    """One process of the load. `stop` is a multiprocessing Event; `report`, a Queue, gets what was
    done."""

    def __init__(self, name, seed):
        self.name = name
        self.random = random.Random(seed + name)
        self.counts = {}

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def main(self, stop, report):
        # Not a child that outlives a test that was killed.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            self.prepare()
            while not stop.is_set():
                self.step()
            self.finish()
            report.put((self.name, self.counts, None))
        except BaseException:  # all of it belongs into the test's failure
            report.put((self.name, self.counts, traceback.format_exc()))
            stop.set()

    def prepare(self):
        pass

    def step(self):
        raise NotImplementedError

    def finish(self):
        pass


def forget_pages(fd):
    """The next read of them asks the mount's daemon, which else sees few of a small set's reads."""
    os.fdatasync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


class SmallFiles(Load):
    """Everything that is done to small files, in a directory of its own."""

    MAX_FILES = 40
    MAX_SIZE = 256 * KIB

    def __init__(self, name, seed, mount):
        super().__init__(name, seed)
        self.directory = os.path.join(mount, name)
        self.files = {}  # name -> what it holds
        self.operations = [
            (self.create, 4), (self.overwrite, 3), (self.append, 4), (self.read, 8),
            (self.rename, 2), (self.truncate, 2), (self.unlink, 3), (self.list, 1),
            (self.subtree, 1)]

    def prepare(self):
        os.mkdir(self.directory)

    def path(self, name):
        return os.path.join(self.directory, name)

    def bytes(self, most):
        return self.random.randbytes(self.random.randrange(1, most))

    def some(self):
        return self.random.choice(sorted(self.files)) if self.files else None

    def step(self):
        operation = self.random.choices(*zip(*self.operations))[0]
        if operation != self.create and not self.files:
            operation = self.create
        operation()
        self.count(operation.__name__)

    def create(self):
        name = "f%d" % self.random.randrange(self.MAX_FILES)
        data = self.bytes(64 * KIB)
        with open(self.path(name), "wb") as out:
            out.write(data)
            if self.random.random() < 0.1:
                out.flush()
                os.fsync(out.fileno())
        self.files[name] = data

    def overwrite(self):
        name = self.some()
        data = self.bytes(16 * KIB)
        at = self.random.randrange(self.MAX_SIZE - len(data))
        with open(self.path(name), "r+b") as out:
            out.seek(at)
            out.write(data)
        old = self.files[name].ljust(at, b"\0")
        self.files[name] = old[:at] + data + old[at + len(data):]

    def append(self):
        name = self.some()
        data = self.bytes(8 * KIB)
        if len(self.files[name]) + len(data) > self.MAX_SIZE:
            return
        with open(self.path(name), "ab") as out:
            out.write(data)
        self.files[name] += data

    def read(self):
        self.check(self.some())

    def check(self, name):
        with open(self.path(name), "rb") as file:
            if self.random.random() < 0.5:
                forget_pages(file.fileno())
            found = file.read()
        wanted = self.files[name]
        if found != wanted:
            at = next((i for i, pair in enumerate(zip(found, wanted)) if pair[0] != pair[1]),
                      min(len(found), len(wanted)))
            raise AssertionError("%s: %d bytes, %d were written; they differ from byte %d" % (
                self.path(name), len(found), len(wanted), at))

    def rename(self):
        name, to = self.some(), "f%d" % self.random.randrange(self.MAX_FILES)
        os.rename(self.path(name), self.path(to))
        self.files[to] = self.files.pop(name)

    def truncate(self):
        name, size = self.some(), self.random.randrange(self.MAX_SIZE)
        os.truncate(self.path(name), size)
        self.files[name] = self.files[name][:size].ljust(size, b"\0")

    def unlink(self):
        name = self.some()
        os.unlink(self.path(name))
        del self.files[name]

    def list(self):
        found = {entry.name: entry.stat().st_size for entry in os.scandir(self.directory)}
        wanted = {name: len(data) for name, data in self.files.items()}
        if found != wanted:
            raise AssertionError("%s lists %s, there are %s" % (self.directory, found, wanted))

    def subtree(self):
        top = self.path("tree")
        for i in range(5):
            os.makedirs(os.path.join(top, str(i), "deep"))
            os.symlink("deep", os.path.join(top, str(i), "link"))
        shutil.rmtree(top)

    def finish(self):
        self.list()
        for name in self.files:
            self.check(name)


class LargeFiles(Load):
    """Writes files of many chunks in order and reads them back, three names in turn."""

    SIZE = 64 * MIB
    NAMES = 3

    def __init__(self, name, seed, mount):
        super().__init__(name, seed)
        self.directory = os.path.join(mount, name)
        self.turn = 0
        self.block = self.random.randbytes(MIB)

    def prepare(self):
        os.mkdir(self.directory)

    def content(self, turn, index):
        """A block that tells its file and place, at the price of no random numbers."""
        return b"%016d%016d" % (turn, index) + self.block[32:]

    def step(self):
        self.turn += 1
        path = os.path.join(self.directory, "large-%d" % (self.turn % self.NAMES))
        with open(path, "wb", buffering=0) as out:
            for index in range(self.SIZE // MIB):
                out.write(self.content(self.turn, index))
            forget_pages(out.fileno())
        self.count("written")
        with open(path, "rb", buffering=0) as file:
            for index in range(self.SIZE // MIB):
                if file.read(MIB) != self.content(self.turn, index):
                    raise AssertionError("%s, written in turn %d: block %d of 1 MiB is another" % (
                        path, self.turn, index))
        self.count("read")


class Copies(Load):
    """A tree into the cluster and out again by `sheaf cp`, each a session of its own."""

    FILES = 120

    def __init__(self, name, seed, mount, meta, local):
        super().__init__(name, seed)
        self.mount = mount
        self.meta = meta
        self.source = os.path.join(local, name + "-source")
        self.back = os.path.join(local, name + "-back")

    def prepare(self):
        for i in range(self.FILES):
            folder = os.path.join(self.source, "d%d" % (i % 7))
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, "f%d" % i), "wb") as out:
                out.write(self.random.randbytes(self.random.randrange(32 * KIB)))
        with open(os.path.join(self.source, "big"), "wb") as out:
            out.write(self.random.randbytes(12 * MIB))

    def copy(self, source, target):
        command([binary("sheaf"), "cp", "--meta", self.meta, source, target])

    def step(self):
        self.copy(self.source, "sheaf:/" + self.name)
        self.copy("sheaf:/" + self.name, self.back)
        for folder, _, names in os.walk(self.source):
            other = os.path.join(self.back, os.path.relpath(folder, self.source))
            _, different, missing = filecmp.cmpfiles(folder, other, names, shallow=False)
            if different or missing:
                raise AssertionError("%s after sheaf cp: other bytes in %s, missing %s" % (
                    other, different, missing))
        shutil.rmtree(self.back)
        shutil.rmtree(os.path.join(self.mount, self.name))
        self.count("there and back")


class Walks(Load):
    """Reads all that the others write, through the other mount; what is gone is skipped."""

    def __init__(self, name, seed, mount):
        super().__init__(name, seed)
        self.mount = mount

    def step(self):
        for folder, _, names in os.walk(self.mount):
            for name in names:
                try:
                    path = os.path.join(folder, name)
                    if stat.S_ISREG(os.lstat(path).st_mode):
                        with open(path, "rb") as file:
                            file.read(64 * KIB)
                        self.count("read")
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.ESTALE):
                        raise
                    self.count("gone")


class Commands(Load):
    """The commands of a person who looks on. Each opens a session and ends it."""

    PAUSE_SECONDS = 0.2
    FSCK_EVERY = 25

    def __init__(self, name, seed, meta):
        super().__init__(name, seed)
        self.meta = meta
        self.turn = 0

    def step(self):
        self.turn += 1
        state = json.loads(command([binary("sheaf"), "status", "--json", "--meta", self.meta]))
        self.count("status " + state["health"])
        if self.turn % self.FSCK_EVERY == 0:
            command([binary("sheaf"), "fsck", "--meta", self.meta])
            self.count("fsck")
        time.sleep(self.PAUSE_SECONDS)


def command(words):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=600)
    if done.returncode != 0:
        raise AssertionError("%s ended with %d\n%s%s" % (
            " ".join(words), done.returncode, done.stdout.decode(errors="replace")[-4000:],
            done.stderr.decode(errors="replace")[-4000:]))
    return done.stdout
