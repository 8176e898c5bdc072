"""The metrics of a live cluster against the table in docs/OPERATIONS.md, both ways, and some of what
they count against what was done."""

import os
import re
import tomllib
import unittest
import urllib.request

from cluster import ClusterTest, free_port, wait_until

DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/OPERATIONS.md")
ROW = re.compile(r"^\| `([a-z_]+)` \| (counter|gauge|histogram|summary) \| ([^|]*) \| ([^|]*) \| ([^|]+) \|$")
HEADING = re.compile(r"^#+ .*`(sheaf-meta|sheaf-storage|sheaf-fuse)`|^#+ ")
EVERY = {"sheaf-meta", "sheaf-storage", "sheaf-fuse"}


def documented():
    """Of each daemon: name to (type, unit, labels). Rows under a heading that names no daemon are of
    all of them."""
    found = {daemon: {} for daemon in EVERY}
    daemons = set()
    with open(DOCUMENT) as lines:
        for line in lines:
            heading = HEADING.match(line)
            if heading:
                daemons = {heading.group(1)} if heading.group(1) else EVERY
            row = ROW.match(line)
            if not row:
                continue
            name, kind, unit, labels, _ = row.groups()
            for daemon in daemons:
                assert name not in found[daemon], "%s is documented twice" % name
                found[daemon][name] = (kind, unit.strip(), set(re.findall(r"`(\w+)`", labels)))
    return found


class Scrape:
    def __init__(self, address):
        with urllib.request.urlopen("http://%s/metrics" % address, timeout=30) as answer:
            self.text = answer.read().decode()
        self.types = dict(re.findall(r"(?m)^# TYPE (\S+) (\S+)$", self.text))
        self.helps = dict(re.findall(r"(?m)^# HELP (\S+) (.+)$", self.text))
        self.samples = []  # (name, labels, value)
        for line in self.text.splitlines():
            if line.startswith("#"):
                continue
            name, labels, value = re.match(r"([a-zA-Z_:]\w*)(?:\{(.*)\})? (\S+)", line).groups()
            pairs = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))
            self.samples.append((name, pairs, float(value)))

    def sum(self, name, **labels):
        values = [value for each, pairs, value in self.samples
                  if each == name and labels.items() <= pairs.items()]
        assert values, "no sample of %s with %s" % (name, labels)
        return sum(values)

    def labels(self, name):
        return {label for each, pairs, _ in self.samples
                if re.sub("_(bucket|count|sum)$", "", each) == name or each == name
                for label in pairs if label not in ("le", "quantile")}


