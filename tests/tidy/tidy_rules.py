"""Rules about the source: which folder may include which, calls that have a replacement, length.

Each rule is a function from (path, lines) to a list of (line number, text). Paths are relative to the
root of the repository. An exception is written down here, with its reason.
"""

import re

MAX_LINES = 600
# Files over the mark when the rule came; they may shrink and leave, none may join.
LONG_FILES = {}

# What the product's folders may include of one another, beside themselves.
MAY_INCLUDE = {
    "proto": set(),
    "common": {"proto"},
    "meta": {"common", "proto"},
    "storage": {"common", "proto"},
    "client": {"common", "proto"},
    "fuse": {"common"},  # and client/sheaf.h
}
PUBLIC_HEADER = "client/sheaf.h"
# The command is a user of the client library, as fuse is.
ONLY_PUBLIC_CLIENT = ("fuse/", "client/cli/")

# Headers of libraries that stay behind one folder, so that the rest does not compile against them.
CONFINED = [
    (re.compile(r"^(grpcpp|grpc)/|\.grpc\.pb\.h$"), "header",
     {"common/rpc.h"}, "gRPC"),
    (re.compile(r"^rocksdb/"), "header", set(), "RocksDB"),
    (re.compile(r"^liburing\.h$"), "header", set(), "liburing"),
]
# Headers that need them: adapters over the library itself.
CONFINED_FOLDERS = {
    "gRPC": ("meta/service/", "storage/service/", "client/meta/", "meta/cluster/", "tests/"),
    "RocksDB": ("meta/kv/", "storage/engine/", "tests/"),
    "liburing": ("storage/disk/", "storage/service/", "tests/"),
}

INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)')

BANNED = [
    # pattern, where it counts, where it is allowed, what to do instead
    (re.compile(r"\b(?:std::)?s?rand\s*\("), "", (), "use <random> with a seed that is printed"),
    (re.compile(r"(?<![\w.>:])(?:::)?close\s*\("), "", ("common/fd.h", "tests/"),
     "descriptors are owned by UniqueFd"),
    (re.compile(r"\b(?:u|nano)?sleep\s*\(|\bsleep_(?:for|until)\s*\("), "tests/", ("tests/bench/",),
     "wait for the event, with a latch or a promise"),
    (re.compile(r"\bstd::format\b|#include <format>"), "", (), "not in g++ 12; log and test with fmt"),
    (re.compile(r"\b(?:TODO|FIXME|XXX)\b"), "", ("tests/tidy/",), "finish it, or open an issue"),
]


def component(path):
    return path.split("/", 1)[0]


def check_include(path, included):
    """Why `path` may not include `included`, or None."""
    own, other = component(path), component(included)
    if own not in MAY_INCLUDE or other not in set(MAY_INCLUDE) | {"tests"}:
        return None
    if other == "tests":
        return "the product does not include tests"
    if included == PUBLIC_HEADER and own in ("client", "fuse"):
        return None
    if path.startswith(ONLY_PUBLIC_CLIENT) and other == "client":
        if own == "client" and included.startswith("client/cli/"):
            return None
        return "only %s is seen from here" % PUBLIC_HEADER
    if own == "client" and included.startswith("client/cli/"):
        return "the library does not know the command"
    if other == own or other in MAY_INCLUDE[own]:
        return None
    return "%s may include only %s" % (own, ", ".join(sorted(MAY_INCLUDE[own] | {own})))


def check_confined(path, included):
    if not path.endswith(".h"):
        return None
    for pattern, _, allowed, name in CONFINED:
        if not pattern.search(included) or path in allowed:
            continue
        if path.startswith(CONFINED_FOLDERS[name]):
            continue
        return "a header here does not bring %s to all who include it" % name
    return None


def includes(path, lines):
    found = []
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        included = match.group(1) or match.group(2)
        why = (check_include(path, match.group(1)) if match.group(1) else None) or check_confined(
            path, included)
        if why:
            found.append((number, "includes %s: %s" % (included, why)))
    return found


def without_comment_and_text(line):
    line = re.sub(r'"(?:[^"\\]|\\.)*"', '""', line)
    return re.sub(r"//.*", "", line)


def banned_calls(path, lines):
    found = []
    for number, line in enumerate(lines, 1):
        for pattern, under, allowed, instead in BANNED:
            if not path.startswith(under) or (allowed and path.startswith(allowed)):
                continue
            # A reminder is in a comment; a call is not.
            text = line if "TODO" in pattern.pattern else without_comment_and_text(line)
            if pattern.search(text):
                found.append((number, "%s: %s" % (line.strip(), instead)))
    return found


def length(path, lines):
    limit = LONG_FILES.get(path, MAX_LINES)
    if len(lines) <= limit:
        return []
    return [(len(lines), "%d lines, more than %d: what second thing is in here?" % (len(lines), limit))]


def headers(path, lines):
    if not path.endswith(".h") or any(line.strip() == "#pragma once" for line in lines[:40]):
        return []
    return [(1, "a header without #pragma once")]


RULES = [includes, banned_calls, length, headers]


def check(path, text):
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    return ["%s:%d: %s" % (path, number, message)
            for rule in RULES for number, message in rule(path, lines)]
