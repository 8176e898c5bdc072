"""Three replicas on hosts of a made-up network, two of which do not reach one another, while each reaches the
metadata service and the client: writes go on after a pause, and all replicas serve again once they do."""

import json
import os
import subprocess
import threading
import time
import unittest

from cluster import binary, check_fuse, run, wait_until
from cluster_script_test import Mount, cluster_sh
from hosts import Network, enter_namespaces

STORAGE = ["stor1", "stor2", "stor3"]
BLOCK = 4096
BLOCKS = 64
# Four rounds of half a second without an answer, two heartbeats, a map; the rest is the machine.
LONGEST_PAUSE_SECONDS = 12


class Writer(threading.Thread):
    """Writes blocks of one file over again, each synced; notes what every block holds, and when."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path = path
        self.blocks = {}
        self.ends = [time.monotonic()]
        self.error = None
        self.stopping = False

    def run(self):
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            while not self.stopping:
                number = len(self.ends)
                data = number.to_bytes(8, "big") * (BLOCK // 8)
                os.pwrite(fd, data, number % BLOCKS * BLOCK)
                os.fsync(fd)
                self.blocks[number % BLOCKS] = data
                self.ends.append(time.monotonic())
            os.close(fd)
        except OSError as error:
            self.error = error

    def await_writes(self, count, seconds):
        wanted = len(self.ends) + count
        wait_until(lambda: self.error or len(self.ends) >= wanted, seconds, "%d writes" % count)
        if self.error:
            raise self.error

    def longest_pause(self):
        return max(b - a for a, b in zip(self.ends, self.ends[1:]))


class LinksTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        check_fuse()
        cls.network = Network(["meta", *STORAGE])
        cls.network.__enter__()
        cls.addClassCleanup(cls.network.__exit__)
        programs = cls.network.make_programs()
        cls.meta = cls.network["meta"].address
        lines = ["replicas 3", "dir /srv/state", "meta " + cls.meta]
        for name in STORAGE:
            os.mkdir(cls.network[name].path("/srv/disk"))
            lines.append("storage %s disks=/srv/disk slab_mib=64 capacity_mib=256" %
                         cls.network[name].address)
        hostfile = os.path.join(cls.network.directory, "cluster.hosts")
        with open(hostfile, "w") as file:
            file.write("\n".join(lines) + "\n")
        done = cluster_sh("--copy", programs, hostfile, "up", ssh=cls.network.ssh)
        assert done.returncode == 0, done.stderr + done.stdout

    def status(self):
        text = run([binary("sheaf"), "status", "--json", "--meta", self.meta + ":7700"])
        return json.loads(text)

    def route(self, what, name, other):
        subprocess.run(["nsenter", "-t", str(self.network[name].process.pid), "-n", "ip", "route", what,
                        "blackhole", self.network[other].address + "/32"], check=True)

    def states(self):
        return {(chain["id"], member["id"]): member["state"]
                for chain in self.status()["chains"] for member in chain["targets"]}

    def every_chain_has_put_one_aside(self):
        chains = {}
        for (chain, _), state in self.states().items():
            chains.setdefault(chain, []).append(state)
        return all(sorted(states) == ["serving", "serving", "waiting"] for states in chains.values())

    def test_writes_go_on_and_replicas_come_back(self):
        with Mount(self.network) as mount:
            path = os.path.join(mount, "file")
            writer = Writer(path)
            writer.start()
            writer.await_writes(50, 60)
            self.assertEqual(self.status()["health"], "ok")
            self.route("add", "stor1", "stor2")
            try:
                wait_until(self.every_chain_has_put_one_aside, 30, "chains of two members")
                writer.await_writes(50, 60)
                self.assertEqual(self.status()["health"], "degraded")
                self.assertTrue(self.every_chain_has_put_one_aside(), self.states())
            finally:
                self.route("del", "stor1", "stor2")
            wait_until(lambda: set(self.states().values()) == {"serving"}, 60, "every replica")
            writer.await_writes(50, 60)
            writer.stopping = True
            writer.join(60)
            self.assertIsNone(writer.error)
            self.assertLess(writer.longest_pause(), LONGEST_PAUSE_SECONDS)
            print("longest pause %.1f s of %d writes" % (writer.longest_pause(), len(writer.ends)))
            with open(path, "rb") as file:
                for number in range(BLOCKS):
                    self.assertEqual(file.read(BLOCK), writer.blocks[number], number)
        run([binary("sheaf"), "fsck", "--meta", self.meta + ":7700"])


if __name__ == "__main__":
    enter_namespaces()
    unittest.main()
