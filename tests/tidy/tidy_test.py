"""Holds every C++ file of the repository against tidy_rules.py. Usage: tidy_test.py ROOT"""

import os
import sys

import tidy_rules

FOLDERS = ["common", "meta", "storage", "client", "fuse", "tests"]


def sources(root):
    for folder in FOLDERS:
        for directory, _, names in os.walk(os.path.join(root, folder)):
            for name in sorted(names):
                if name.endswith((".h", ".cc")):
                    yield os.path.relpath(os.path.join(directory, name), root)


def main():
    root = sys.argv[1]
    findings, count = [], 0
    for path in sources(root):
        count += 1
        with open(os.path.join(root, path), encoding="utf-8") as file:
            findings += tidy_rules.check(path, file.read())
    print("\n".join(findings))
    print("%d files, %d findings" % (count, len(findings)))
    if count == 0:
        sys.exit("no sources under " + root)
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
