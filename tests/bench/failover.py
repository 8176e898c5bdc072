#!/usr/bin/env python3
"""How long a writer waits when a server of its chain of three replicas goes: from the fault to the end of
the first synced write of 4 KiB that began after it, through a mount over a cluster on this machine.

usage: failover.py BIN [--rounds N]

BIN: where sheaf and its daemons are.
"""

import argparse
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

FAULTS = [how + " " + place for how in ("kill", "freeze", "stop")
          for place in ("head", "middle", "tail")]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binaries")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.environ["SHEAF_BIN"] = os.path.abspath(options.binaries)

    from cluster import Cluster
    from pauses import pauses_of

    print("fault,rounds,median_s,worst_s")
    with Cluster(storage=3, replicas=3) as cluster:
        for fault in FAULTS:
            pauses = pauses_of(cluster, fault, options.rounds)
            print("%s,%d,%.2f,%.2f" % (fault, len(pauses), statistics.median(pauses),
                                       max(pauses)), flush=True)


if __name__ == "__main__":
    main()
