"""Files removed through one mount while they are open on another."""

import json
import os
import unittest

from cluster import Cluster, Mount, binary, run, wait_until

# A removal waits until every session has acknowledged it, which takes a renewal or two (5 s each).
REMOVAL_SECONDS = 120
BLOCK = 1 << 20

class TwoMountsTest(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(storage=2, mount_options="attr_timeout=0,entry_timeout=0")
        self.addCleanup(self.cluster.clean_up)
        self.cluster.up()
        self.other = Mount(self.cluster, "other", "attr_timeout=0,entry_timeout=0")
        self.other.start()

    def backlog(self):
        return json.loads(run([binary("sheaf"), "status", "--json", "--meta",
                               self.cluster.meta_address]))["removal_backlog"]

    def write(self, name, data):
        with open(self.cluster.path(name), "wb") as out:
            out.write(data)

    def held(self, name):
        """Open on the other mount, past its page cache: each read asks the servers."""
        fd = os.open(self.other.join(name), os.O_RDONLY | os.O_DIRECT)
        self.addCleanup(self.close_quietly, fd)
        return fd

    @staticmethod
    def close_quietly(fd):
        try:
            os.close(fd)
        except OSError:
            pass

    def pass_a_removal(self, still_held):
        """Until a file that nobody holds, removed after the others, is gone altogether."""
        self.write("sentinel", b"x" * BLOCK)
        os.unlink(self.cluster.path("sentinel"))
        wait_until(lambda: self.backlog() == still_held, REMOVAL_SECONDS,
                   "reclaiming of all but %d" % still_held)

    def assertReads(self, fd, data):
        self.assertEqual(b"".join(os.pread(fd, BLOCK, at) for at in range(0, len(data), BLOCK)),
                         data)

    def test_unlinked_and_replaced_files_stay_readable_and_then_go(self):
        unlinked, replaced, new = (os.urandom(6 * BLOCK) for _ in range(3))
        self.write("unlinked", unlinked)
        self.write("replaced", replaced)
        self.write("new", new)
        first, second = self.held("unlinked"), self.held("replaced")
        self.assertReads(first, unlinked)
        os.unlink(self.cluster.path("unlinked"))
        os.rename(self.cluster.path("new"), self.cluster.path("replaced"))

        self.pass_a_removal(still_held=2)
        self.assertFalse(os.path.exists(self.other.join("unlinked")))
        self.assertReads(first, unlinked)
        self.assertReads(second, replaced)
        self.assertReads(self.held("replaced"), new)
        self.assertEqual(os.fstat(first).st_nlink, 0)

        # Pins outlast a metadata service that starts anew.
        self.cluster.meta.kill()
        self.cluster.start_servers()
        self.pass_a_removal(still_held=2)
        self.assertReads(first, unlinked)
        self.assertReads(second, replaced)

        os.close(first)
        wait_until(lambda: self.backlog() == 1, REMOVAL_SECONDS, "reclaiming of the first")
        self.assertReads(second, replaced)
        os.close(second)
        wait_until(lambda: self.backlog() == 0, REMOVAL_SECONDS, "reclaiming of both")

    def test_a_mount_that_dies_holds_nothing_back(self):
        self.write("file", os.urandom(BLOCK))
        self.held("file")
        os.unlink(self.cluster.path("file"))
        self.pass_a_removal(still_held=1)
        self.other.kill()
        wait_until(lambda: self.backlog() == 0, REMOVAL_SECONDS, "reclaiming after its session")

if __name__ == "__main__":
    unittest.main(verbosity=2)
