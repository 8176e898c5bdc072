"""Holds the table of plants against the tree, without building anything.

Removing any single sync from the product, or any one rule of fencing, fails a test. run.py plants
each of these and checks that:

  kv-write
  executor-commit
  executor-answers-first
  store-format
  space-reserve-release
  slab-syncs
  slab-syncs-each
  slab-syncs-first
  slab-sync-reaches-the-file
  index-commit
  zeros-before-their-name
  log-name-before-records
  index-stream-rows
  held-blocks-wait
  held-slot-stays
  rewrite-slab-syncs
  rewrite-compares
  rewrite-ends-first
  index-target-record
  slab-file
  slab-directory
  slab-file-before-its-name
  slab-data
  state-directory-entry
  state-directory-sync
  durable-file-content
  durable-file-name
  durable-file-order
  client-sync-flushes
  client-sync-reports
  client-length-after-bytes
  client-flush-waits
  client-failure-is-kept
  client-sync-all-tells
  client-sync-all
  client-handle-sync
  client-durable-write
  client-durable-append
  client-direct-goes-through
  client-handle-flush
  client-handle-flush-reports
  client-close-flushes
  client-close-reports
  client-through-after-buffered
  client-truncate-flushes
  client-truncate-reports
  mount-fsync
  mount-flush
  executor-refuses-fenced
  executor-refuses-unknown
  end-is-durable
  end-before-fence
  end-that-failed
  end-asks-for-fence
  ended-cannot-renew
  settle-after-fence
  pins-after-fence
  pins-do-not-wait-for-settling
  close-answered-at-fence
  close-answered-at-stop
  restart-takes-up-ends
  service-session-is-new
  service-waits-for-fence
  trimmer-needs-identity
  trimmer-names-its-session
  trimmer-keeps-stream
  fence-known-by-every-node
  fence-waits-for-known-version
  fence-over-by-known-version
  fence-waits-for-lease
  fence-over-by-lease
  fence-lease-surely-over
  fence-holds-leases
  fence-holds-leases-from-plan
  fence-is-durable
  fence-after-restart-unknown
  fence-after-restart-leases
  fence-after-restart-goes-on
  fence-restart-fences-ended
  fence-settled-before-next
  fence-one-at-a-time
  fence-asked-again
  fence-stored-before-told
  restart-takes-out
  restart-in-one-change
  restart-holds-leases
  restart-ends-earlier-process
  restart-ends-earlier-process-at-once
  restart-waits-for-who-is-left
  restart-by-its-disks
  restart-by-its-disks-here
  restart-named-by-storage
  stopped-is-the-last-word
  stopped-waits-for-who-is-left
  given-up-together
  given-up-when-overdue
  moved-disk-waits
  complete-of-present-version
  complete-not-by-registration
  disk-replaced-loses
  disk-replaced-in-one-change
  disk-replaced-at-its-place
  lost-disk-outdated
  lost-disk-given-up
  last-holder-stays
  replaced-target-is-out
  drained-knows-that-it-leaves
  drained-once-others-serve
  drained-called-back
  cut-off-once-it-knows
  new-member-is-offline
  leaving-answers-no-reads
  removed-replica-stops
  storage-refuses-fenced
  storage-fence-whole-range
  storage-map-in-force
  storage-reports-map-in-force
  storage-admits-where-it-begins
  storage-mutation-still-admitted
  storage-read-still-admitted
  storage-under-way-until-committed
  storage-forgets-what-is-idle
  storage-late-refused
  storage-stream-occupied
  storage-repeated-once
  storage-lease
  storage-lease-from-send
  storage-stops-before-it-says-so
  storage-lease-dropped
  storage-chain-version
  storage-older-map
  report-of-older-epoch
  truncate-raises-epoch
  truncate-drops-reservations
  append-of-older-epoch
  append-needs-write-open
  lengthening-waits-for-trim
  truncate-waits-for-trim
  append-waits-for-trim
  lengthening-trims-behind-others
  settle-checks-data-id
  settle-checks-epoch
  settle-asks-again
  settle-not-while-trimming
  trim-before-intent-goes
  reclaim-waits-for-acknowledgements
  reclaim-waits-for-inode-pins
  reclaim-waits-for-data-pins
  reclaim-after-restart
  reclaim-overtaken-renewal
  client-acknowledges-after-opens
  client-pins-open-inodes
  client-drops-lost-buffer
  client-sends-under-one-session
  client-fenced-is-final
  client-closes-its-own-session
  client-closes-what-it-opened
  client-names-the-session-it-closes
  client-files-again
  client-unknown-outcome
"""

import fnmatch
import os
import re
import unittest

import plant as table

