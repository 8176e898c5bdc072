"""Load of replicas_test.py, and the oracle that judges it. The oracle is in the test's process, out of
reach of any fault: of every file it has what was acknowledged by fsync or close, and each change
that was begun since and may be there or not.

One thread changes a file; any number read it meanwhile, through any mount.
"""

import collections
import contextlib
import errno
import os
import random
import threading
import time
import traceback
import zlib

KIB = 1 << 10
MIB = 1 << 20
PAGE = 4 * KIB  # a write or a read is cut at multiples of it, where it is cut
RECORD = 64
MOST_PIECES = 3  # of a page that is read while it is written


def clock():
    return "%.3f" % (time.time() % 3600)


def describe(step, found, at):
    """A change, and whether the bytes that were found there are its."""
    if step is None:
        return "acknowledged"
    begin, data = step
    if data is None:
        return "truncated to %d" % begin
    text = "written %d to %d" % (begin, begin + len(data))
    if begin <= at < begin + len(data):
        text += ", there: " + ("these bytes" if data[at - begin:][:8] == found[at:][:len(
            data[at - begin:][:8])] else "others")
    return text


class WrongByte(AssertionError):
    def __init__(self, at, text):
        super().__init__(text)
        self.at = at


def after(content, step):
    """`content` as one change leaves it: a write (offset, bytes), or a truncate (length, None)."""
    at, data = step
    if data is None:
        return content[:at].ljust(at, b"\0")
    return content[:at].ljust(at, b"\0") + data + content[at + len(data):]


def alike(one, other):
    """How many bytes are the same in both, wherever they are."""
    return sum(a == b for a, b in zip(one, other))


def is_of(part, states):
    """Whether it is as one of them has it, or torn between a few: the kernel copies into a page of its
    cache, and out of it, with no lock between the two, on any file system."""
    at = 0
    for _ in range(MOST_PIECES):
        longest = max(prefix(part[at:], state[at:]) for state in states)
        at += longest
        if longest == 0 or at == len(part):
            break
    return at == len(part)


def prefix(one, other):
    """How many bytes they begin with that are the same."""
    if one == other:
        return len(one)
    return next(i for i, (a, b) in enumerate(zip(one, other)) if a != b)


def check_bytes(name, found, told, steps):
    """Every byte is as it was acknowledged, or as one of the changes since has left it."""
    states = [told]
    for step in steps:
        states.append(after(states[-1], step))
    if found in states:
        return
    lengths = [len(state) for state in states]
    if not min(lengths) <= len(found) <= max(lengths):
        raise AssertionError("%s: %d bytes, %s were written, the first of them acknowledged" % (
            name, len(found), " or ".join(map(str, lengths))))
    size = max(lengths)
    states = [state.ljust(size, b"\0") for state in states]
    edges = {at + end for at, data in steps if data is not None for end in (0, len(data))}
    edges.update(at for at, data in steps if data is None)
    edges.update(range(0, len(found), PAGE))
    edges.update(lengths + [len(found)])
    edges = sorted(edge for edge in edges if edge <= len(found))
    for begin, end in zip(edges, edges[1:]):
        part = found[begin:end]
        if not is_of(part, [state[begin:end] for state in states]):
            at = next(i for i in range(begin, end) if found[i] != told.ljust(size, b"\0")[i])
            raise WrongByte(
                at, "%s: byte %d of %d is neither as acknowledged nor as any of %d changes since left it"
                " (found %s, acknowledged %s); of %d to %d it has: %s" % (
                    name, at, len(found), len(steps), found[at:at + 8].hex(),
                    told[at:at + 8].hex(), begin, end,
                    ", ".join("%d bytes of state %d" % (alike(part, state[begin:end]), i)
                              for i, state in enumerate(states))))


class File:
    """What a file may hold. Guarded by `lock`, which is never held across a system call."""

    def __init__(self):
        self.lock = threading.Lock()
        self.told = b""  # acknowledged
        self.steps = []  # the changes since, and for readers under way some before
        self.first = 0  # the number of steps[0]
        self.acknowledged = 0  # steps of a lower number
        self.readers = 0
        self.moves = 0  # odd: its name may be another's or nobody's
        self.now = b""  # as its writer has left it
        self.past = collections.deque(maxlen=24)  # (when, step), for a failure's text

    def begin(self, step):
        with self.lock:
            self.past.append((clock(), step))
            self.steps.append(step)
            self.now = after(self.now, step)

    def acknowledge(self):
        """All that was begun: fsync or close has returned."""
        with self.lock:
            self.past.append((clock(), None))
            self.told = self.now
            self.acknowledged = self.first + len(self.steps)
            if self.readers == 0:
                self.steps, self.first = [], self.acknowledged

    def check(self, name, found, told, steps):
        try:
            check_bytes(name, found, told, steps)
        except WrongByte as wrong:
            raise AssertionError("%s\n%s" % (wrong, "\n".join(
                "  %s %s" % (when, describe(step, found, wrong.at)) for when, step in self.past)))

    @contextlib.contextmanager
    def moving(self):
        """The name is another's or nobody's from some time inside on."""
        self.moves += 1
        yield
        self.moves += 1


