"""Two mounts of one cluster under random work on a small shared tree, with daemons killed meanwhile.

Every 64 bytes written (a *cell*) say which file, which offset, which writer and which operation
they are of, so that a byte in the wrong place, of another file or of a reclaimed block shows
itself. Three kinds of work go on at once:

 - *exact files*: operations of both mounts, one at a time a file, each from open to close. What a
   read must find is then known exactly.
 - *logs*: both mounts append at the same time. Every acknowledged record is there once, whole.
 - *held handles*: a file is open on one mount while the other unlinks it, replaces it or empties
   it; the handle reads what it read before.

An operation of a mount that was killed may have happened or not, at any time until its session is
fenced: the model keeps both.

SHEAF_SEED repeats the choices of a failed run (not its timing). SHEAF_CONSISTENCY_SECONDS sets the
length (60).
"""

import errno
import os
import random
import struct
import threading
import time
import unittest
import zlib

import cluster
from cluster import Cluster, binary, is_mounted, run

CELL = 64
FILES = 6
MAX_CELLS = 6000  # 384 KiB: several pieces, more than one checksum page
SECONDS = int(os.environ.get("SHEAF_CONSISTENCY_SECONDS", "60"))
SEED = int(os.environ.get("SHEAF_SEED") or random.SystemRandom().randrange(1 << 32))
# Longer than a session's lease and the removal of what its end lets go.
HOLD_SECONDS = min(25, max(5, SECONDS // 3))
ZERO = bytes(CELL)


def cell(file_id, index, writer, operation):
    head = struct.pack("<8sQQQQ", b"sheafcel", file_id, index, writer, operation)
    return head + zlib.crc32(head).to_bytes(4, "little") + bytes(CELL - len(head) - 4)


def describe(data):
    if data == ZERO:
        return "zeros"
    magic, file_id, index, writer, operation = struct.unpack("<8sQQQQ", data[:40])
    if magic != b"sheafcel" or zlib.crc32(data[:40]) != int.from_bytes(data[40:44], "little"):
        return "bytes never written: " + data[:16].hex()
    return "cell %d of file %d by writer %d, operation %d" % (index, file_id, writer, operation)


class Gone(Exception):
    """The mount was killed under the operation: it may have happened or not."""


class Mount(cluster.Mount):
    """Tells how often it was killed."""

    def __init__(self, owner, name):
        # Names are trusted for a second otherwise, and the model for none.
        super().__init__(owner, name, "entry_timeout=0")
        self.number = int(name[-1])
        self.kills = 0

    def kill(self):
        self.kills += 1  # before and after: a call that begins meanwhile is cut off, too
        super().kill()
        self.kills += 1


class Model:
    """What an exact file may hold. Guarded by `lock`, which an operation holds from its begin to
    its end, so that operations on one file never overlap (but those of killed mounts)."""

    def __init__(self, name):
        self.name = name
        self.lock = threading.Lock()
        self.file_id = 0  # 0: the file does not exist
        self.cells = []
        self.pending = []  # cells as an operation that may still happen would leave them
        self.done = []  # what was done, for a failure's text


class History:
    def __init__(self):
        self.lock = threading.Lock()
        self.next_file = 1
        self.next_operation = 1
        self.failures = []
        self.counts = {}

    def file_id(self):
        with self.lock:
            self.next_file += 1
            return self.next_file

    def operation(self):
        with self.lock:
            self.next_operation += 1
            return self.next_operation

    def fail(self, text):
        with self.lock:
            self.failures.append(text)

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1


class Worker(threading.Thread):
    """Random operations through one mount until told to stop."""

    def __init__(self, test, mount, number):
        super().__init__(daemon=True)
        self.test = test
        self.mount = mount
        self.number = number
        self.random = random.Random(SEED * 1000 + number)

    def run(self):
        while not self.test.stopping.is_set() and not self.test.history.failures:
            try:
                self.step()
            except Gone:
                # Until the mount is back; what it had open is lost with it.
                time.sleep(0.1)
            except Exception as error:  # pylint: disable=broad-except
                self.test.history.fail("worker %d: %r" % (self.number, error))

    def call(self, function, *args):
        """A system call; Gone where the mount was killed under it."""
        kills = self.mount.kills
        try:
            return function(*args)
        except OSError as error:
            if error.errno in (errno.ENOTCONN, errno.ECONNABORTED) or self.mount.kills != kills:
                raise Gone() from error
            # The bare directory under a mount that is not back yet.
            if not is_mounted(self.mount.path):
                raise Gone() from error
            raise

    def check_mounted(self, mount=None):
        mount = mount or self.mount
        if not mount.daemon.running() or not is_mounted(mount.path):
            raise Gone()


class ExactWorker(Worker):
    def step(self):
        model = self.random.choice(self.test.models)
        if not model.lock.acquire(timeout=1):
            return
        try:
            if model not in self.test.models:
                return  # whoever held it until now has given its name up
            self.check_mounted()
            kinds = ["create"] if model.file_id == 0 else (
                ["write"] * 5 + ["append"] * 2 + ["truncate"] * 3 + ["read"] * 4 +
                ["unlink", "replace"])
            kind = self.random.choice(kinds)
            before = len(model.cells)
            model.done.append("mount %d %s of %d" % (self.mount.number, kind, before))
            getattr(self, kind)(model)
            model.done[-1] += " to %d" % len(model.cells)
            self.test.history.count(kind)
        finally:
            model.lock.release()

    def path(self, model):
        return self.mount.join("shared", model.name)

    def data(self, file_id, first, count, operation):
        return b"".join(cell(file_id, first + i, self.number, operation) for i in range(count))

    def change(self, model, new_cells, action):
        """Runs `action`; the model becomes `new_cells`, or both, where the mount died under it."""
        try:
            action()
        except Gone:
            model.pending.append(new_cells)
            raise
        model.cells = new_cells

    def create(self, model, name=None):
        file_id = self.test.history.file_id()
        count = self.random.randrange(1, MAX_CELLS // 4)
        operation = self.test.history.operation()
        data = self.data(file_id, 0, count, operation)

        def action():
            fd = self.call(os.open, name or self.path(model),
                           os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            try:
                self.write_all(fd, data, 0)
            finally:
                self.call(os.close, fd)

        cells = [data[i:i + CELL] for i in range(0, len(data), CELL)]
        if name is None:
            try:
                action()
            except Gone:
                # An empty or half-written file may be there: known by the next look.
                self.forget(model)
                raise
            model.file_id, model.cells, model.pending = file_id, cells, []
        else:
            action()
        return file_id, cells

    def forget(self, model):
        """What the name stands for is unknown: it is not used again, others take its place."""
        self.test.retire(model)

    def write_all(self, fd, data, offset):
        while data:
            # Pieces of odd sizes, as programs write.
            piece = data[:self.random.choice([CELL, 4096, 70_000, len(data)])]
            written = self.call(os.pwrite, fd, piece, offset)
            data, offset = data[written:], offset + written

    def write(self, model):
        first = self.random.randrange(0, min(len(model.cells) + 50, MAX_CELLS))
        count = self.random.randrange(1, 1 + min(MAX_CELLS - first, self.random.choice([4, 400, 3000])))
        operation = self.test.history.operation()
        data = self.data(model.file_id, first, count, operation)
        cells = model.cells + [ZERO] * (first + count - len(model.cells))
        cells[first:first + count] = [data[i:i + CELL] for i in range(0, len(data), CELL)]

        def action():
            fd = self.call(os.open, self.path(model), os.O_RDWR)
            try:
                self.write_all(fd, data, first * CELL)
                # What was just written is read through the same handle.
                back = self.call(os.pread, fd, CELL, first * CELL)
                if back != data[:CELL]:
                    raise AssertionError("%s: own write not seen: %s" % (model.name, describe(back)))
                if self.random.random() < 0.3:
                    self.call(os.fsync, fd)
            finally:
                self.call(os.close, fd)

        self.change(model, cells, action)

    def append(self, model):
        if len(model.cells) >= MAX_CELLS:
            return
        first = len(model.cells)
        if model.pending:
            return  # where the end is, is not known exactly
        count = self.random.randrange(1, 40)
        operation = self.test.history.operation()
        data = self.data(model.file_id, first, count, operation)

        def action():
            fd = self.call(os.open, self.path(model), os.O_WRONLY | os.O_APPEND)
            try:
                self.call(os.write, fd, data)
            finally:
                self.call(os.close, fd)

        self.change(model, model.cells + [data[i:i + CELL] for i in range(0, len(data), CELL)],
                    action)

    def truncate(self, model):
        count = self.random.randrange(0, min(len(model.cells) + 100, MAX_CELLS))
        cells = (model.cells + [ZERO] * count)[:count]
        self.change(model, cells,
                    lambda: self.call(os.truncate, self.path(model), count * CELL))

    def read(self, model):
        fd = self.call(os.open, self.path(model), os.O_RDONLY)
        try:
            data = b""
            while True:
                part = self.call(os.pread, fd, 1 << 20, len(data))
                if not part:
                    break
                data += part
        finally:
            self.call(os.close, fd)
        self.test.check_exact(model, data, "mount %d" % self.mount.number)

    def unlink(self, model):
        try:
            self.call(os.unlink, self.path(model))
        except Gone:
            self.forget(model)
            raise
        model.file_id, model.cells, model.pending = 0, [], []

    def replace(self, model):
        """A new file renamed over the old one, as editors save."""
        temporary = self.path(model) + ".new-%d" % self.test.history.operation()
        try:
            file_id, cells = self.create(model, temporary)
            self.call(os.rename, temporary, self.path(model))
        except Gone:
            self.forget(model)
            raise
        model.file_id, model.cells, model.pending = file_id, cells, []


class Appender(Worker):
    """Appends records to a log that the other mount appends to at the same time."""

    def __init__(self, test, mount, number):
        super().__init__(test, mount, number)
        self.acknowledged = []
        self.fd = None
        self.fd_kills = -1
        self.begun = 0

    def step(self):
        self.check_mounted()
        if self.fd is None or self.fd_kills != self.mount.kills:
            self.fd_kills = self.mount.kills
            self.fd = self.call(os.open, self.mount.join("shared", "log"),
                                os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        operation = self.test.history.operation()
        count = self.random.randrange(1, 20)
        data = b"".join(cell(1, i, self.number, operation) for i in range(count))
        self.begun += 1
        if self.call(os.write, self.fd, data) != len(data):
            raise AssertionError("an append was cut short")
        self.call(os.fsync, self.fd)
        self.acknowledged.append((operation, count))
        self.test.history.count("log append")


class Holder(Worker):
    """Holds a handle on one mount while the other does away with what it names."""

    def __init__(self, test, mount, other, number):
        super().__init__(test, mount, number)
        self.other = other

    def step(self):
        self.check_mounted()
        self.check_mounted(self.other)
        kills = (self.mount.kills, self.other.kills)
        file_id = self.test.history.file_id()
        data = b"".join(cell(file_id, i, self.number, 0) for i in range(3000))
        name = "held-%d" % file_id
        path = self.mount.join("shared", name)
        there = self.other.join("shared", name)
        with open(path, "wb") as out:
            out.write(data)
        fd = self.call(os.open, path, os.O_RDONLY | self.random.choice([0, os.O_DIRECT]))
        try:
            way = self.random.choice(["unlink", "rename over", "empty"])
            if way == "unlink":
                os.unlink(there)
            elif way == "rename over":
                with open(there + ".new", "wb") as out:
                    out.write(b"other bytes" * 1000)
                os.rename(there + ".new", there)
            else:
                os.close(os.open(there, os.O_WRONLY | os.O_TRUNC))
            deadline = time.monotonic() + HOLD_SECONDS
            while time.monotonic() < deadline and not self.test.stopping.is_set():
                got = self.call(os.pread, fd, len(data), 0)
                # A file that was emptied may show its new length.
                if got != data and not (way == "empty" and got == b""):
                    bad = next((i for i in range(0, len(data), CELL)
                                if got[i:i + CELL] != data[i:i + CELL]), 0)
                    raise AssertionError("%s, %s by mount %d: handle of mount %d reads %d bytes, "
                                         "at %d: %s" % (name, way, self.other.number,
                                                        self.mount.number, len(got), bad,
                                                        describe(got[bad:bad + CELL] or ZERO)))
                time.sleep(0.5)
            self.test.history.count("held, " + way)
        except OSError as error:
            if (self.mount.kills, self.other.kills) != kills:
                raise Gone() from error
            raise
        finally:
            try:
                os.close(fd)
            except OSError:
                pass


class TwoMountsTest(unittest.TestCase):
    def setUp(self):
        print("SHEAF_SEED=%d SHEAF_CONSISTENCY_SECONDS=%d" % (SEED, SECONDS), flush=True)
        self.random = random.Random(SEED)
        self.history = History()
        self.stopping = threading.Event()
        self.models = [Model("file-%d" % i) for i in range(FILES)]
        self.made = FILES
        self.models_lock = threading.Lock()

    def retire(self, model):
        """Another name takes the place of one of which nothing is known."""
        with self.models_lock:
            if model in self.models:
                self.made += 1
                self.models[self.models.index(model)] = Model("file-%d" % self.made)

    def check_exact(self, model, data, where):
        """REQUIRES: model.lock is held."""
        got = [data[i:i + CELL] for i in range(0, len(data), CELL)]
        states = [model.cells] + model.pending
        if len(got) * CELL != len(data) or len(got) not in {len(cells) for cells in states}:
            # A killed writer's bytes may reach as far as they were, piece by piece.
            if not model.pending or len(data) > CELL * max(len(cells) for cells in states):
                raise AssertionError("%s: %s has %d cells, not %d (%d may be pending) after %s" % (
                    where, model.name, len(data) / CELL, len(model.cells), len(model.pending),
                    model.done[-12:]))
        for i, found in enumerate(got):
            if len(found) == CELL and i < len(model.cells) and found == model.cells[i]:
                continue
            allowed = [cells[i] if i < len(cells) else ZERO for cells in states]
            if len(found) == CELL and found not in allowed:
                raise AssertionError("%s: %s at cell %d of %d: %s, not %s after %s" % (
                    where, model.name, i, len(got), describe(found),
                    " or ".join(describe(each) for each in allowed), model.done[-12:]))

    def disturb(self, cluster, mounts):
        """Kills one daemon and brings it back."""
        kind = self.random.choice(["storage", "storage", "meta", "mount"])
        self.history.count("killed " + kind)
        if kind == "mount":
            mount = self.random.choice(mounts)
            mount.kill()
            mount.start()
            return
        server = cluster.meta if kind == "meta" else self.random.choice(cluster.storage)
        server.kill()
        cluster.start_servers()

    def check_log(self, cluster_path, appenders):
        with open(os.path.join(cluster_path, "log"), "rb") as log:
            data = log.read()
        seen = {}
        at = 0
        while at + CELL <= len(data):
            first = data[at:at + CELL]
            if first == ZERO:  # reserved by a mount that was killed
                at += CELL
                continue
            self.assertNotIn("never", describe(first), "log at %d" % at)
            _, file_id, index, writer, operation = struct.unpack("<8sQQQQ", first[:40])
            self.assertEqual(file_id, 1, "log at %d: %s" % (at, describe(first)))
            count = seen.setdefault((writer, operation), [])
            self.assertEqual(index, len(count), "log at %d: %s" % (at, describe(first)))
            count.append(at)
            at += CELL
        self.assertEqual(at, len(data), "the log ends within a cell")
        order = {}
        for appender in appenders:
            for operation, cells in appender.acknowledged:
                places = seen.get((appender.number, operation), [])
                self.assertEqual(len(places), cells, "append %d of writer %d: lost or cut" % (
                    operation, appender.number))
                self.assertGreater(places[0], order.get(appender.number, -1), "appends reordered")
                self.assertEqual(places[-1] - places[0], (cells - 1) * CELL, "an append was torn")
                order[appender.number] = places[0]
        return data

    def test_both_agree_whatever_is_killed(self):
        with Cluster(storage=2) as cluster:
            cluster.fuse.stop()  # two mounts of our own instead
            mounts = [Mount(cluster, "mount%d" % i) for i in range(2)]
            try:
                self.run_work(cluster, mounts)
            except BaseException:
                for mount in mounts:
                    print(mount.daemon.log_tail(), flush=True)
                raise
            finally:
                for mount in mounts:
                    mount.kill()

    def run_work(self, cluster, mounts):
        for mount in mounts:
            mount.start()
        os.mkdir(mounts[0].join("shared"))
        appenders = [Appender(self, mount, 30 + i) for i, mount in enumerate(mounts)]
        workers = [ExactWorker(self, mounts[i % 2], i + 1) for i in range(4)]
        holders = [Holder(self, mounts[0], mounts[1], 50)]
        threads = [*appenders, *workers, *holders]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and not self.history.failures:
            time.sleep(self.random.uniform(1, 5))
            self.disturb(cluster, mounts)
        self.stopping.set()
        for thread in threads:
            thread.join(120)
            self.assertFalse(thread.is_alive(), "a worker hangs")
        print(self.history.counts, flush=True)
        self.assertEqual(self.history.failures, [])
        self.assertGreater(sum(len(each.acknowledged) for each in appenders), 0)
        self.compare(cluster, mounts, appenders)

    def compare(self, cluster, mounts, appenders):
        """Both mounts, a fresh third one, fsck and the history agree."""
        third = Mount(cluster, "mount2")
        third.start()
        try:
            logs = [self.check_log(mount.join("shared"), appenders) for mount in [*mounts, third]]
            self.assertTrue(all(log == logs[0] for log in logs), "the mounts show different logs")
            for model in self.models:
                if model.file_id == 0:
                    for mount in [*mounts, third]:
                        self.assertFalse(os.path.exists(mount.join("shared", model.name)))
                    continue
                contents = []
                for mount in [*mounts, third]:
                    with open(mount.join("shared", model.name), "rb") as file:
                        contents.append(file.read())
                    self.check_exact(model, contents[-1], "mount %d at the end" % mount.number)
                self.assertTrue(all(each == contents[0] for each in contents),
                                model.name + ": the mounts show different bytes")
        finally:
            third.stop()
        print(run([binary("sheaf"), "fsck", "--meta", cluster.meta_address], seconds=120))


if __name__ == "__main__":
    unittest.main(verbosity=2)
