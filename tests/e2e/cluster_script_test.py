"""deploy/cluster.sh on hosts of a made-up network: one metadata host, three storage hosts."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

from cluster import Daemon, binary, check_fuse, is_mounted, wait_until
from hosts import Network, enter_namespaces

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../deploy/cluster.sh")
STORAGE = ["stor1", "stor2", "stor3"]
DISKS = ["/srv/disk0", "/srv/disk1"]
DIRECTORY = "/srv/state"
CALL_SECONDS = 400


def cluster_sh(*arguments, ssh="ssh"):
    return subprocess.run(["bash", SCRIPT, *arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=CALL_SECONDS, env={**os.environ, "SHEAF_SSH": ssh})


class InventoryTest(unittest.TestCase):
    """What needs no host: everything about the file is looked at before the first call."""

    def assertRefused(self, words, text, verb="up"):
        with tempfile.NamedTemporaryFile("w", suffix=".hosts") as file:
            file.write(text)
            file.flush()
            done = cluster_sh(file.name, verb, ssh="false")
        self.assertEqual(done.returncode, 2, done.stderr + done.stdout)
        self.assertTrue(done.stderr.startswith("cluster: error: "), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_errors_name_the_line_the_value_and_what_is_accepted(self):
        self.assertRefused(["line 1", "'colour'", "storage"], "colour blue\n")
        self.assertRefused(["line 2", "'many'", "1 to 8"], "# words\nreplicas many\n")
        self.assertRefused(["line 1", "'prt'", "port"], "meta 10.0.0.1 prt=7\n")
        self.assertRefused(["line 1", "'70000'", "65533"], "meta 10.0.0.1 port=70000\n")
        self.assertRefused(["line 2", "disks="], "meta 10.0.0.1\nstorage 10.0.0.2\n")
        self.assertRefused(["line 2", "'data'", "absolute"],
                           "meta 10.0.0.1\nstorage 10.0.0.2 disks=data\n")
        self.assertRefused(["line 1", "storage before meta"], "storage 10.0.0.2 disks=/a\n")
        self.assertRefused(["line 2", "second meta"], "meta 10.0.0.1\nmeta 10.0.0.2\n")
        self.assertRefused(["line 3", "7712", "another port"],
                           "meta 10.0.0.1\nstorage 10.0.0.2 disks=/a\n"
                           "storage 10.0.0.2 disks=/b port=7712\n")
        self.assertRefused(["no storage host"], "meta 10.0.0.1\n")
        self.assertRefused(["no meta host"], "# nothing\n")
        self.assertRefused(["not allowed"], "meta 10.0.0.1;reboot\n")
        self.assertRefused(["not allowed"], "meta 10.0.0.1 ssh=$(reboot)\n")
        self.assertRefused(["line 1", "-oProxyCommand"], "meta 10.0.0.1 ssh=-oProxyCommand\n")
        self.assertRefused(["sideways"], "meta 10.0.0.1\nstorage 10.0.0.2 disks=/a\n",
                           verb="sideways")

    def test_a_missing_inventory_is_named(self):
        done = cluster_sh("/no/such/file", "up")
        self.assertEqual(done.returncode, 2)
        self.assertIn("/no/such/file", done.stderr)


class ClusterScriptTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        check_fuse()
        cls.network = Network(["meta", *STORAGE])
        cls.network.__enter__()
        cls.addClassCleanup(cls.network.__exit__)
        cls.programs = cls.network.make_programs()
        cls.hostfile = os.path.join(cls.network.directory, "cluster.hosts")
        for name in STORAGE:
            for disk in DISKS:
                os.mkdir(cls.network[name].path(disk))

    def setUp(self):
        self.write_inventory()

    def write_inventory(self, replicas=1, extra=None):
        meta = self.network["meta"]
        lines = ["replicas %d   # copies" % replicas, "dir " + DIRECTORY,
                 "meta %s ssh=root@%s" % (meta.address, meta.address), ""]
        for name in STORAGE:
            host = self.network[name]
            lines.append("storage %s disks=%s domain=%s slab_mib=64 capacity_mib=256 %s" % (
                host.address, ",".join(DISKS), name, (extra or {}).get(name, "")))
        with open(self.hostfile, "w") as file:
            file.write("\n".join(lines) + "\n")

    def script(self, *arguments):
        return cluster_sh(*arguments, ssh=self.network.ssh)

    def ok(self, *arguments):
        done = self.script(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        return done.stdout

    def up(self):
        return self.ok("--copy", self.programs, self.hostfile, "up")

    def refused(self, words, *arguments):
        done = self.script(*arguments)
        self.assertEqual(done.returncode, 1, done.stderr + done.stdout)
        for word in words:
            self.assertIn(word, done.stderr)
        return done

    def daemon_name(self, name):
        return "meta-7700" if name == "meta" else "storage-7710"

    def pids(self):
        """Of the daemons that run, by host."""
        pids = {}
        for name in ["meta", *STORAGE]:
            file = self.network[name].path("%s/run/%s.pid" % (DIRECTORY, self.daemon_name(name)))
            try:
                with open(file) as text:
                    pid = int(text.read())
                os.readlink("/proc/%d/exe" % pid)
                pids[name] = pid
            except (FileNotFoundError, ValueError):
                pass
        return pids

    def mounted(self):
        return Mount(self.network)

    def test_the_whole_life_of_a_cluster(self):
        # A disk that is not there: nothing is started anywhere.
        os.rename(self.network["stor2"].path("/srv/disk1"), self.network["stor2"].path("/srv/away"))
        self.refused([self.network["stor2"].address, "/srv/disk1", "mount the disk", "nothing was"],
                     "--copy", self.programs, self.hostfile, "up")
        self.assertEqual(self.pids(), {})
        os.rename(self.network["stor2"].path("/srv/away"), self.network["stor2"].path("/srv/disk1"))
        # Without programs on the hosts, and without --copy.
        self.refused([self.network["meta"].address, "/usr/bin/no-such", "--copy"],
                     self.with_line("bin /usr/bin/no-such"), "up")
        self.assertEqual(self.pids(), {})

        text = self.up()
        pids = self.pids()
        self.assertEqual(set(pids), {"meta", *STORAGE}, text)
        self.assertIn("created", text)

        again = self.up()
        self.assertIn("nothing to do", again)
        self.assertNotRegex(again, "started|copied|created")
        self.assertEqual(self.pids(), pids)

        with self.mounted() as mount:
            os.mkdir(os.path.join(mount, "folder"))
            for i in range(40):
                with open(os.path.join(mount, "folder", str(i)), "wb") as file:
                    file.write(bytes([i]) * (i * 100_003))
            status = self.ok(self.hostfile, "status")
            self.assertRegex(status, r"health +ok")
            for name in ["meta", *STORAGE]:
                self.assertRegex(status, r"(?m)^%s %s: runs \(pid %d\)$" % (
                    re.escape(self.network[name].address), self.daemon_name(name), pids[name]))

        self.ok(self.hostfile, "down")
        self.assertEqual(self.pids(), {})
        down = self.script(self.hostfile, "status")
        self.assertEqual(down.returncode, 1)
        self.assertEqual(down.stdout.count(": down\n"), 4, down.stdout)
        self.ok(self.hostfile, "down")  # once more does no harm

        self.up()
        with self.mounted() as mount:
            for i in range(40):
                with open(os.path.join(mount, "folder", str(i)), "rb") as file:
                    self.assertEqual(file.read(), bytes([i]) * (i * 100_003), i)
        self.check_changes()
        self.check_bad_days()

    def with_line(self, line):
        path = self.hostfile + ".more"
        with open(self.hostfile) as before, open(path, "w") as after:
            after.write(before.read() + line + "\n")
        return path

    def check_changes(self):
        """Only what changed is started anew."""
        pids = self.pids()
        self.write_inventory(extra={"stor3": "reactors=2"})
        text = self.up()
        self.assertRegex(text, r"%s storage-7710: restarted, since its configuration changed" %
                         re.escape(self.network["stor3"].address))
        after = self.pids()
        self.assertNotEqual(after["stor3"], pids["stor3"])
        self.assertEqual({**after, "stor3": 0}, {**pids, "stor3": 0})

        # Another program, as an upgrade brings: a byte behind the end of one does no harm.
        with open(os.path.join(self.programs, "sheaf-meta"), "ab") as file:
            file.write(b"\0")
        text = self.up()
        self.assertIn("sheaf-meta: copied", text)
        self.assertIn("meta-7700: restarted, since its program changed", text)
        self.assertEqual({**self.pids(), "meta": 0}, {**after, "meta": 0})

    def check_bad_days(self):
        pids = self.pids()
        # Replicas are the manager's to grant: its own sentence is shown.
        self.write_inventory(replicas=3, extra={"stor3": "reactors=2"})
        self.refused(["has chains of 1 replicas, asked for 3", self.network["meta"].address],
                     "--copy", self.programs, self.hostfile, "up")
        self.assertEqual(self.pids(), pids)

        self.write_inventory(extra={"stor3": "reactors=2"})
        os.kill(pids["stor1"], signal.SIGKILL)
        wait_until(lambda: "stor1" not in self.pids(), 30, "the end of a storage server")
        status = self.script(self.hostfile, "status")
        self.assertEqual(status.returncode, 1, status.stdout)
        self.assertIn("%s storage-7710: down" % self.network["stor1"].address, status.stdout)
        self.assertRegex(self.up(), r"%s storage-7710: started" %
                         re.escape(self.network["stor1"].address))
        self.assertEqual({**self.pids(), "stor1": 0}, {**pids, "stor1": 0})

        self.network["stor2"].unplug()
        self.refused([self.network["stor2"].address, "cannot be reached", "check the host"],
                     self.hostfile, "status")
        self.network["stor2"].plug()
        self.ok(self.hostfile, "down")
        self.assertEqual(self.pids(), {})


class Mount:
    """The cluster, mounted in this program's own network and mount namespaces."""

    def __init__(self, network):
        self.directory = os.path.join(network.directory, "mnt")
        os.makedirs(self.directory, exist_ok=True)
        self.daemon = Daemon(
            "sheaf-fuse", [binary("sheaf-fuse"), "--meta", network["meta"].address + ":7700",
                           "--foreground", self.directory],
            os.path.join(network.directory, "fuse.log"))

    def __enter__(self):
        self.daemon.start()

        def mounted():
            if not self.daemon.running():
                raise AssertionError("sheaf-fuse has ended\n" + self.daemon.log_tail())
            return is_mounted(self.directory)

        wait_until(mounted, 60, "a mount")
        return self.directory

    def __exit__(self, kind, *_):
        if kind is not None:
            print(self.daemon.log_tail(), file=sys.stderr)
            self.daemon.kill()
            subprocess.run(["umount", "-l", self.directory])
        else:
            self.daemon.stop()


if __name__ == "__main__":
    enter_namespaces()
    unittest.main()
