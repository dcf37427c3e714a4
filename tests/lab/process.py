"""Processes of the lab: each with its log file, each waited for with a deadline."""

import os
import signal
import subprocess
import time


PATIENCE_S = 60.0  # what a busy machine may need for anything; only a test that fails waits for so long


class LabError(Exception):
    """The lab could not do what was asked; the text says what and why."""


class LabTimeout(LabError):
    """Something did not happen in time; the text says what was waited for."""


def wait_until(what, condition, timeout_s=PATIENCE_S, every_s=0.02):
    """Calls condition() until it gives something true, and returns that. LabTimeout names what was waited for."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise LabTimeout(f"waited {timeout_s:g} s for {what}")
        time.sleep(every_s)


def text_of(data):
    """Output of a process, which may be missing or half a character."""
    return (data or b"").decode("utf-8", "replace")


class Process:
    """A process that runs beside the lab. Its output goes to files, so it never blocks on the lab."""

    def __init__(self, name, argv, log_dir, log_name=None, stdin=None, env=None, own_session=True):
        os.makedirs(log_dir, exist_ok=True)
        self.name = name
        self.out_path = os.path.join(log_dir, (log_name or name) + ".out")
        self.err_path = os.path.join(log_dir, (log_name or name) + ".err")
        self.stopped = False
        try:
            with open(self.out_path, "ab") as out, open(self.err_path, "ab") as err:
                # A session of its own: ctrl-C, and the end of the terminal of a lab that stays up, are for the lab. But
                # the kernel shares a processor out by session first (sched_autogroup), and what a process is worth
                # (nice, SCHED_IDLE) counts within its own alone.
                self.popen = subprocess.Popen(argv, stdin=stdin or subprocess.DEVNULL, stdout=out,
                                              stderr=err, env=env, start_new_session=own_session)
        except OSError as error:
            raise LabError(f"cannot start {name}: {error}") from None

    @property
    def pid(self):
        return self.popen.pid

    def is_running(self):
        return self.popen.poll() is None

    def out(self):
        """Standard output so far."""
        return _read_text(self.out_path)

    def err(self):
        """Standard error so far."""
        return _read_text(self.err_path)

    def last_words(self, n_lines=15):
        """The ends of both outputs, for an error message."""
        lines = self.err().splitlines()[-n_lines:] + self.out().splitlines()[-n_lines:]
        return "\n".join("    " + line for line in lines)

    def wait(self, timeout_s=PATIENCE_S):
        """The exit status; negative: the signal that ended it."""
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise LabTimeout(f"waited {timeout_s:g} s for {self.name} to end\n{self.last_words()}") from None

    def signal(self, number):
        if self.is_running():
            self.popen.send_signal(number)

    def stop(self, timeout_s=PATIENCE_S):
        """SIGTERM, then the exit status. A process that does not end in time is killed and LabTimeout raised."""
        self.stopped = True
        self.signal(signal.SIGTERM)
        try:
            return self.wait(timeout_s)
        except LabTimeout:
            self.kill()
            raise

    def kill(self):
        """SIGKILL: no chance to tidy up."""
        self.stopped = True
        self.signal(signal.SIGKILL)
        return self.wait()

    def ensure_running(self):
        if not self.is_running():
            raise LabError(f"{self.name} ended with {self.popen.returncode}\n{self.last_words()}")


def _read_text(path):
    try:
        with open(path, "rb") as file:
            return text_of(file.read())
    except FileNotFoundError:
        return ""


def run(argv, timeout_s=PATIENCE_S, input_text=None, env=None):
    """Runs a command to its end. The result has returncode, stdout and stderr as text."""
    try:
        done = subprocess.run(argv, timeout=timeout_s, capture_output=True, env=env, check=False,
                              input=None if input_text is None else input_text.encode(),
                              stdin=subprocess.DEVNULL if input_text is None else None)
    except OSError as error:
        raise LabError(f"cannot run {argv[0]}: {error}") from None
    except subprocess.TimeoutExpired as error:
        said = text_of(error.stdout) + text_of(error.stderr)
        raise LabTimeout(f"waited {timeout_s:g} s for {' '.join(argv)}\n{said}") from None
    return subprocess.CompletedProcess(argv, done.returncode, text_of(done.stdout), text_of(done.stderr))


def check(argv, **options):
    """run(), and LabError when the command fails."""
    done = run(argv, **options)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()}")
    return done
