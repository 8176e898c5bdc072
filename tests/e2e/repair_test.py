"""Disks that return other bytes than were written, under a cluster of three replicas: nobody who
reads notices, and what is wrong is put right from the replicas that have it."""

import json
import os
import random
import sys
import unittest

from cluster import Cluster, binary, run, wait_until

SEED = os.environ.get("SHEAF_SEED") or str(random.SystemRandom().randrange(1 << 32))
MIB = 1 << 20
UNIT = 4096  # what has a checksum of its own
FILES = 12
FILE_BYTES = 3 * MIB + 12345
SECONDS = 300  # nothing is measured by it: a slow machine reads everything several times


def content(name):
    return random.Random("%s %s" % (SEED, name)).randbytes(FILE_BYTES)


def rot(server, share, dice):
    """Flips a bit in some of the units that hold anything; how many."""
    flipped = 0
    slabs = os.path.join(server.data, "slabs")
    for name in sorted(os.listdir(slabs)):
        with open(os.path.join(slabs, name), "r+b", buffering=0) as slab:
            offset = 0
            while piece := os.pread(slab.fileno(), MIB, offset):
                for at in range(0, len(piece), UNIT):
                    unit = piece[at:at + UNIT]
                    if not any(unit) or dice.random() >= share:
                        continue
                    place = dice.randrange(len(unit))
                    os.pwrite(slab.fileno(), bytes([unit[place] ^ 1 << dice.randrange(8)]),
                              offset + at + place)
                    flipped += 1
                offset += len(piece)
            os.fsync(slab.fileno())
    return flipped


class RepairTest(unittest.TestCase):
    def test_rot_on_two_of_three_disks_is_repaired_and_no_reader_notices(self):
        print("SHEAF_SEED=" + SEED, file=sys.stderr)
        dice = random.Random(SEED)
        with Cluster(storage=3, replicas=3) as cluster:
            names = ["file%d" % i for i in range(FILES)]
            for name in names:
                with open(cluster.path(name), "wb") as out:
                    out.write(content(name))
                    os.fsync(out.fileno())
            flipped = [rot(server, 0.02, dice) for server in cluster.storage[:2]]
            self.assertGreater(min(flipped), 20)

            # Not from the mount's cache.
            cluster.fuse.stop()
            cluster.start_mount()
            for name in names:
                with open(cluster.path(name), "rb") as file:
                    self.assertEqual(file.read(), content(name), name)

            # What readers have not come upon is the scrubs' to find.
            self.scrub(cluster)
            wait_until(lambda: not self.bad_chunks(cluster), SECONDS, "the repair of every chunk")
            self.scrub(cluster)
            self.assertEqual(self.bad_chunks(cluster), 0)
            targets = self.targets(cluster)
            self.assertGreater(sum(target["repaired_chunks"] for target in targets), 0)
            self.assertEqual(sum(target["repaired_chunks"] > 0 for target in targets), 2)
            for server in cluster.storage[:2]:
                with open(server.log) as log:
                    self.assertIn("repaired chunk", log.read())
            status = cluster.status()
            self.assertEqual(status["health"], "ok")

            run([binary("sheaf"), "fsck", "--meta", cluster.meta_address])
            for name in names:
                with open(cluster.path(name), "rb") as file:
                    self.assertEqual(file.read(), content(name), name)

    def targets(self, cluster):
        shown = json.loads(run([binary("sheaf"), "scrub", "status", "--json", "--meta",
                                cluster.meta_address]))
        return [target for node in shown["nodes"] for target in node["targets"]]

    def bad_chunks(self, cluster):
        return sum(target["bad_chunks"] for target in self.targets(cluster))

    def scrub(self, cluster):
        """One pass of every target, from its first chunk on."""
        before = {target["uuid"]: target["passes"] for target in self.targets(cluster)}
        run([binary("sheaf"), "scrub", "start", "--meta", cluster.meta_address])
        wait_until(lambda: all(target["passes"] > before[target["uuid"]]
                               for target in self.targets(cluster)), SECONDS, "a pass of scrub")


if __name__ == "__main__":
    unittest.main(verbosity=2)
