"""Tools that are hard on a file system, run inside the mount."""

import os
import random
import sqlite3
import sys
import unittest

from cluster import ClusterTest, run

GIT = ["git", "-c", "user.name=e2e", "-c", "user.email=e2e@example.org", "-c",
       "init.defaultBranch=main", "-c", "safe.directory=*"]


class ToolsTest(ClusterTest):
    cluster_arguments = {"storage": 2}

    def make_repository(self, path):
        """A few commits of generated files, some of them binary and some changed twice."""
        seed = int(os.environ.get("SHEAF_SEED", "7"))
        print("SHEAF_SEED=%d" % seed, file=sys.stderr)
        dice = random.Random(seed)
        run([*GIT, "init", path])
        for commit in range(5):
            for i in range(60):
                folder = os.path.join(path, "dir%d" % (i % 7))
                os.makedirs(folder, exist_ok=True)
                with open(os.path.join(folder, "file%d" % i), "wb") as out:
                    out.write(dice.randbytes(dice.randrange(20_000)))
            run([*GIT, "-C", path, "add", "-A"])
            run([*GIT, "-C", path, "commit", "-m", "commit %d" % commit])

    def test_git_clones_and_checks(self):
        origin, clone = self.path("origin"), self.path("clone")
        self.make_repository(origin)
        run([*GIT, "clone", "--no-hardlinks", origin, clone])
        run([*GIT, "-C", clone, "fsck", "--full", "--strict"])
        run([*GIT, "-C", clone, "gc", "--aggressive"])
        run([*GIT, "-C", clone, "fsck", "--full"])
        self.assertEqual(run([*GIT, "-C", clone, "status", "--porcelain"]), "")
        run(["diff", "-r", "--exclude=.git", origin, clone])

    def test_sqlite_keeps_its_promises_in_wal_mode(self):
        path = self.path("db")
        writer = sqlite3.connect(path)
        self.assertEqual(writer.execute("PRAGMA journal_mode=WAL").fetchone(), ("wal",))
        writer.execute("PRAGMA synchronous=FULL")
        writer.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)")
        reader = sqlite3.connect(path)
        for batch in range(20):
            with writer:
                writer.executemany("INSERT INTO t (body) VALUES (?)",
                                   [(os.urandom(700),) for _ in range(100)])
            with writer:
                writer.execute("DELETE FROM t WHERE id % 7 = ?", (batch % 7,))
            seen = reader.execute("SELECT count(*) FROM t").fetchone()
            self.assertEqual(seen, writer.execute("SELECT count(*) FROM t").fetchone())
        self.assertEqual(writer.execute("PRAGMA integrity_check").fetchone(), ("ok",))
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.close()
        reader.close()
        again = sqlite3.connect(path)
        self.assertEqual(again.execute("PRAGMA integrity_check").fetchone(), ("ok",))
        again.close()

    def fio(self, name, *options):
        run(["fio", "--name=" + name, "--directory=" + self.directory, "--rw=randwrite",
             "--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--fallocate=none",
             "--randrepeat=1", *options], seconds=900)

    def test_fio_verifies_random_overwrites_of_odd_sizes(self):
        self.fio("odd", "--size=48m", "--bsrange=512-200k", "--bs_unaligned=1", "--ioengine=psync",
                 "--numjobs=2", "--loops=2")

    def test_fio_verifies_direct_writes(self):
        self.fio("direct", "--size=64m", "--bsrange=4k-1m", "--blockalign=4k", "--direct=1",
                 "--ioengine=libaio", "--iodepth=8")

    def test_fio_verifies_a_shared_mapping(self):
        self.fio("mmap", "--size=16m", "--bs=4k", "--ioengine=mmap")

    def test_tar_finds_no_difference(self):
        tree = "/usr/include/linux"
        run(["sh", "-c", "tar -C '%s' -cf '%s' . && mkdir '%s' && tar -C '%s' -xpf '%s'" % (
            tree, self.path("t.tar"), self.path("out"), self.path("out"), self.path("t.tar"))])
        run(["diff", "-r", "--no-dereference", tree, self.path("out")])


if __name__ == "__main__":
    unittest.main(verbosity=2)
