"""programs.py - what is measured: patterns of malloc and free, and programs.

A row is something to run. It has

    name, threads       its two names in the tables
    prepare()           makes its input; raises Missing if a tool is not here
    preload(library)    what LD_PRELOAD has to be for that malloc
    run(library, ...)   runs it on a malloc, and returns a measure.Run
    result()            all that the last run computed. A malloc that changes
                        it is broken, however fast it is.
    libc                the file of the C library (set by the bench)
    probe               a quick run of the same program, to see whose malloc
                        it calls; None if the program tells by itself
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))

# Patterns of bench_workloads, and for how many threads they have a meaning.
PATTERNS = {
    'lifo': (1, 2, 4),
    'random': (1, 2, 4),
    'larson': (1, 2, 4),
    'producer_consumer': (2, 4),
    'short_threads': (1, 2, 4),
    'realloc_growth': (1,),
    'large_blocks': (1,),
    'small_strings': (1,),
}
# Some of them start threads even where only one works at a time.
STARTS_THREADS = ('larson', 'short_threads')


class Missing(Exception):
    """The argument is the name of a tool in common/setup.sh."""


class Pattern:
    def __init__(self, machine, quick, name, threads):
        self.machine, self.name, self.threads = machine, name, threads
        self.needs_locks = threads > 1 or name in STARTS_THREADS
        self.group = 'several threads' if threads > 1 else 'one thread'
        self.command = [machine.workloads, name, str(threads),
                        '5' if quick else '12']
        self.probe = None

    def prepare(self):
        pass

    def run(self, library, limits):
        return self.machine.run(self.command, library, limits)

    def result(self):
        return self.machine.printed()


class Program:
    """What the programs have in common."""
    threads = 1
    group = 'programs'
    needs_locks = False
    stdin_file = None

    def __init__(self, machine, quick):
        self.machine = machine
        self.size = self.sizes[0] if quick else self.sizes[1]

    def prepare(self):
        self.program = shutil.which(self.tool)
        if not self.program:
            raise Missing(self.setup_name)

    def preload(self, library):
        return library

    def run(self, library, limits):
        return self.machine.run(self.command, library, limits,
                                self.stdin_file)

    def result(self):
        return self.machine.printed()

    def file(self, name, text=None):
        """Returns the path of a file in the directory of the bench; with a
        text, that is put into it."""
        path = os.path.join(self.machine.directory, name)
        if text is not None:
            with open(path, 'w') as f:
                f.write(text)
        return path


class Gcc(Program):
    """The compiler proper, cc1 -O2, on one large file of C."""
    name, tool, setup_name, sizes = 'gcc', 'gcc', 'gcc', (12, 30)

    def prepare(self):
        super().prepare()
        self.program = subprocess.run(
            [self.program, '-print-prog-name=cc1'], check=True,
            stdout=subprocess.PIPE, text=True).stdout.strip()
        if not os.path.isabs(self.program):
            raise Missing('gcc')
        source = self.file('large.c', large_c(self.size))
        self.assembly = self.file('large.s')
        self.probe = [self.program, '-quiet', '/dev/null', '-o', '/dev/null']
        self.command = [self.program, '-quiet', '-O2', source, '-o',
                        self.assembly]

    def result(self):
        with open(self.assembly) as f:
            return self.machine.printed() + f.read()


class Python(Program):
    """python3, with every object from malloc (PYTHONMALLOC=malloc)."""
    name, tool, setup_name, sizes = 'python3', 'python3', 'python3', (2, 5)

    def prepare(self):
        # The one that runs the bench: "python3" may be a script that starts
        # another one.
        self.program = os.path.realpath(sys.executable)
        self.probe = [self.program, '-S', '-c', '0']
        self.command = [self.program, '-s', '-S', '-B',
                        os.path.join(HERE, 'programs', 'objects.py'),
                        str(self.size)]


class Sqlite(Program):
    """sqlite3 with a database in memory."""
    name, tool, setup_name, sizes = 'sqlite3', 'sqlite3', 'sqlite3', (1, 3)

    def prepare(self):
        super().prepare()
        with open(os.path.join(HERE, 'programs', 'tables.sql')) as f:
            statements = f.read()
        self.stdin_file = self.file(
            'tables.sql',
            f'CREATE TABLE size AS SELECT {self.size} AS n;\n{statements}')
        self.probe = [self.program, ':memory:', 'SELECT 1;']
        self.command = [self.program, '-batch', '-bail', ':memory:']


class Redis(Program):
    """redis-server, asked by redis-benchmark. Only the server is measured,
    from its start to its end; redis-benchmark runs on the C library."""
    name, tool, setup_name, sizes = ('redis', 'redis-server', 'redis',
                                     (20000, 60000))
    needs_locks = True  # it has threads in the background

    def prepare(self):
        super().prepare()
        self.benchmark = shutil.which('redis-benchmark')
        if not self.benchmark:
            raise Missing('redis')
        self.probe = [self.program, '--version']

    def preload(self, library):
        # Debian's redis-server is linked with jemalloc. So without another
        # library the C library itself goes in front.
        return library or self.libc

    def run(self, library, limits):
        with tempfile.TemporaryDirectory(prefix='mm-bench-') as place:
            self.address = os.path.join(place, 'socket')
            server = self.machine.start(
                [self.program, '--port', '0', '--unixsocket', self.address,
                 '--dir', place, '--save', '', '--appendonly', 'no',
                 '--jemalloc-bg-thread', 'no'],
                self.preload(library), limits)
            why = self.ask(server, time.monotonic() + limits.seconds)
            run = self.machine.finish(server)
            if why and not run.fault:
                run.ended = 'no answer'
            if why:
                run.last_words = f'{why}; {run.last_words}'
            return run

    def ask(self, server, deadline):
        """Sends the requests. Returns what went wrong, or None."""
        while self.say('PING') != '+PONG':
            if server.poll() is not None or time.monotonic() > deadline:
                return 'redis-server did not start'
            time.sleep(0.01)
        try:
            asked = subprocess.run(
                [self.benchmark, '-s', self.address, '-q', '--csv',
                 '-n', str(self.size), '-r', '20000', '-d', '120', '-P', '16',
                 '-c', '20', '-t',
                 'set,get,incr,lpush,lpop,sadd,hset,zadd,spop,mset'],
                env=self.machine.environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                timeout=max(1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.say('SHUTDOWN NOSAVE')
            return 'redis-benchmark was not ready in time'
        if self.say('PING') != '+PONG':
            return 'redis-server is gone after the requests'
        self.say('SHUTDOWN NOSAVE')
        if asked.returncode != 0 or 'rror' in asked.stdout:
            return f'redis-benchmark: {asked.stdout.strip()[-200:]}'
        return None

    def say(self, line):
        """Sends one command to the server; returns its answer or None."""
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(self.address)
                s.sendall(line.encode() + b'\r\n')
                return s.recv(100).decode().strip()
        except OSError:
            return None

    def result(self):
        return ''  # times and process ids


def large_c(functions):
    """Returns a file of C with so many functions, which the optimiser has
    something to do with."""
    parts = ['typedef unsigned long word;\n'
             'struct node { struct node *next; word key, value[4]; };\n']
    for i in range(functions):
        cases = '\n'.join(
            f'        case {c}: a = a * {c * 2 + 3} + (b >> {c % 13 + 1}); '
            f'list->value[{c % 4}] ^= a; break;' for c in range(16))
        parts.append(f'''
static word mix_{i}(struct node *list, word a, word b)
{{
    for (word n = 0; list != 0 && n < {i % 7 + 3}; n++, list = list->next) {{
        switch ((a ^ list->key) % 16) {{
{cases}
        }}
        for (int k = 0; k < 4; k++)
            b += list->value[k] * {i + 1} + (a & list->value[3 - k]);
    }}
    return a ^ b;
}}

word function_{i}(struct node *list, word *table, word size)
{{
    word sum = {i};
    for (word n = 0; n + 4 < size; n++) {{
        table[n] = table[n] * {2 * i + 1} + table[n + {i % 4 + 1}];
        sum += table[n] % {i + 2} ? mix_{i}(list, sum, table[n])
                                  : {f'mix_{i - 1}(list, n, sum)' if i else 0};
    }}
    return sum;
}}
''')
    return ''.join(parts)


def all_rows(machine, quick):
    """Returns every row there is, in the order of the tables."""
    patterns = [Pattern(machine, quick, name, threads)
                for name in PATTERNS for threads in PATTERNS[name]]
    patterns.sort(key=lambda row: row.threads > 1)
    return patterns + [program(machine, quick)
                       for program in (Gcc, Python, Sqlite, Redis)]
