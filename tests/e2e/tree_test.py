"""Real trees copied in and compared: at once, after a restart, after kill -9 of everything."""

import os
import unittest

from cluster import Cluster, run

TREES = ["/usr/include", "/usr/share/doc"]
SMALL_TREE = "/usr/include/linux"


def properties(root):
    """Mode, owner, size and nanosecond mtime of everything below, by relative path."""
    found = {}
    for folder, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(folder, name)
            attr = os.lstat(path)
            is_directory = os.path.isdir(path) and not os.path.islink(path)
            found[os.path.relpath(path, root)] = (
                oct(attr.st_mode),
                attr.st_uid,
                attr.st_gid,
                None if is_directory else attr.st_size,
                attr.st_mtime_ns,
            )
    return found


class TreeTest(unittest.TestCase):
    maxDiff = 2000

    def compare(self, what):
        for tree in TREES:
            copy = self.cluster.path(os.path.basename(tree))
            run(["diff", "-r", "--no-dereference", tree, copy], seconds=1200)
            want, have = properties(tree), properties(copy)
            wrong = {name: (want.get(name), have.get(name))
                     for name in want.keys() | have.keys() if want.get(name) != have.get(name)}
            self.assertEqual(len(wrong), 0, "%s: %s: %d differ, as %s" % (
                what, tree, len(wrong), list(wrong.items())[:5]))

    def test_trees_survive_restart_and_kill(self):
        with Cluster(storage=3) as self.cluster:
            for tree in TREES:
                run(["cp", "-a", tree, self.cluster.mount], seconds=1800)
            self.compare("after the copy")

            self.cluster.down()
            self.cluster.up()
            self.compare("after a restart")

            run(["cp", "-a", SMALL_TREE, self.cluster.path("again")], seconds=1800)
            run(["sync", "-f", self.cluster.mount])
            self.cluster.kill_all()
            self.cluster.up()
            self.compare("after kill -9 of every process")
            run(["diff", "-r", "--no-dereference", SMALL_TREE, self.cluster.path("again")],
                seconds=1200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