class MetricsTest(ClusterTest):
    fuse_metrics = "127.0.0.1:%d" % free_port()
    cluster_arguments = {"storage": 2, "mount_options": "metrics=" + fuse_metrics}

    def scrape(self, daemon):
        if daemon == "sheaf-fuse":
            return Scrape(self.fuse_metrics)
        name = "meta" if daemon == "sheaf-meta" else "storage-0"
        with open(os.path.join(self.cluster.directory, "config", name + ".toml"), "rb") as file:
            return Scrape(tomllib.load(file)["metrics"])

    def test_the_document_names_what_a_cluster_exports_and_nothing_else(self):
        table = documented()
        for daemon in sorted(EVERY):
            with self.subTest(daemon):
                scrape = self.scrape(daemon)
                exported = {(name, kind) for name, kind in scrape.types.items()}
                written = {(name, row[0]) for name, row in table[daemon].items()}
                self.assertEqual(exported - written, set(), "exported, not documented")
                self.assertEqual(written - exported, set(), "documented, not exported")
                for name, (_, _, labels) in table[daemon].items():
                    self.assertEqual(scrape.labels(name), labels, name)
                    self.assertIn(name, scrape.helps)

    def test_names_follow_the_conventions(self):
        for daemon, rows in documented().items():
            for name, (kind, unit, _) in rows.items():
                with self.subTest(name):
                    if name == "exposer_request_latencies":
                        continue  # the HTTP library's own
                    self.assertEqual(kind == "counter", name.endswith("_total"))
                    if kind == "histogram":
                        self.assertEqual(unit, "seconds")
                    base = name.removesuffix("_total")
                    for each in ["seconds", "bytes"]:
                        has = base.endswith("_" + each) or "_" + each + "_" in base
                        self.assertEqual(has, unit == each, "unit " + unit)
                    own = "sheaf_" + daemon.removeprefix("sheaf-") + "_"
                    self.assertRegex(name, "^(%s|process_|exposer_|sheaf_build_|sheaf_client_)" % own)

    def test_bytes_calls_and_errors_are_counted_once(self):
        fuse, storage, meta = (self.scrape("sheaf-" + each) for each in ["fuse", "storage", "meta"])
        size = 3 << 20
        with open(self.path("file"), "wb") as file:
            file.write(b"x" * size)
        with self.assertRaises(FileNotFoundError):
            os.stat(self.path("missing"))
        with self.assertRaises(FileExistsError):
            os.mkdir(self.directory)

        def after():
            now = self.scrape("sheaf-fuse")
            # A request is counted after its answer.
            released = (now.sum("sheaf_fuse_requests_total", operation="release") >
                        fuse.sum("sheaf_fuse_requests_total", operation="release"))
            return now if released else None

        now = wait_until(after, 30, "the last request's count")

        def grown(name, before=fuse, scrape=now, **labels):
            return scrape.sum(name, **labels) - before.sum(name, **labels)

        self.assertEqual(grown("sheaf_fuse_written_bytes_total"), size)
        self.assertEqual(grown("sheaf_client_chunk_bytes_total", operation="write"), size)
        self.assertEqual(grown("sheaf_fuse_requests_total", operation="create"), 1)
        self.assertEqual(grown("sheaf_fuse_request_seconds_count", operation="create"), 1)
        self.assertGreaterEqual(grown("sheaf_fuse_errors_total", operation="lookup"), 1)
        self.assertEqual(grown("sheaf_client_meta_calls_total", call="create"), 1)
        self.assertEqual(grown("sheaf_client_chunk_errors_total"), 0)
        meta_now = self.scrape("sheaf-meta")
        self.assertEqual(grown("sheaf_meta_calls_total", meta, meta_now, call="create"), 1)
        self.assertGreaterEqual(grown("sheaf_meta_call_errors_total", meta, meta_now,
                                      call="lookup"), 1)
        self.assertEqual(meta_now.sum("sheaf_meta_nodes", state="up"), 2)
        self.assertEqual(meta_now.sum("sheaf_meta_chains", state="down"), 0)
        self.assertGreater(grown("sheaf_meta_commit_seconds_count", meta, meta_now), 0)
        storage_now = self.scrape("sheaf-storage")
        self.assertEqual(storage_now.sum("sheaf_storage_serving"), 1)
        self.assertGreater(storage_now.sum("sheaf_storage_lease_remaining_seconds"), 0)
        self.assertEqual(storage_now.sum("sheaf_storage_corruptions_total"), 0)
        self.assertGreaterEqual(
            storage_now.sum("sheaf_storage_heartbeat_seconds_count"),
            storage.sum("sheaf_storage_heartbeat_seconds_count"))

    def test_buckets_rise_and_end_with_the_count(self):
        scrape = self.scrape("sheaf-fuse")
        series = {}
        for name, labels, value in scrape.samples:
            if name == "sheaf_fuse_request_seconds_bucket":
                series.setdefault(labels["operation"], []).append((float(labels["le"]), value))
        self.assertIn("create", series)
        for operation, buckets in series.items():
            values = [value for _, value in sorted(buckets)]
            self.assertEqual(values, sorted(values))
            self.assertEqual(max(buckets)[0], float("inf"))
            self.assertEqual(values[-1], scrape.sum("sheaf_fuse_request_seconds_count",
                                                    operation=operation))


if __name__ == "__main__":
    unittest.main()
