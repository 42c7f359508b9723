"""measure.py - one run of one program on one malloc, and what it cost."""

import os
import subprocess


class Trouble(Exception):
    """The bench cannot go on; the message says what to do about it."""


class Contender:
    """A malloc that is measured: a library, or None for the C library's."""

    def __init__(self, name, library):
        # A stage is called by its number: 04 for 04-size-classes.
        self.name = name[:2] if name[:2].isdigit() else name
        self.library = library and os.path.realpath(library)
        self.one_thread = name.startswith('01-')  # it has no lock
        self.not_in_use = None  # or why it cannot be measured at all
        self.huge_pages = None  # (KiB asked for, KiB got), once looked at


class Run:
    """How a program ended, and what it used until then."""

    def __init__(self, how, number, user, sys, wall, peak_kib):
        self.ended = how if number == 0 else f'{how} {number}'
        self.user, self.sys, self.wall = user, sys, wall
        self.cpu = user + sys
        self.peak = peak_kib / 1024  # MiB
        self.last_words = ''  # of a program that failed

    # The short names of what can go wrong, for the tables.
    FAULTS = {'time': 'over limit', 'memory': 'over memory'}

    @property
    def fault(self):
        """What went wrong, or None."""
        if self.ended == 'exit':
            return None
        return self.FAULTS.get(self.ended, self.ended)


class Limits:
    """When a run is ended: the launcher watches over both."""

    def __init__(self, seconds, mib):
        self.seconds, self.mib = seconds, mib


class Machine:
    """The directory, the environment and the tools that all runs share."""

    def __init__(self, launcher, workloads, directory):
        self.launcher = os.path.abspath(launcher)
        self.workloads = os.path.abspath(workloads)
        self.directory = os.path.abspath(directory)
        os.makedirs(self.directory, exist_ok=True)
        self.output = os.path.join(self.directory, 'output')
        # No variable of the caller may change what a malloc does.
        self.environment = {
            'PATH': '/usr/bin:/bin:' + os.environ.get('PATH', ''),
            'HOME': self.directory, 'TMPDIR': self.directory,
            'LC_ALL': 'C', 'TZ': 'UTC',
            # Otherwise python3 hardly ever calls malloc.
            'PYTHONMALLOC': 'malloc', 'PYTHONHASHSEED': '0',
        }

    def start(self, command, library, limits, stdin=None):
        """Starts a command under the launcher."""
        return subprocess.Popen(
            [self.launcher, f'{limits.seconds:.3f}', f'{limits.mib:.0f}',
             library or '', self.output] + command,
            cwd=self.directory, env=self.environment, text=True,
            stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE)

    def finish(self, launched):
        """Waits for what start returned, and returns the Run."""
        line = launched.communicate()[0].split()
        if launched.returncode != 0 or len(line) != 11 or line[0] != 'ended':
            raise Trouble(f'{self.launcher} failed')
        run = Run(line[1], int(line[2]), *(float(x) for x in line[4::2]))
        printed = self.printed()
        if 'cannot be preloaded' in printed:
            run.ended = 'not preloaded'
        if run.fault:
            run.last_words = printed.strip()[-300:]
        return run

    def run(self, command, library, limits, stdin_file=None):
        if stdin_file is None:
            return self.finish(self.start(command, library, limits))
        with open(stdin_file, 'rb') as stdin:
            return self.finish(self.start(command, library, limits, stdin))

    def printed(self):
        """What the last program wrote to stdout and stderr."""
        with open(self.output, errors='replace') as f:
            return f.read()

    def who_provides_malloc(self, command, library):
        """Runs a command, and returns the files that its calls of malloc,
        and those of its libraries, go to: the dynamic linker tells."""
        environment = dict(self.environment, LD_DEBUG='bindings')
        if library:
            environment['LD_PRELOAD'] = library
        told = subprocess.run(
            command, cwd=self.directory, env=environment, timeout=60,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, errors='replace').stderr
        # binding file A [0] to B [0]: normal symbol `malloc' [VERSION]
        return {os.path.realpath(line.split(' to ')[1].split(' [')[0])
                for line in told.splitlines()
                if "normal symbol `malloc'" in line}


def look_at(machine, contender, libc):
    """Finds out whether the contender's malloc can be put under a program."""
    wanted = contender.library or libc
    run = machine.run([machine.workloads, 'which'], contender.library,
                      Limits(10, 2048))
    lines = machine.printed().split('\n')
    if run.fault:
        contender.not_in_use = run.last_words.split('\n')[0] or run.ended
    elif os.path.realpath(lines[0]) != wanted:
        contender.not_in_use = f'malloc comes from {lines[0]}'


def look_at_pages(machine, contender):
    """Finds out whether the contender's malloc asks for huge pages."""
    run = machine.run([machine.workloads, 'huge_pages'], contender.library,
                      Limits(10, 2048))
    words = machine.printed().split()
    if not run.fault and words[0::2] == ['asked', 'got']:
        contender.huge_pages = (int(words[1]), int(words[3]))


def find_libc(machine):
    """Returns the file of the C library, by asking a program without any
    other malloc."""
    run = machine.run([machine.workloads, 'which'], None, Limits(20, 2048))
    if run.fault:
        raise Trouble(f'{machine.workloads} does not run: {run.last_words}')
    return os.path.realpath(machine.printed().split('\n')[0])
