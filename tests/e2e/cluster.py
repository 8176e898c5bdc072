"""A whole cluster of real processes for one test program, mounted, and cleaned up however it ends.

    with Cluster(mount_options="allow_other") as cluster:
        open(cluster.mount + "/file", "w").close()

SHEAF_BIN names the folder with the binaries (ctest sets it). SHEAF_E2E_KEEP=1 leaves the state
directory behind for a look at the logs. Programs fail rather than skip when CI=true and /dev/fuse
is missing.
"""

import atexit
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

START_SECONDS = 60  # for the servers to become healthy, then for the mount
STOP_SECONDS = 60  # for processes to end after SIGTERM


def binary(name):
    folder = os.environ.get("SHEAF_BIN")
    if not folder:
        sys.exit("SHEAF_BIN is not set: give the folder with the binaries, as build/dev/bin")
    return os.path.join(folder, name)


def check_fuse():
    """Skips where there is no FUSE, but never in CI."""
    if os.path.exists("/dev/fuse"):
        return
    if os.environ.get("CI") == "true":
        raise AssertionError("/dev/fuse is missing: run modprobe fuse")
    raise unittest.SkipTest("/dev/fuse is missing")


def wait_until(condition, seconds, what):
    """Asks again and again, since what happens in other processes cannot be waited for."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("%s: not within %d s" % (what, seconds))
        time.sleep(0.05)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_mounted(path):
    with open("/proc/self/mountinfo") as lines:
        return any(line.split()[4] == path for line in lines)


class Daemon:
    """A process of this program's own that runs in the foreground, with its log."""

    def __init__(self, name, command, log):
        self.name = name
        self.command = command
        self.log = log
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        """SIGTERM, and a failure unless it ends well and in time."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("%s did not end within %d s of SIGTERM" % (self.name,
                                                                            STOP_SECONDS))
        self.process = None
        if code != 0:
            raise AssertionError("%s ended with %d\n%s" % (self.name, code, self.log_tail()))

    def kill(self):
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process = None

    def log_tail(self):
        return tail(self.name, self.log)


class Server:
    """One server that `sheaf up` started, by its pid file."""

    def __init__(self, name, directory):
        self.name = name
        self.pid_file = os.path.join(directory, "run", name + ".pid")
        self.config = os.path.join(directory, "config", name + ".toml")
        self.data = os.path.join(directory, "data", name)
        self.log = os.path.join(directory, "log", name + ".log")

    def add_directory(self):
        """A second target, from the next start on. A server is known for who it is by any of them."""
        with open(self.config) as file:
            text = file.read()
        one = 'targets = ["%s"]' % self.data
        assert one in text, text
        with open(self.config, "w") as file:
            file.write(text.replace(one, 'targets = ["%s", "%s-b"]' % (self.data, self.data)))

    def configure(self, line):
        """One more line of its configuration, from the next start on."""
        with open(self.config) as file:
            text = file.read()
        with open(self.config, "w") as file:
            file.write(line + "\n" + text)

    def pid(self):
        try:
            with open(self.pid_file) as file:
                return int(file.read().split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def running(self):
        pid = self.pid()
        try:
            with open("/proc/%s/stat" % pid) as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def send(self, number):
        if self.running():
            os.kill(self.pid(), number)

    def kill(self):
        self.send(signal.SIGKILL)
        wait_until(lambda: not self.running(), 30, "the end of " + self.name)

    def stop(self):
        self.send(signal.SIGTERM)
        wait_until(lambda: not self.running(), STOP_SECONDS, "the end of " + self.name)

    def tell_to_stop(self):
        """As stop, and does not wait."""
        self.send(signal.SIGTERM)

    def freeze(self):
        self.send(signal.SIGSTOP)

    def go_on(self):
        self.send(signal.SIGCONT)

    def log_tail(self):
        return tail(self.name, self.log)


def tail(name, path, lines=20):
    try:
        with open(path, errors="replace") as log:
            return "--- %s\n%s" % (name, "".join(log.readlines()[-lines:]))
    except FileNotFoundError:
        return "--- %s: no log" % name


class Runner:
    """A process forked before any file of a mount is open, for the commands that start and stop servers.
    A child of a process that writes through a mount closes its copies of the open files before it can
    exec; each close waits for the servers, and these would never be started."""

    def __init__(self):
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=self.work, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def work(self, pipe):
        self.pipe.close()
        while True:
            try:
                command, seconds = pipe.recv()
            except EOFError:
                return
            try:
                answer = run(command, seconds)
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                answer = AssertionError(str(error))
            pipe.send(answer)

    def run(self, command, seconds):
        self.pipe.send((command, seconds))
        answer = self.pipe.recv()
        if isinstance(answer, AssertionError):
            raise answer
        return answer

    def stop(self):
        self.pipe.close()
        self.process.join(10)
        self.process.kill()


def start_mount(daemon, path):
    """Returns once it serves."""
    daemon.start()

    def mounted():
        if not daemon.running():
            raise AssertionError("%s has ended\n%s" % (daemon.name, daemon.log_tail()))
        return is_mounted(path)

    wait_until(mounted, START_SECONDS, "a mount at " + path)
    os.stat(path)


def unmount_lazily(path):
    while is_mounted(path):
        command = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-uz"]
        if subprocess.run([*command, path]).returncode != 0:
            break


class Mount:
    """One more mount of a cluster, which can be killed and started again at the same place. It goes
    with the cluster."""

    def __init__(self, cluster, name, options=""):
        self.path = os.path.join(cluster.root, name)
        os.mkdir(self.path)
        self.daemon = Daemon(name, [
            binary("sheaf-fuse"), "--meta", cluster.meta_address, "--foreground",
            *(["-o", options] if options else []), self.path
        ], os.path.join(cluster.root, name + ".log"))
        cluster.mounts.append(self)

    def start(self):
        start_mount(self.daemon, self.path)

    def stop(self):
        """As an operator would."""
        self.daemon.stop()

    def kill(self):
        self.daemon.kill()
        unmount_lazily(self.path)

    def join(self, *names):
        return os.path.join(self.path, *names)


class Cluster:
    """Servers through `sheaf up`; the mount is this program's own process, for its options."""

    def __init__(self, storage=1, mount_options="", replicas=1):
        check_fuse()
        self.runner = Runner()
        # However this program ends, short of SIGKILL, nothing stays behind.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
        atexit.register(self.clean_up)
        self.root = tempfile.mkdtemp(prefix="sheaf-e2e.", dir=os.environ.get("SHEAF_E2E_DIR"))
        # Other users reach the mount through this directory.
        os.chmod(self.root, 0o755)
        self.directory = os.path.join(self.root, "cluster")
        self.mount = os.path.join(self.root, "mnt")
        os.mkdir(self.mount)
        self.meta = Server("meta", self.directory)
        self.storage = [Server("storage-%d" % i, self.directory) for i in range(storage)]
        self.replicas = replicas
        self.meta_address = None
        self.mount_options = ",".join(
            filter(None, ["allow_other" if os.geteuid() == 0 else "", mount_options]))
        self.fuse = Daemon("sheaf-fuse", [], os.path.join(self.root, "fuse.log"))
        self.mounts = []  # the others
        self.at_end = []  # called once no process runs any more, before the files go

    def start_servers(self):
        """Those that do not run; returns when all are healthy."""
        known = [] if self.meta_address else ["--storage", str(len(self.storage)),
                                              "--replicas", str(self.replicas)]
        self.runner.run([binary("sheaf"), "up", "--dir", self.directory, "--no-mount", *known],
                        START_SECONDS + 60)
        with open(os.path.join(self.directory, "meta.addr")) as file:
            self.meta_address = file.read().strip()

    def start_server(self, server):
        """One alone, of which `sheaf up` has written the configuration; returns at once."""
        program = binary("sheaf-meta" if server is self.meta else "sheaf-storage")
        self.runner.run(["sh", "-c", 'setsid "$1" --config "$2" </dev/null >>"$3" 2>&1 & echo $! >"$4"',
                         "sh", program, server.config, server.log + ".out", server.pid_file],
                        START_SECONDS)

    def status(self):
        """Of `sheaf status --json`; None while the metadata service does not answer."""
        try:
            return json.loads(self.runner.run([binary("sheaf"), "status", "--json", "--meta",
                                               self.meta_address], START_SECONDS))
        except AssertionError:
            return None

    def wait_for_health(self, seconds):
        """Until every chain has all its replicas. A chain whose head has come back may still be of
        the time before, so every server must be known by its process of now."""
        def healthy():
            status = self.status()
            return status and status["health"] == "ok" and {
                server.pid() for server in self.storage
            } <= {node.get("pid") for node in status["nodes"]}

        wait_until(healthy, seconds, "a healthy cluster")

    def servers_of(self, status, chain):
        """Those that serve a chain, head first."""
        pids = {node["id"]: node.get("pid") for node in status["nodes"]}
        nodes = {target["id"]: target["node"] for target in status["targets"]}
        servers = {server.pid(): server for server in self.storage}
        return [servers[pids[nodes[member["id"]]]] for member in chain["targets"]
                if member["state"] == "serving"]

    def stop_servers(self):
        self.runner.run([binary("sheaf"), "down", "--dir", self.directory], STOP_SECONDS)

    def start_mount(self):
        options = ["-o", self.mount_options] if self.mount_options else []
        self.fuse.command = [binary("sheaf-fuse"), "--meta", self.meta_address, "--foreground",
                             *options, self.mount]
        start_mount(self.fuse, self.mount)

    def up(self):
        self.start_servers()
        self.start_mount()

    def down(self):
        """As an operator would: unmount, then stop the servers."""
        self.fuse.stop()
        assert not is_mounted(self.mount), "SIGTERM left the mount behind"
        self.stop_servers()

    def kill_all(self):
        """Every process at once, as near as signals come to it."""
        for server in [self.meta, *self.storage]:
            server.send(signal.SIGKILL)
        self.fuse.kill()
        for server in [self.meta, *self.storage]:
            server.kill()
        unmount_lazily(self.mount)
        for mount in self.mounts:
            mount.kill()

    def processes(self):
        return [self.meta, *self.storage, self.fuse]

    def path(self, *names):
        return os.path.join(self.mount, *names)

    def logs(self):
        return "\n".join(each.log_tail() for each in
                         [*self.processes(), *(mount.daemon for mount in self.mounts)])

    def __enter__(self):
        try:
            self.up()
        except BaseException:
            print(self.logs(), file=sys.stderr)
            self.clean_up()
            raise
        return self

    def __exit__(self, kind, *_):
        if kind is not None and kind is not unittest.SkipTest:
            print(self.logs(), file=sys.stderr)
        self.clean_up()

    def clean_up(self):
        atexit.unregister(self.clean_up)
        self.kill_all()
        self.runner.stop()
        for call in self.at_end:
            call()
        if os.environ.get("SHEAF_E2E_KEEP"):
            print("kept: " + self.root, file=sys.stderr)
        else:
            shutil.rmtree(self.root, ignore_errors=True)


class ClusterTest(unittest.TestCase):
    """A test class with one cluster for all of its tests."""

    cluster_arguments = {}

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(**cls.cluster_arguments)
        try:
            cls.cluster.up()
        except BaseException:
            print(cls.cluster.logs(), file=sys.stderr)
            cls.cluster.clean_up()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.cluster.clean_up()

    def setUp(self):
        # A folder a test, so that none finds another's files.
        self.directory = self.cluster.path(self.id().rsplit(".", 1)[-1])
        os.mkdir(self.directory)

    def tearDown(self):
        # What ended under a test is the test's failure, whatever else it saw.
        for process in self.cluster.processes():
            if not process.running():
                self.fail("%s has ended\n%s" % (process.name, process.log_tail()))

    def path(self, *names):
        return os.path.join(self.directory, *names)


def run(command, seconds=600, **options):
    """A command that must succeed; its output is in the failure."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=seconds, **options)
    if done.returncode != 0:
        raise AssertionError("%s ended with %d\n%s" % (
            command, done.returncode, done.stdout.decode(errors="replace")[-4000:]))
    return done.stdout.decode(errors="replace")
