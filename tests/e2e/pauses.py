"""What is done to the servers of replicated chains (replicas_test.py), and how long writers wait for it
(also tests/bench/failover.py)."""

import json
import os
import time

from cluster import binary, wait_until

BLOCK = bytes(4096)
LONGEST_SECONDS = 6.0  # that a server stays away; its lease is 2 s
PLACES = ["head", "middle", "tail"]


class Fault:
    def __init__(self, name, steps, none_left=False):
        self.name = name
        self.steps = steps
        self.none_left = none_left  # there is a moment without a complete replica that runs

    def run(self):
        """Does it, and says what; all servers run at the end."""
        return self.steps()


class Faults:
    """Of a cluster of three servers, each of which has a replica of every chain."""

    def __init__(self, cluster, dice):
        self.cluster = cluster
        self.random = dice
        self.kinds = [Fault(name, getattr(self, name.replace(" ", "_")), name == "kill all")
                      for name in ["kill one", "freeze one", "restart one", "kill two",
                                   "kill while one catches up", "freeze two", "kill all",
                                   "metadata", "one and metadata"]]

    def choose(self, count):
        """Every kind before one comes again."""
        chosen = []
        while len(chosen) < count:
            chosen += self.random.sample(self.kinds, len(self.kinds))
        return chosen[:count]

    def servers(self):
        """Those of some chain, by their places in it: any order where some do not serve."""
        status = self.cluster.status()
        chain = self.random.choice(status["chains"])
        return self.cluster.servers_of(status, chain), chain["id"]

    def one(self):
        servers, chain = self.servers()
        place = self.random.randrange(len(servers))
        return servers[place], "%s, %s of chain %d" % (servers[place].name, PLACES[place], chain)

    def wait(self, most=LONGEST_SECONDS):
        seconds = self.random.choice([0.0, self.random.uniform(0, most)])
        time.sleep(seconds)
        return "after %.1f s " % seconds

    def kill_one(self):
        server, text = self.one()
        yield "kill -9 " + text
        server.kill()
        waited = self.wait()
        yield waited + "start it"
        self.cluster.start_server(server)

    def freeze_one(self):
        server, text = self.one()
        yield "freeze " + text
        server.freeze()
        waited = self.wait(LONGEST_SECONDS + 2)
        yield waited + "let it go on"
        server.go_on()

    def restart_one(self):
        server, text = self.one()
        yield "stop " + text
        server.stop()
        waited = self.wait()
        yield waited + "start it"
        self.cluster.start_server(server)

    def away(self, servers, back):
        """All go, one after the other or at once, and come back in any order."""
        for server in servers:
            yield "kill -9 " + server.name
            server.kill()
            self.wait(3)
        self.wait()
        for server in back:
            yield "start " + server.name
            self.cluster.start_server(server)
            self.wait(3)

    def kill_two(self):
        servers = self.random.sample(self.servers()[0], 2)
        yield from self.away(servers, self.random.sample(servers, 2))

    def kill_all(self):
        servers = self.random.sample(self.cluster.storage, 3)
        yield from self.away(servers, self.random.sample(servers, 3))

    def kill_while_one_catches_up(self):
        first, second = self.random.sample(self.cluster.storage, 2)
        yield "kill -9 " + first.name
        first.kill()
        time.sleep(3)
        yield "start it"
        self.cluster.start_server(first)
        time.sleep(self.random.uniform(0.2, 2))
        other = self.random.choice([first, second])
        yield "kill -9 " + other.name
        other.kill()
        waited = self.wait()
        yield waited + "start it"
        self.cluster.start_server(other)

    def freeze_two(self):
        servers = self.random.sample(self.cluster.storage, 2)
        for server in servers:
            yield "freeze " + server.name
            server.freeze()
            self.wait(3)
        for server in self.random.sample(servers, 2):
            waited = self.wait(3)
            yield waited + "let go on " + server.name
            server.go_on()

    def metadata(self):
        meta = self.cluster.meta
        how = self.random.choice(["kill", "stop", "freeze"])
        yield how + " meta"
        getattr(meta, how)()
        waited = self.wait()
        yield waited + "bring it back"
        if how == "freeze":
            meta.go_on()
        else:
            self.cluster.start_server(meta)

    def one_and_metadata(self):
        server = self.random.choice(self.cluster.storage)
        both = self.random.sample([server, self.cluster.meta], 2)
        yield from self.away(both, self.random.sample(both, 2))


def pauses_of(cluster, what, rounds, health_seconds=300):
    """Seconds from a fault of one place in a chain to the end of the first synced write of 4 KiB that
    began after it. `what` is "kill head" and the like: kill, freeze, stop, tell_to_stop."""
    how, place = what.split()
    path = cluster.path("pauses")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_SYNC, 0o644)
    try:
        os.pwrite(fd, BLOCK, 0)
        pauses = []
        for _ in range(rounds):
            cluster.wait_for_health(health_seconds)
            status = cluster.status()
            chain = chain_of_only_chunk(cluster, status)
            server = cluster.servers_of(status, chain)[PLACES.index(place)]
            for _ in range(20):
                os.pwrite(fd, BLOCK, 0)
            start = time.monotonic()
            getattr(server, how)()
            os.pwrite(fd, BLOCK, 0)
            pauses.append(time.monotonic() - start)
            if how == "freeze":
                server.go_on()
            else:
                wait_until(lambda: not server.running(), 60, "the end of " + server.name)
                cluster.start_server(server)
        cluster.wait_for_health(health_seconds)
        return pauses
    finally:
        os.close(fd)


def chain_of_only_chunk(cluster, status):
    """REQUIRES: there is one chunk in the whole cluster."""
    lines = cluster.runner.run([binary("sheaf"), "inspect", cluster.storage[0].data, "chunks",
                                "--json"], 60).splitlines()
    (number,) = {json.loads(line)["chain"] for line in lines}
    (chain,) = [chain for chain in status["chains"] if chain["id"] == number]
    return chain
