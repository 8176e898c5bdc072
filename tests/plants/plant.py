"""The table of plants: each takes one sync or one rule of fencing out of the product and names the
test that must fail without it. syncs.toml and fencing.toml are the table.

Fields of a [[plant]]:
  name      unique
  rule      what the text in the product keeps, in one sentence
  file      of the product
  old       its text; occurs exactly once in the file
  new       what is planted instead: compiles without a warning, and breaks the rule and nothing else
  program   the GoogleTest program of the test
  filter    its --gtest_filter; at least one of the tests that it picks must fail

Fields of an [[exception]]: a line of the product that looks like a sync and has no plant of its own.
  file, line    where, and the whole line without its indentation
  reason        why it needs none
"""

import dataclasses
import os
import re
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TABLES = ("syncs.toml", "fencing.toml")


@dataclasses.dataclass(frozen=True)
class Plant:
    name: str
    rule: str
    file: str
    old: str
    new: str
    program: str
    filter: str
    table: str

    def apply(self, text):
        """The file's text with the plant in it."""
        if text.count(self.old) != 1:
            raise ValueError("plant %s: its old text occurs %d times in %s; it must occur once"
                             % (self.name, text.count(self.old), self.file))
        return text.replace(self.old, self.new)


@dataclasses.dataclass(frozen=True)
class Exemption:
    file: str
    line: str
    reason: str


def load():
    """(plants, exceptions) of all tables."""
    plants, exceptions = [], []
    for table in TABLES:
        with open(os.path.join(HERE, table), "rb") as file:
            tables = tomllib.load(file)
        plants += [Plant(**fields, table=table) for fields in tables.get("plant", [])]
        exceptions += [Exemption(**fields) for fields in tables.get("exception", [])]
    return plants, exceptions


# What CMake makes of the test programs.

FOREACH = re.compile(r"foreach\((\w+)\s+([^)]*)\)(.*?)endforeach\(\)", re.DOTALL)
PROGRAM = re.compile(r"^sheaf_(?:cluster_)?test\(\s*(\w+)\s+SOURCES\s+([^)]*?)\s*(?:(?:ALONE|DEPS)\b|\))",
                     re.DOTALL | re.MULTILINE)
TEST = re.compile(r"^TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\s*\)", re.MULTILINE)


def expand(text):
    """Writes each foreach out."""
    def written_out(match):
        variable, values, body = match.groups()
        return "\n".join(body.replace("${%s}" % variable, value) for value in values.split())
    text = FOREACH.sub(written_out, text)
    return "\n".join(line.strip() for line in text.splitlines())


def programs(root=ROOT):
    """The sources of each test program, by its name."""
    found = {}
    for folder, _, names in os.walk(os.path.join(root, "tests")):
        if "CMakeLists.txt" not in names:
            continue
        with open(os.path.join(folder, "CMakeLists.txt"), encoding="utf-8") as file:
            for name, sources in PROGRAM.findall(expand(file.read())):
                found[name] = [os.path.join(folder, source) for source in sources.split()]
    return found


def tests_of(sources):
    """The tests in these files as Suite.Name."""
    found = set()
    for source in sources:
        with open(source, encoding="utf-8") as file:
            found |= {"%s.%s" % each for each in TEST.findall(file.read())}
    return found
