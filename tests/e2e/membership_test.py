"""Operators' changes of who holds the chains, under load: a disk is replaced by an empty one, a server
is drained and stopped, and one whose disks are all new takes the place of another. Nothing is lost,
and the cluster ends healthy each time.

SHEAF_SEED repeats the choices of a run, not its timing.
"""

import json
import os
import random
import shutil
import sys
import unittest

from cluster import Cluster, Mount, binary, run, wait_until
from replicas_load import ReplicatedLoad

SEED = os.environ.get("SHEAF_SEED") or str(random.SystemRandom().randrange(1 << 32))
# Nothing is measured by these: a slow machine may have to copy all that there is.
HEALTH_SECONDS = 300
PROGRESS_SECONDS = 120
NO_CACHE = "attr_timeout=0,entry_timeout=0"


class MembershipTest(unittest.TestCase):
    def setUp(self):
        print("SHEAF_SEED=" + SEED, file=sys.stderr, flush=True)

    def sheaf(self, *words):
        """One command of an operator; its JSON."""
        output = self.cluster.runner.run(
            [binary("sheaf"), *words, "--json", "--meta", self.cluster.meta_address],
            HEALTH_SECONDS)
        return json.loads(output)

    def node_of(self, server):
        return next(node for node in self.cluster.status()["nodes"]
                    if node.get("pid") == server.pid())

    def target_of(self, node):
        """The one that is in chains, else its last."""
        own = [target for target in self.sheaf("target", "list")["targets"]
               if target["node"] == node["id"]]
        return next((target for target in own if target["chains"]), own[-1])

    def wait_for_full_chains(self):
        """Three replicas in each that serve, and no member is left to go."""
        def full():
            status = self.cluster.status()
            return status and status["health"] == "ok" and all(
                [target["state"] for target in chain["targets"]] == ["serving"] * 3
                for chain in status["chains"])

        wait_until(full, HEALTH_SECONDS, "chains of three that serve")

    def check(self, name):
        """Every byte, by a mount that has seen none of it."""
        self.load.pace.pause(PROGRESS_SECONDS)
        if self.load.pace.failures:
            self.fail("\n".join(self.load.pace.failures))
        fresh = Mount(self.cluster, name, NO_CACHE)
        fresh.start()
        self.load.check(fresh.path)
        fresh.stop()
        self.load.pace.go_on()
        self.load.pace.wait_for_progress(10, PROGRESS_SECONDS)

    def test_nothing_is_lost_whatever_operators_change(self):
        with Cluster(storage=4, replicas=3, mount_options=NO_CACHE) as cluster:
            self.cluster = cluster
            self.load = ReplicatedLoad([cluster.mount], SEED)
            try:
                self.load.pace.go_on()
                self.load.pace.wait_for_progress(20, PROGRESS_SECONDS)
                self.replace_a_disk(cluster.storage[0])
                self.drain_and_stop(cluster.storage[1])
                self.replace_a_server(cluster.storage[1], cluster.storage[2])
            finally:
                self.load.stop()
            self.load.join(PROGRESS_SECONDS)
            cluster.fuse.stop()
            run([binary("sheaf"), "fsck", "--meta", cluster.meta_address])

    def test_draining_goes_on_whoever_is_away_meanwhile(self):
        with Cluster(storage=5, replicas=3, mount_options=NO_CACHE) as cluster:
            self.cluster = cluster
            self.load = ReplicatedLoad([cluster.mount], SEED)
            try:
                self.load.pace.go_on()
                self.load.pace.wait_for_progress(20, PROGRESS_SECONDS)
                self.drain_with_others_away(cluster.storage[1], cluster.storage[2])
            finally:
                self.load.stop()
            self.load.join(PROGRESS_SECONDS)
            cluster.fuse.stop()
            run([binary("sheaf"), "fsck", "--meta", cluster.meta_address])

    def drain_with_others_away(self, server, other):
        """Nothing leaves while a member is missing; then the metadata service is, and whoever waits is
        told so."""
        node = str(self.node_of(server)["id"])
        other.kill()
        wait_until(lambda: self.cluster.status()["health"] == "degraded", PROGRESS_SECONDS,
                   "a server to be missed")
        out = os.path.join(self.cluster.root, "drain.out")
        self.cluster.runner.run(
            ["sh", "-c", '("$@"; echo "ended with $?") </dev/null >"%s" 2>&1 &' % out, "sh",
             binary("sheaf"), "node", "drain", node, "--timeout", "8", "--meta",
             self.cluster.meta_address], PROGRESS_SECONDS)

        def told(text):
            with open(out) as file:
                return text in file.read()

        wait_until(lambda: told("node %s: " % node), PROGRESS_SECONDS, "a count of what is left")
        self.cluster.meta.kill()
        wait_until(lambda: told("does not answer"), PROGRESS_SECONDS, "a word on who is away")
        wait_until(lambda: told("ended with "), PROGRESS_SECONDS, "the end of waiting")
        self.assertTrue(told("has not answered for 8 s") and not told("ended with 0"))
        self.cluster.start_server(self.cluster.meta)
        self.cluster.start_server(other)
        self.assertEqual(self.sheaf("node", "drain", node)["chains_left"], 0)
        server.stop()
        self.wait_for_full_chains()
        self.check("after-drain")

    def replace_a_disk(self, server):
        """Nobody does more than start the server. It has another directory, so that it is known for who
        it is."""
        server.stop()
        server.add_directory()
        self.cluster.start_server(server)
        self.cluster.wait_for_health(HEALTH_SECONDS)
        node = self.node_of(server)
        before = self.target_of(node)
        server.stop()
        shutil.rmtree(server.data)
        self.load.pace.wait_for_progress(20, PROGRESS_SECONDS)
        self.heal(server, node, before)
        self.check("after-disk")
        # As if it had never been away.
        server.kill()
        shutil.rmtree(server.data)
        self.heal(server, node, before)
        self.check("after-disk-at-once")

    def heal(self, server, node, before):
        self.cluster.start_server(server)
        self.cluster.wait_for_health(HEALTH_SECONDS)
        self.wait_for_full_chains()
        self.assertEqual(self.node_of(server)["id"], node["id"])
        after = self.target_of(node)
        self.assertEqual((after["id"], after["chains"]), (before["id"], before["chains"]))
        self.assertEqual(after["state"], "serving")

    def drain_and_stop(self, server):
        node = self.node_of(server)
        drained = self.sheaf("node", "drain", str(node["id"]))
        self.assertEqual(drained["chains_left"], 0)
        self.assertEqual(self.node_of(server)["state"], "draining")
        server.stop()
        self.load.pace.wait_for_progress(20, PROGRESS_SECONDS)
        self.wait_for_full_chains()
        with self.assertRaisesRegex(AssertionError, "has nowhere to go.*add a storage server"):
            self.sheaf("node", "drain", str(self.node_of(self.cluster.storage[0])["id"]))
        self.check("after-drain")

    def replace_a_server(self, fresh, lost):
        """`fresh` starts on an empty disk, as a node of its own; the disk of `lost` is gone."""
        old = self.target_of(self.node_of(lost))
        shutil.rmtree(fresh.data)
        self.cluster.start_server(fresh)
        wait_until(lambda: any(node["state"] == "up" and node.get("pid") == fresh.pid()
                               for node in self.cluster.status()["nodes"]),
                   PROGRESS_SECONDS, "a new node")
        new = self.target_of(self.node_of(fresh))
        self.assertEqual(new["chains"], [])
        lost.kill()
        shutil.rmtree(lost.data)
        wait_until(lambda: self.cluster.status()["health"] == "degraded", PROGRESS_SECONDS,
                   "a server to be missed")
        replaced = self.sheaf("target", "replace", str(old["id"]), str(new["id"]))
        self.assertEqual(replaced["chains"], len(old["chains"]))
        self.wait_for_full_chains()
        self.check("after-server")


if __name__ == "__main__":
    unittest.main(verbosity=2)
