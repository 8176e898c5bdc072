"""Hosts of a made-up network for one test program: network namespaces with an ssh server in each.

    enter_namespaces()              # first thing in main: all that follows is torn down by the kernel
    with Network(["meta", "stor1"]) as network:
        network["meta"].address     # reached from here, and from the other hosts, over a bridge

Each host has its own network, host name, /srv and root's home; all else is this machine's. This
program is in a network of its own too, beside them on the bridge. Needs root.
"""

import os
import shutil
import subprocess
import sys
import tempfile

from cluster import binary, run, wait_until

PREFIX = "10.77.0."
MARK = "SHEAF_TEST_IN_NAMESPACES"
PROGRAMS = ["unshare", "ip", "ssh", "ssh-keygen", "dropbear", "dropbearkey"]


def enter_namespaces():
    """Starts this program again in namespaces of its own: when it ends, however it ends, so does all
    that it started, and its links and mounts go."""
    if os.environ.get(MARK):
        return
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            sys.exit("network namespaces need root")
        print("skipped: network namespaces need root")
        sys.exit(0)
    for program in PROGRAMS:
        if not shutil.which(program):
            sys.exit("%s is not installed: run deploy/install-deps.sh" % program)
    os.environ[MARK] = "1"
    os.execvp("unshare", ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child",
                          "--mount-proc", sys.executable, *sys.argv])


# What a host's first process does: waits until its end of the cable is there, then serves ssh.
HOST_SCRIPT = """
set -eu
hostname "$NAME"
mount --bind "$ROOT/srv" /srv
mount --bind "$ROOT/home" /root
read plugged
ip link set lo up
ip address add "$ADDRESS/24" dev eth0
ip link set eth0 up
exec dropbear -F -E -s -p "$ADDRESS:22" -r "$ROOT/hostkey"
"""


class Host:
    def __init__(self, name, number, directory, public_key):
        self.name = name
        self.address = PREFIX + str(number + 10)
        self.root = os.path.join(directory, name)
        for folder in ["srv", "home/.ssh"]:
            os.makedirs(os.path.join(self.root, folder), mode=0o700)
        with open(os.path.join(self.root, "home/.ssh/authorized_keys"), "w") as keys:
            keys.write(public_key)
        run(["dropbearkey", "-t", "ed25519", "-f", os.path.join(self.root, "hostkey")])
        self.log = open(os.path.join(self.root, "ssh.log"), "w")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            ["unshare", "--net", "--mount", "--uts", "sh", "-c", HOST_SCRIPT],
            stdin=subprocess.PIPE, stdout=self.log, stderr=self.log,
            env={**os.environ, "NAME": self.name, "ROOT": self.root, "ADDRESS": self.address})
        # In the namespaces of its own once it has renamed the host there.
        wait_until(lambda: self.namespace() != os.readlink("/proc/self/ns/net"), 30,
                   "the network of " + self.name)
        run(["ip", "link", "add", "name", "to-" + self.name, "type", "veth", "peer", "name", "eth0",
             "netns", str(self.process.pid)])
        run(["ip", "link", "set", "to-" + self.name, "master", "bridge0", "up"])
        self.process.stdin.write(b"plugged\n")
        self.process.stdin.close()

    def namespace(self):
        try:
            return os.readlink("/proc/%d/ns/net" % self.process.pid)
        except FileNotFoundError:
            raise AssertionError("%s has ended: %s" % (self.name, open(self.log.name).read()))

    def unplug(self):
        run(["ip", "link", "set", "to-" + self.name, "down"])

    def plug(self):
        run(["ip", "link", "set", "to-" + self.name, "up"])

    def path(self, path):
        """Where this program finds a file that the host knows as `path`, under /srv."""
        assert path.startswith("/srv/")
        return self.root + path


class Network:
    def __init__(self, names):
        self.directory = tempfile.mkdtemp(prefix="sheaf-hosts.", dir=os.environ.get("SHEAF_E2E_DIR"))
        self.key = os.path.join(self.directory, "key")
        self.ssh = ("ssh -F none -i %s -o IdentitiesOnly=yes -o UserKnownHostsFile=%s/known_hosts "
                    "-o StrictHostKeyChecking=no -o BatchMode=yes -o ConnectTimeout=10 "
                    "-o LogLevel=ERROR" % (self.key, self.directory))
        self.hosts = {}
        self.names = names

    def __enter__(self):
        try:
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key])
            with open(self.key + ".pub") as file:
                public_key = file.read()
            run(["ip", "link", "set", "lo", "up"])
            run(["ip", "link", "add", "name", "bridge0", "type", "bridge"])
            run(["ip", "address", "add", PREFIX + "1/24", "dev", "bridge0"])
            run(["ip", "link", "set", "bridge0", "up"])
            for number, name in enumerate(self.names):
                self.hosts[name] = Host(name, number, self.directory, public_key)
                self.hosts[name].start()
            for host in self.hosts.values():
                wait_until(lambda: self.on(host, "hostname").stdout == host.name + "\n", 60,
                           "ssh to " + host.name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # Their processes go with this program's namespace; files would stay.
        for host in self.hosts.values():
            host.log.close()
            if host.process is not None:
                host.process.kill()
                host.process.wait()
        if os.environ.get("SHEAF_E2E_KEEP"):
            print("kept: " + self.directory, file=sys.stderr)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __getitem__(self, name):
        return self.hosts[name]

    def make_programs(self):
        """A directory of what hosts run. Without what a debugger reads they are copied in little time."""
        programs = os.path.join(self.directory, "programs")
        os.mkdir(programs)
        for name in ["sheaf", "sheaf-meta", "sheaf-storage"]:
            run(["strip", "-o", os.path.join(programs, name), binary(name)])
        return programs

    def on(self, host, command):
        return subprocess.run([*self.ssh.split(), host.address, command], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)


