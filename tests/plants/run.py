#!/usr/bin/env python3
"""Plants each fault of the table in a copy of the tree and demands that its test fails.

The copy is of the files that git tracks, as they are in the working tree; it is built with the
preset dev and removed at the end. For each plant the test must pass without it, the program must
build with it, and the test must then run and fail: a crash and a time-out count as failing, a
compile error does not. Exits 1 if any plant survived.
"""

import argparse
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import plant as table

PRESET = "dev"
BASELINE_TIMEOUT = 600  # seconds, of tests without a plant
SLOWER = 5              # times as long as without it a test may take, at least, with a plant
RUNNING = re.compile(r"^\[=+\] Running (\d+) tests?", re.MULTILINE)


class Failure(Exception):
    """What cannot be judged: a build or a baseline that fails."""


def interrupted(number, _frame):
    raise KeyboardInterrupt("signal %d" % number)


def tail(text, lines=15):
    return "\n".join("    " + line for line in text.splitlines()[-lines:])


# Kindly at first: ninja's compilers have process groups of their own, which it ends itself.
def end(process):
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Copy:
    """A copy of the tree with its build directory."""

    def __init__(self, jobs):
        self.jobs = jobs
        self.root = tempfile.mkdtemp(prefix="sheaf-plants-")
        self.build_directory = os.path.join(self.root, "build", PRESET)
        scratch = os.path.join(self.root, "tmp")
        os.mkdir(scratch)
        # Objects are found in the cache whatever the copy is called.
        self.environment = dict(os.environ, CCACHE_BASEDIR=self.root, CCACHE_NOHASHDIR="1",
                                TMPDIR=scratch)

    def remove(self):
        shutil.rmtree(self.root, ignore_errors=True)

    def fill(self, source):
        listed = subprocess.run(["git", "-C", source, "ls-files", "-z"], check=True,
                                stdout=subprocess.PIPE).stdout
        for name in listed.decode().split("\0"):
            path = os.path.join(source, name)
            if not name or not os.path.lexists(path):
                continue
            target = os.path.join(self.root, name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(path, target, follow_symlinks=False)

    def run(self, command, timeout=None):
        """(exit status, output); None when it ran out of time."""
        process = subprocess.Popen(
            command, cwd=self.root, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
        status = None
        try:
            output, _ = process.communicate(timeout=timeout)
            status = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
        except BaseException:
            end(process)
            raise
        return status, output.decode(errors="replace")

    def configure(self):
        status, output = self.run(["cmake", "--preset", PRESET])
        if status != 0:
            raise Failure("the copy cannot be configured:\n" + tail(output))

    def build(self, program):
        status, output = self.run(
            ["ninja", "-C", self.build_directory, "-j%d" % self.jobs, program])
        if status != 0:
            errors = [line for line in output.splitlines() if "error" in line or "FAILED" in line]
            raise Failure("%s does not build:\n%s" % (program, tail("\n".join(errors) or output)))

    def test(self, program, pattern, timeout):
        """(tests that ran, whether they passed, output)."""
        status, output = self.run(
            [os.path.join(self.build_directory, "bin", program), "--gtest_filter=" + pattern,
             "--gtest_color=no"], timeout)
        running = RUNNING.search(output)
        return int(running.group(1)) if running else 0, status == 0, output

    def replace(self, name, change):
        """Changes a file's text; returns the text before."""
        path = os.path.join(self.root, name)
        with open(path, encoding="utf-8") as file:
            before = file.read()
        self.write(name, change(before))
        return before

    def write(self, name, text):
        with open(os.path.join(self.root, name), "w", encoding="utf-8") as file:
            file.write(text)


def judge(copy, plant, timeout):
    """None when the plant's test fails with it, else what is wrong."""
    before = copy.replace(plant.file, plant.apply)
    try:
        copy.build(plant.program)
        count, passed, _ = copy.test(plant.program, plant.filter, timeout)
    finally:
        copy.write(plant.file, before)
    if count == 0:
        return "no test ran"
    return "SURVIVED: %s passes without this rule: %s" % (plant.filter, plant.rule) \
        if passed else None


def baseline(copy, plants):
    """How long each filter's tests take without a plant, of those that pass; says what is wrong
    with the others."""
    took = {}
    for program, pattern in sorted({(each.program, each.filter) for each in plants}):
        began = time.monotonic()
        count, passed, output = copy.test(program, pattern, BASELINE_TIMEOUT)
        if count > 0 and passed:
            took[pattern] = time.monotonic() - began
        else:
            print("BAD     %s %s fails without a plant (%d tests ran):\n%s"
                  % (program, pattern, count, tail(output)), flush=True)
    return took


def run_program(copy, program, plants, timeout):
    """The names of those plants that did not make their test fail."""
    bad = {each.name for each in plants}
    try:
        copy.build(program)
    except Failure as failure:
        print("BAD     without a plant %s" % failure, flush=True)
        return bad
    took = baseline(copy, plants)
    for each in plants:
        if each.filter not in took:
            continue
        began = time.monotonic()
        try:
            wrong = judge(copy, each, max(timeout, SLOWER * took[each.filter]))
        except (Failure, ValueError) as failure:
            wrong = str(failure)
        if wrong is None:
            bad.remove(each.name)
        print("%-4s %6.1f s  %-38s %s" % ("ok" if wrong is None else "BAD",
                                          time.monotonic() - began, each.name,
                                          wrong or each.filter), flush=True)
    return bad


def choose(plants, names):
    unknown = set(names) - {each.name for each in plants}
    if unknown:
        sys.exit("run.py: error: no plant is called %s; --list names them all"
                 % ", ".join(sorted(unknown)))
    chosen = [each for each in plants if not names or each.name in names]
    by_program = {}
    for each in sorted(chosen, key=lambda each: each.file):
        by_program.setdefault(each.program, []).append(each)
    return by_program


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", metavar="NAME", nargs="*", help="only these plants")
    parser.add_argument("--list", action="store_true", help="name the plants and their rules")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N",
                        help="compilers at once (default: one a core, %(default)s)")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS",
                        help="after which a test with a plant counts as failed, if that is five "
                             "times as long as without (default: %(default)s)")
    arguments = parser.parse_args()
    plants, _ = table.load()
    by_program = choose(plants, arguments.names)
    if arguments.list:
        for each in plants:
            print("%-38s %s" % (each.name, each.rule))
        return 0

    began = time.monotonic()
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    copy = Copy(arguments.jobs)
    bad = set()
    try:
        copy.fill(table.ROOT)
        copy.configure()
        for program, group in by_program.items():
            bad |= run_program(copy, program, group, arguments.timeout)
    except KeyboardInterrupt:
        print("run.py: interrupted", file=sys.stderr)
        return 1
    except Failure as failure:
        print("run.py: error: %s" % failure, file=sys.stderr)
        return 1
    finally:
        copy.remove()
    count = sum(len(group) for group in by_program.values())
    print("%d plants, %d made their test fail, %d did not%s; %d s"
          % (count, count - len(bad), len(bad), ": " + ", ".join(sorted(bad)) if bad else "",
             time.monotonic() - began))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
