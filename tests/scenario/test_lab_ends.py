"""Whatever ends a lab, nothing of it remains; and an ordinary user can raise one."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
import uuid

import lab
from process import PATIENCE_S, wait_until

MARK = "ISTHMUS_LAB_TEST_MARK"
LAB_DIR = os.path.dirname(os.path.abspath(lab.__file__))


def marked_processes(mark):
    """The processes that carry our mark in their environment: all that the lab started carry it."""
    needle, found = f"{MARK}={mark}".encode(), []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if needle in file.read().split(b"\0"):
                    found.append(int(pid))
        except OSError:
            pass
    return found


def parent_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def left_outside(temporary):
    """What a lab could leave outside of its namespaces: files, names of namespaces, mounts."""
    netns = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounts = [line for line in file if "/run" in line.split()[4]]
    return os.listdir(temporary), os.path.exists(lab.FOLDER), netns, mounts


class HeldLab:
    """`lab.py hold` as a process, with a mark that finds everything it started."""

    def __init__(self, lab_dir=LAB_DIR, relay=None, **options):
        self.mark = uuid.uuid4().hex
        self.temporary = tempfile.mkdtemp(prefix="lab-ends-")
        os.chmod(self.temporary, 0o777)
        self.before = left_outside(self.temporary)
        env = {**os.environ, MARK: self.mark, "TMPDIR": self.temporary,
               "ISTHMUS_LAB_WAN": relay or os.environ.get("ISTHMUS_LAB_WAN", "")}
        self.popen = subprocess.Popen([sys.executable, os.path.join(lab_dir, "lab.py"), "hold"], env=env,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
        self.said = self.popen.stdout.readline()

    def is_up(self):
        return self.said.startswith("the lab is up")

    def inner_pids(self):
        return [pid for pid in marked_processes(self.mark) if pid != self.popen.pid]

    def close(self):
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(PATIENCE_S)
        self.popen.stdout.close()
        self.popen.stderr.close()
        os.rmdir(self.temporary)


class WhateverEndsIt(unittest.TestCase):
    def hold(self, **options):
        held = HeldLab(**options)
        self.addCleanup(held.close)
        if not held.is_up():
            held.popen.wait(PATIENCE_S)
            words = held.popen.stderr.read()
            if os.geteuid() != 0 and "namespace" in words:
                self.skipTest(words)
            self.fail(f"the lab did not come up: {words}")
        return held

    def assert_nothing_remains(self, held):
        """A namespace lives by its processes, by open files, which are theirs, and by mounts: by nothing else."""
        wait_until("every process of the lab to be gone", lambda: not marked_processes(held.mark))
        self.assertEqual(left_outside(held.temporary), held.before)

    def end_by(self, number, of_inner=False):
        held = self.hold()
        inner = held.inner_pids()
        self.assertGreater(len(inner), 3)  # the lab, its relay, two resolvers: so that "none" means something later
        # Not the lowest number: they come again.
        first, = (pid for pid in inner if parent_of(pid) == held.popen.pid)
        os.kill(first if of_inner else held.popen.pid, number)
        status = held.popen.wait(PATIENCE_S)
        self.assert_nothing_remains(held)
        return status

    def test_killed_from_outside_it_leaves_nothing(self):
        self.assertEqual(self.end_by(signal.SIGKILL), -signal.SIGKILL)

    def test_killed_from_inside_it_leaves_nothing(self):
        self.assertEqual(self.end_by(signal.SIGKILL, of_inner=True), 128 + signal.SIGKILL)

    def test_terminated_it_leaves_nothing(self):
        self.assertEqual(self.end_by(signal.SIGTERM), 128 + signal.SIGTERM)

    def test_hung_up_it_leaves_nothing(self):
        self.assertEqual(self.end_by(signal.SIGHUP), 128 + signal.SIGHUP)

    def test_interrupted_like_by_ctrl_c_it_leaves_nothing(self):
        held = self.hold(start_new_session=True)
        os.killpg(held.popen.pid, signal.SIGINT)
        self.assertEqual(held.popen.wait(PATIENCE_S), 130)
        self.assert_nothing_remains(held)

    def test_a_lab_that_fails_to_rise_leaves_nothing(self):
        held = HeldLab(relay="/nonexistent/relay")
        self.addCleanup(held.close)
        self.assertEqual(held.said, "")
        self.assertEqual(held.popen.wait(PATIENCE_S), 1)
        self.assertIn("/nonexistent/relay", held.popen.stderr.read())
        self.assert_nothing_remains(held)

    def test_a_test_file_dies_with_who_started_it(self):
        mark = uuid.uuid4().hex
        program = ("import lab, time\nlab.enter(tied=True)\nprint('inside', flush=True)\ntime.sleep(600)\n")
        starter = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {program!r}])\n"
        popen = subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True,
                                 env={**os.environ, MARK: mark, "PYTHONPATH": LAB_DIR})
        self.addCleanup(popen.stdout.close)
        if popen.stdout.readline() != "inside\n":
            popen.wait(PATIENCE_S)
            self.skipTest("this user may not have namespaces of their own")
        self.assertEqual(len(marked_processes(mark)), 3)
        popen.kill()
        popen.wait(PATIENCE_S)
        wait_until("the test file to be gone", lambda: not marked_processes(mark))


@unittest.skipIf(os.geteuid() != 0, "the tests run as an ordinary user already")
class AnOrdinaryUser(unittest.TestCase):
    def setUp(self):
        """A copy that this user can read wherever the repository is, without the rights of its folders."""
        self.user = pwd.getpwnam("nobody")
        folder = tempfile.mkdtemp(prefix="lab-user-")
        self.addCleanup(shutil.rmtree, folder)
        os.chmod(folder, 0o755)
        self.lab_dir = shutil.copytree(LAB_DIR, os.path.join(folder, "lab"))
        relay = lab.find_program("ISTHMUS_LAB_WAN", "release/tests/lab/lab_wan", "dev/tests/lab/lab_wan")
        self.relay = shutil.copy(relay, os.path.join(folder, "lab_wan"))

    def test_raises_a_lab_and_leaves_nothing(self):
        held = HeldLab(self.lab_dir, self.relay, user=self.user.pw_uid, group=self.user.pw_gid, extra_groups=[],
                       cwd="/")
        self.addCleanup(held.close)
        if not held.is_up():
            held.popen.wait(PATIENCE_S)
            words = held.popen.stderr.read()
            if "no user namespace" in words:
                self.skipTest(words)
            self.fail(f"the lab did not come up: {words}")
        self.assertGreater(len(held.inner_pids()), 3)
        held.popen.kill()
        held.popen.wait(PATIENCE_S)
        wait_until("every process of the lab to be gone", lambda: not marked_processes(held.mark))
        self.assertEqual(left_outside(held.temporary), held.before)


if __name__ == "__main__":
    unittest.main(verbosity=2)