# What a sync looks like, and where.
EVERYWHERE = ("common", "meta", "storage", "client", "fuse")
SYNCS = [(re.compile(pattern), folders) for pattern, folders in (
    (r"\b(?:fsync|fdatasync|msync|syncfs|sync_file_range)\s*\(", EVERYWHERE),
    (r"\bio_uring_prep_fsync\b|\bIORING_OP_FSYNC\b", EVERYWHERE),
    (r"\.sync\s*=[^=]|/\*sync=\*/", EVERYWHERE),  # RocksDB's WriteOptions, KvStore::Write
    (r"\b(?:SyncWAL|FlushWAL)\s*\(", EVERYWHERE),
    (r"(?:->|\.)Fsync(?:WithDirOptions)?\(\{", EVERYWHERE),  # RocksDB's files and directories
    (r"\b(?:SyncSlabs|SyncPath|SyncAll|WriteFileDurably)\s*\(", EVERYWHERE),
    (r"(?:\.|->|= |\()Sync\(", EVERYWHERE),
    (r"(?:\.|->)Flush\(", ("client", "fuse")),  # elsewhere a socket's
)]
DECLARED = re.compile(r"^\s*(?:virtual )?Status [\w:]+\([^;]*(?:;|\{|,| override;| = 0;)\s*$")
COMMENT = re.compile(r"//.*$")


def sources():
    for folder in EVERYWHERE:
        for directory, _, names in os.walk(os.path.join(table.ROOT, folder)):
            for name in sorted(names):
                if name.endswith((".h", ".cc")):
                    yield os.path.relpath(os.path.join(directory, name), table.ROOT)


def read(path):
    with open(os.path.join(table.ROOT, path), encoding="utf-8") as file:
        return file.read()


def sync_lines(path, text):
    """(line number, the line without its indentation) of what looks like a sync."""
    patterns = [pattern for pattern, folders in SYNCS if path.startswith(folders)]
    for number, line in enumerate(text.splitlines(), 1):
        code = COMMENT.sub("", line)
        if DECLARED.match(code) and "{ return" not in code:
            continue
        if any(pattern.search(code) for pattern in patterns):
            yield number, line.strip()


def lines(text):
    return {line.strip() for line in text.splitlines()}


def listed():
    """The names and rules of the table, as the comment at the top has them."""
    return [each for each in re.findall(r"^  ([\w-]+)$", __doc__, re.MULTILINE)]


class PlantsTest(unittest.TestCase):
    def setUp(self):
        self.plants, self.exceptions = table.load()

    def test_names_and_rules_are_there_once(self):
        names = [each.name for each in self.plants]
        self.assertEqual(sorted(names), sorted(set(names)))
        for each in self.plants:
            self.assertRegex(each.name, r"^[a-z0-9-]+$")
            self.assertTrue(each.rule.endswith("."), each.name)
            self.assertNotEqual(each.old, each.new, each.name)

    def test_the_comment_lists_every_plant(self):
        self.assertEqual(listed(), [each.name for each in self.plants])

    def test_old_text_occurs_once(self):
        for each in self.plants:
            with self.subTest(each.name):
                each.apply(read(each.file))

    def test_the_named_tests_exist(self):
        programs = table.programs()
        for each in self.plants:
            with self.subTest(each.name):
                self.assertIn(each.program, programs)
                tests = table.tests_of(programs[each.program])
                for pattern in each.filter.split(":"):
                    self.assertTrue(fnmatch.filter(tests, pattern),
                                    "%s has no test %s" % (each.program, pattern))

    def test_every_sync_has_a_plant(self):
        planted, exempt = {}, {}
        for each in self.plants:
            text = read(each.file)
            at = text.find(each.old)
            begin = text.rfind("\n", 0, at) + 1
            end = at + len(each.old)
            if not each.old.endswith("\n"):
                end = text.find("\n", end)
            changed = lines(text[begin:end]) - lines(each.apply(text)[begin:])
            planted.setdefault(each.file, set()).update(changed or lines(text[begin:end]))
        for each in self.exceptions:
            exempt.setdefault(each.file, set()).add(each.line)
        count = 0
        for path in sources():
            for number, line in sync_lines(path, read(path)):
                count += 1
                self.assertTrue(
                    line in planted.get(path, ()) or line in exempt.get(path, ()),
                    "%s:%d: no plant takes this sync away; add one to syncs.toml, with the test "
                    "that fails without it: %s" % (path, number, line))
        self.assertGreater(count, 30, "the scan finds nothing")

    def test_exceptions_are_needed(self):
        for each in self.exceptions:
            with self.subTest(each.file):
                self.assertIn(each.line, [line for _, line in sync_lines(each.file, read(each.file))])
                self.assertTrue(each.reason)

    def test_the_scan_knows_a_sync(self):
        for code in ("  if (::fsync(fd) != 0) {", "  fdatasync(fd);", "  options.sync = true;",
                     "  store.Write(batch, /*sync=*/true);", "  return file->Sync();",
                     "    Status synced = Sync(inode);", "  (void)behind_.Flush(inode);",
                     "  db->SyncWAL();", "  RETURN_IF_ERROR(SyncPath(path));"):
            self.assertTrue(list(sync_lines("client/a.cc", code)), code)
        for code in ("  // fsync(2) is about the file", "  virtual Status Sync(FileSlot file) = 0;",
                     "Status SyncPath(const std::string& path) {", "  fsyncdir, FsyncDirectory"):
            self.assertFalse(list(sync_lines("client/a.cc", code)), code)


if __name__ == "__main__":
    unittest.main()