class Look:
    """One reading of a file that may change meanwhile."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        with self.file.lock:
            self.file.readers += 1
            self.told, self.number = self.file.told, self.file.acknowledged
            self.moves = self.file.moves
        return self

    def __exit__(self, *_):
        with self.file.lock:
            self.file.readers -= 1

    def moved(self):
        """Whether the name may have been another file's all along, or no file's."""
        return self.moves % 2 == 1 or self.file.moves != self.moves

    def judge(self, name, found):
        with self.file.lock:
            steps = self.file.steps[self.number - self.file.first:]
        if not self.moved():
            self.file.check(name, found, self.told, steps)


class Stopped(Exception):
    """Of a load that has done enough."""


class Pace:
    """Where the threads of a load wait while the test looks at what they have left."""

    def __init__(self):
        self.changed = threading.Condition()
        self.paused = False
        self.stopped = False
        self.under_way = {}  # thread name -> what it does
        self.failures = []
        # While set: what may have failed without being one, since no replica remained.
        self.forgiving = False
        self.forgiven = 0
        self.counts = {}
        self.slowest = (0.0, "")
        self.done = 0

    @contextlib.contextmanager
    def step(self, what):
        """One operation; not begun while the load is paused."""
        name = threading.current_thread().name
        with self.changed:
            self.changed.wait_for(lambda: not self.paused or self.stopped)
            if self.stopped:
                raise Stopped
            self.under_way[name] = what
        start = time.monotonic()
        try:
            yield
        finally:
            with self.changed:
                del self.under_way[name]
                self.counts[what] = self.counts.get(what, 0) + 1
                self.slowest = max(self.slowest, (time.monotonic() - start, what))
                self.done += 1
                self.changed.notify_all()

    def pause(self, seconds):
        with self.changed:
            self.paused = True
            if not self.changed.wait_for(lambda: not self.under_way, seconds):
                raise AssertionError("not ended within %d s: %s" % (seconds, self.under_way))

    def go_on(self):
        with self.changed:
            self.paused = False
            self.slowest = (0.0, "")
            self.changed.notify_all()

    def wait_for_progress(self, steps, seconds):
        with self.changed:
            goal = self.done + steps
            if not self.changed.wait_for(lambda: self.done >= goal or self.failures, seconds):
                raise AssertionError("no %d operations within %d s; under way: %s" % (
                    steps, seconds, self.under_way))

    def stop(self):
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def fail(self, text):
        with self.changed:
            self.failures.append(text)
            self.changed.notify_all()


class Worker(threading.Thread):
    def __init__(self, name, seed, pace):
        super().__init__(name=name, daemon=True)
        self.random = random.Random("%s %s" % (seed, name))
        self.pace = pace

    def run(self):
        try:
            while not self.pace.failures:
                self.work()
        except Stopped:
            pass
        except BaseException:  # all of it belongs into the test's failure
            self.pace.fail("%s, %s: %s" % (time.strftime("%H:%M:%S"), self.name,
                                           traceback.format_exc()))

    def work(self):
        raise NotImplementedError


class Writer(Worker):
    """Changes files of its own, in a folder of its own."""

    MOST_FILES = 6
    MOST_BYTES = 6 * MIB  # two chunks and more

    def __init__(self, name, seed, pace, mount):
        super().__init__(name, seed, pace)
        self.mount = mount
        self.files = {}  # name -> File
        self.doubtful = []  # (File, the names it may have): a call failed
        self.made = 0
        self.operations = [
            (self.create, 3), (self.overwrite, 6), (self.append, 4), (self.sync_often, 4),
            (self.truncate, 2), (self.read, 4), (self.rename, 2), (self.remove, 1)]
        os.mkdir(self.path(""))

    def path(self, name):
        return os.path.join(self.mount, self.name, name)

    def work(self):
        operation = self.random.choices(*zip(*self.operations))[0]
        if len(self.files) == 0 or operation == self.create and len(self.files) < self.MOST_FILES:
            name = self.new_name()
            self.attempt(self.create, name, File())
        elif operation != self.create:
            name = self.random.choice(sorted(self.files))
            self.attempt(operation, name, self.files[name])

    def new_name(self):
        self.made += 1
        return "f%d" % self.made

    def attempt(self, operation, name, file):
        with self.pace.step(operation.__name__):
            self.names = {name}
            try:
                operation(name, file)
            except OSError as error:
                if not self.pace.forgiving:
                    raise
                # The names too: a rename may have happened.
                with self.pace.changed:
                    self.pace.forgiven += 1
                for each in self.names:
                    moved = self.files.pop(each, None)
                    if moved not in (None, file):
                        self.doubtful.append((moved, self.names))
                self.doubtful.append((file, self.names))
                print("%s: %s of %s: %s" % (self.name, operation.__name__, name, error), flush=True)

    def data(self):
        return self.random.randbytes(self.random.choice([
            self.random.randrange(1, 200), self.random.randrange(1, 70 * KIB), 4096,
            self.random.randrange(1, 2 * MIB)]))

    def write(self, fd, file, at, data):
        # Few pieces of odd sizes, as programs write. Each is a change of its own.
        size = max(len(data) // 4, self.random.choice([4096, 70_000, len(data)]))
        for begin in range(0, len(data), size):
            piece = data[begin:begin + size]
            file.begin((at + begin, piece))
            if os.pwrite(fd, piece, at + begin) != len(piece):
                raise AssertionError("a write was cut short")

    @contextlib.contextmanager
    def opened(self, name, file, flags):
        """What was written inside is acknowledged when close has returned."""
        fd = os.open(self.path(name), flags, 0o644)
        try:
            yield fd
        finally:
            # A failure to write back is told here.
            os.close(fd)
        file.acknowledge()

    def create(self, name, file):
        with self.opened(name, file, os.O_CREAT | os.O_EXCL | os.O_WRONLY) as fd:
            self.write(fd, file, 0, self.data())
        self.files[name] = file

    def overwrite(self, name, file):
        flags = self.random.choice([0, 0, os.O_SYNC])
        with self.opened(name, file, os.O_RDWR | flags) as fd:
            for _ in range(self.random.randrange(1, 4)):
                data = self.data()
                most = min(len(file.now) + 100 * KIB, self.MOST_BYTES - len(data))
                self.write(fd, file, self.random.randrange(most), data)

    def append(self, name, file):
        data = self.data()
        if len(file.now) + len(data) > self.MOST_BYTES:
            return
        with self.opened(name, file, os.O_WRONLY | os.O_APPEND) as fd:
            file.begin((len(file.now), data))
            if os.write(fd, data) != len(data):
                raise AssertionError("an append was cut short")

    def sync_often(self, name, file):
        with self.opened(name, file, os.O_RDWR) as fd:
            for _ in range(self.random.randrange(2, 8)):
                data = self.data()[:64 * KIB]
                self.write(fd, file, self.random.randrange(len(file.now) + 1), data)
                os.fsync(fd)
                file.acknowledge()

    def truncate(self, name, file):
        length = self.random.randrange(min(len(file.now) + 50 * KIB, self.MOST_BYTES))
        file.begin((length, None))
        os.truncate(self.path(name), length)
        file.acknowledge()

    def read(self, name, file):
        self.check(self.path(name), file)

    @staticmethod
    def check(path, file):
        with Look(file) as look, open(path, "rb") as found:
            if random.random() < 0.5:
                os.posix_fadvise(found.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            look.judge(path, found.read())

    def rename(self, name, file):
        """To another name, which may be taken."""
        to = self.random.choice(sorted(self.files) + [self.new_name()])
        if to == name:
            return
        self.names.add(to)
        other = self.files.get(to)
        if other is not None:
            other.moves += 1  # for good
        with file.moving():
            os.rename(self.path(name), self.path(to))
            del self.files[name]
            self.files[to] = file

    def remove(self, name, file):
        file.moves += 1  # for good
        os.unlink(self.path(name))
        del self.files[name]

    def check_all(self, mount):
        """With nothing under way, through any mount: each file, and that there is no other."""
        folder = os.path.join(mount, self.name)
        maybe = set().union(*(names for _, names in self.doubtful))
        found = set(os.listdir(folder))
        if found - maybe != set(self.files) - maybe:
            raise AssertionError("%s lists %s, there are %s, and perhaps %s" % (
                folder, sorted(found), sorted(self.files), sorted(maybe)))
        for name, file in self.files.items():
            if name not in maybe:
                self.check(os.path.join(folder, name), file)
        for name in maybe & found:
            self.check_doubtful(os.path.join(folder, name), [
                file for file, names in self.doubtful if name in names])

    def check_doubtful(self, path, files):
        with open(path, "rb") as file:
            found = file.read()
        problems = []
        for file in files:
            try:
                file.check(path, found, file.told, file.steps)
                return
            except AssertionError as problem:
                problems.append(str(problem))
        raise AssertionError("; ".join(problems))

    def forget_doubtful(self):
        """They have been judged, and are used no more."""
        for _, names in self.doubtful:
            for name in names - set(self.files):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path(name))
        self.doubtful = []


class Reader(Worker):
    """Reads the files of all writers, while they change."""

    def __init__(self, name, seed, pace, mount, writers):
        super().__init__(name, seed, pace)
        self.mount = mount
        self.writers = writers

    def work(self):
        writer = self.random.choice(self.writers)
        files = list(writer.files.items())
        if not files:
            return
        name, file = self.random.choice(files)
        path = os.path.join(self.mount, writer.name, name)
        with self.pace.step("read by another"), Look(file) as look:
            if writer.files.get(name) is not file or look.moved():
                return
            try:
                with open(path, "rb") as found:
                    os.posix_fadvise(found.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    look.judge(path, found.read())
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ESTALE) and look.moved():
                    return
                if not self.pace.forgiving:
                    raise


class Appender(Worker):
    """Appends records to a log that others append to at the same time."""

    def __init__(self, name, seed, pace, mount, number):
        super().__init__(name, seed, pace)
        self.path = os.path.join(mount, "log")
        self.number = number
        self.begun = 0
        self.acknowledged = {}  # append -> its records
        self.doubtful = False

    def records(self, append, count):
        head = [b"%d %d %d %d " % (self.number, append, i, count) for i in range(count)]
        return b"".join((each + b"%08x " % zlib.crc32(each)).ljust(RECORD - 1, b".") + b"\n"
                        for each in head)

    def work(self):
        with self.pace.step("log append"):
            try:
                fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
                try:
                    for _ in range(5):
                        self.append(fd)
                finally:
                    os.close(fd)
            except OSError:
                if not self.pace.forgiving:
                    raise
                self.doubtful = True

    def append(self, fd):
        self.begun += 1
        count = self.random.randrange(1, 40)
        data = self.records(self.begun, count)
        if os.write(fd, data) != len(data):
            raise AssertionError("an append was cut short")
        os.fsync(fd)
        self.acknowledged[self.begun] = count


def check_log(path, appenders):
    """Every acknowledged append is there once, whole, in order; nothing else but what failed."""
    with open(path, "rb") as file:
        data = file.read()
    seen = {}
    for at in range(0, len(data), RECORD):
        record = data[at:at + RECORD]
        if not record.strip(b"\0"):
            if not any(each.doubtful for each in appenders):
                raise AssertionError("%s at %d: a hole" % (path, at))
            continue
        words = record.split(b" ")
        head = b" ".join(words[:4]) + b" "
        if len(words) < 6 or words[4] != b"%08x" % zlib.crc32(head):
            raise AssertionError("%s at %d: never written: %r" % (path, at, record))
        writer, append, index, _ = map(int, words[:4])
        places = seen.setdefault((writer, append), [])
        if index != len(places):
            raise AssertionError("%s at %d: record %d of append %d by %d, after %d of them" % (
                path, at, index, append, writer, len(places)))
        places.append(at)
    for each in appenders:
        last = -1
        for append, count in each.acknowledged.items():
            places = seen.get((each.number, append), [])
            if len(places) != count or places[-1] - places[0] != (count - 1) * RECORD:
                raise AssertionError("%s: append %d by %d has %d of %d records" % (
                    path, append, each.number, len(places), count))
            if places[0] < last:
                raise AssertionError("%s: append %d by %d is before the one before" % (
                    path, append, each.number))
            last = places[-1]


class ReplicatedLoad:
    """Writers, readers and appenders over two mounts."""

    def __init__(self, mounts, seed):
        self.pace = Pace()
        self.mounts = mounts
        self.writers = [Writer("writer-%d" % i, seed, self.pace, mounts[i % len(mounts)])
                        for i in range(4)]
        self.appenders = [Appender("appender-%d" % i, seed, self.pace, mount, i)
                          for i, mount in enumerate(mounts)]
        self.readers = [Reader("reader-%d" % i, seed, self.pace, mount, self.writers)
                        for i, mount in enumerate(mounts)]
        self.threads = [*self.writers, *self.appenders, *self.readers]
        for thread in self.threads:
            thread.start()

    def check(self, mount):
        """REQUIRES: it is paused."""
        for writer in self.writers:
            writer.check_all(mount)
        check_log(os.path.join(mount, "log"), self.appenders)

    def forget_doubtful(self):
        for writer in self.writers:
            writer.forget_doubtful()

    def stop(self):
        self.pace.stop()

    def join(self, seconds):
        deadline = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                raise AssertionError(thread.name + " hangs")
