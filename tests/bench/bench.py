#!/usr/bin/env python3
"""bench.py - mallocs side by side, on the same programs.

Every contender runs every row under LD_PRELOAD. They take turns: in the first
round A B C, then B C A, then C A B, each row starting one further; so
whatever disturbs the machine disturbs all of them. What counts is the median
of a contender's runs. glibc, with nothing preloaded, is what the others are
compared with; a run of it before the first round warms the caches, is not
counted, and sets the limits.

A run is ended at 20 times the time of glibc, but not before some seconds, or
when it holds half of the machine's free memory. A contender that fails or is
over a limit is not run again on that row, and is left out of its means there.

exit: 0 all was measured, or over a limit; 1 a run failed; 2 trouble
"""

import argparse
import datetime
import glob
import json
import os
import platform
import subprocess
import sys

sys.dont_write_bytecode = True  # nothing but sources in this directory
from measure import (Contender, Limits, Machine, Trouble, find_libc,  # noqa
                     look_at, look_at_pages)
from programs import Missing, PATTERNS, all_rows  # noqa
import report  # noqa

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
PEERS = {'jemalloc': 'libjemalloc.so*', 'tcmalloc': 'libtcmalloc_minimal.so*',
         'mimalloc': 'libmimalloc.so*'}
BASELINE_SECONDS = 120  # for glibc itself: ends what hangs


def arguments():
    p = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__.split('\n\n', 1)[0],
        epilog=__doc__.split('\n\n', 1)[1])
    p.add_argument('stages', nargs='*', metavar='NAME=LIBRARY',
                   help='a stage and its library')
    p.add_argument('--vs', default='jemalloc,tcmalloc,mimalloc',
                   help='glibc (always there), jemalloc, tcmalloc, mimalloc, '
                   'a path, or NAME=PATH; separated by commas')
    p.add_argument('--quick', action='store_true',
                   help='less than half of the work, 3 rounds')
    p.add_argument('--rounds', type=int, help='default: 5')
    p.add_argument('--threads', default='', help='only these, like 1,4; the '
                   'programs count as 1')
    p.add_argument('--bench', default='', help='only these rows, like '
                   'lifo,gcc')
    p.add_argument('--out', default='build/bench/bench.json',
                   help='the JSON (default: %(default)s)')
    p.add_argument('--launcher', required=True, help='launch.c, compiled')
    p.add_argument('--workloads', required=True,
                   help='bench_workloads.c, compiled')
    p.add_argument('--slower', type=float, default=20, metavar='TIMES',
                   help='the time limit, in times of glibc (%(default)s)')
    p.add_argument('--least', type=float, default=5, metavar='SECONDS',
                   help='but at least this (%(default)s)')
    options = p.parse_args()
    if options.rounds is None:
        options.rounds = 3 if options.quick else 5
    if options.rounds < 1:
        raise Trouble('there must be one round at least')
    return options


def say(line):
    print(f'bench: {line}', file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------
# Who, and on what.

def find_peer(name, libc):
    """Returns the library of a peer, or None; that of the processor of libc
    first, where libraries for several are installed."""
    places = [os.path.dirname(libc), '/lib/*', '/usr/lib/*', '/usr/lib64',
              '/usr/lib', '/usr/local/lib*']
    for place in places:
        found = sorted(glob.glob(os.path.join(place, PEERS[name])))
        if found:
            return found[-1]
    return None


def how_to_install(tool):
    """Returns what common/setup.sh says about a tool that is not here."""
    said = subprocess.run(
        ['sh', os.path.join(ROOT, 'common', 'setup.sh'), '--need', tool],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    return said.strip().replace('make: ', '') or f'{tool} is not here'


def contender_of(word, libc, missing):
    """Returns the contender that a word on the command line means; None, and
    a line in missing, if it is a peer that is not installed."""
    name, equals, path = word.partition('=')
    if not equals and word in PEERS:
        path = find_peer(word, libc)
        if path is None:
            missing.append(f'{word}: {how_to_install(word)}')
            say(f'goes on without {word}: {how_to_install(word)}')
            return None
    elif not equals:
        name, path = os.path.basename(word), word
        if '/' not in word and not os.path.exists(word):
            raise Trouble(f'no allocator "{word}"; there are glibc, '
                          f'{", ".join(PEERS)}, and paths of libraries')
    if not os.path.isfile(path):
        raise Trouble(f'no library {path}')
    contender = Contender(name, path)
    if ' ' in contender.library or ':' in contender.library:
        raise Trouble('LD_PRELOAD allows no space and no colon: '
                      + contender.library)
    return contender


def choose_contenders(options, machine, missing):
    """Returns glibc and the others, each once, and each by another name."""
    libc = find_libc(machine)
    contenders = [Contender('glibc', None)]
    words = options.stages + options.vs.replace(' ', ',').split(',')
    for word in words:
        if word in ('', 'glibc'):
            continue
        contender = contender_of(word, libc, missing)
        if contender is None:
            continue
        name, n = contender.name, 1
        while contender.name in [c.name for c in contenders]:
            n += 1
            contender.name = f'{name}-{n}'
        contenders.append(contender)
    for contender in contenders:
        look_at(machine, contender, libc)
        if contender.not_in_use:
            say(f'{contender.name} is not in use: {contender.not_in_use}')
        else:
            look_at_pages(machine, contender)
    return contenders, libc


def words_of(text):
    return [word for word in text.replace(',', ' ').split()]


def choose_rows(options, machine, missing, libc):
    rows = all_rows(machine, options.quick)
    names = list(dict.fromkeys(row.name for row in rows))
    for name in words_of(options.bench):
        if name not in names:
            raise Trouble(f'no row "{name}"; there are: {" ".join(names)}')
    for number in words_of(options.threads):
        if not any(str(row.threads) == number for row in rows):
            raise Trouble(f'no row has "{number}" threads; some have 1, 2, 4')
    chosen = []
    for row in rows:
        if (options.bench and row.name not in words_of(options.bench)
                or options.threads
                and str(row.threads) not in words_of(options.threads)):
            continue
        try:
            row.prepare()
            row.libc = libc
            chosen.append(row)
        except Missing as tool:
            missing.append(f'{row.name}: {how_to_install(str(tool))}')
            say(f'goes on without {row.name}: {how_to_install(str(tool))}')
    if not chosen:
        raise Trouble('nothing to measure; is it a row that exists for these '
                      'threads? ' + ', '.join(
                          f'{name}: {" ".join(map(str, PATTERNS[name]))}'
                          for name in PATTERNS))
    return chosen


# ---------------------------------------------------------------------------
# Measuring.

class Bench:
    def __init__(self, options, machine, rows, contenders):
        self.options, self.machine = options, machine
        self.rows, self.contenders = rows, contenders
        self.baseline = contenders[0]
        self.results = report.Results(rows, contenders, self.baseline)
        self.memory = available_mib() / 2
        self.limits, self.expected = {}, {}
        self.order = 0

    def cell(self, row, contender):
        return self.results.cells[row, contender]

    def probe(self, row, contender):
        """Finds out whose malloc a program calls, where it does not say so
        itself."""
        if row.probe is None:
            return
        wanted = contender.library or row.libc
        found = self.machine.who_provides_malloc(
            row.probe, row.preload(contender.library))
        if found != {wanted}:
            self.cell(row, contender).fail(
                'not in use', 'malloc comes from '
                + (', '.join(sorted(found)) or 'nowhere'), True)

    def prepare(self, row):
        """Decides who can run a row, and sets its limits."""
        for contender in self.contenders:
            cell = self.cell(row, contender)
            if contender.not_in_use:
                cell.fail('not in use', contender.not_in_use, True)
            elif contender.one_thread and row.needs_locks:
                cell.fail('no locks', 'it is for programs with one thread')
            else:
                self.probe(row, contender)
        if not self.cell(row, self.baseline).fault:
            run = row.run(None, Limits(BASELINE_SECONDS, self.memory))
            if run.fault:
                self.note_fault(row, self.baseline, run)
        if self.cell(row, self.baseline).fault:
            for contender in self.contenders[1:]:
                if not self.cell(row, contender).fault:
                    self.cell(row, contender).fail('no baseline')
            return
        self.expected[row] = row.result()
        self.limits[row] = Limits(
            max(self.options.least, self.options.slower * run.wall),
            self.memory)

    def note_fault(self, row, contender, run):
        limit = run.fault.startswith('over')
        self.cell(row, contender).fail(
            run.fault, '' if limit else run.last_words, not limit)
        if not limit:
            say(f'{contender.name} on {report.label(row)}: {run.fault}: '
                f'{run.last_words}')

    def measure(self, row, contender):
        run = row.run(contender.library, self.limits[row])
        run.order = self.order
        self.order += 1
        if not run.fault and row.result() != self.expected[row]:
            run.ended = 'wrong result'
            run.last_words = 'it does not compute the same as on glibc'
        if run.fault:
            self.note_fault(row, contender, run)
        else:
            self.cell(row, contender).runs.append(run)

    def all_rounds(self):
        progress = Progress()
        for row in self.rows:
            progress.show('before the first round', report.label(row), '')
            self.prepare(row)
        for n in range(self.options.rounds):
            for i, row in enumerate(self.rows):
                if row not in self.limits:
                    continue
                start = (n + i) % len(self.contenders)
                turns = self.contenders[start:] + self.contenders[:start]
                for contender in turns:
                    if self.cell(row, contender).fault:
                        continue
                    progress.show(f'round {n + 1} of {self.options.rounds}',
                                  report.label(row), contender.name)
                    self.measure(row, contender)
        progress.clear()


class Progress:
    """On a terminal one line that changes; otherwise a line for each round."""

    def __init__(self):
        self.terminal = sys.stderr.isatty()
        self.last = None

    def show(self, what, row, contender):
        if self.terminal:
            print(f'\r\033[K{what}: {row} {contender}', end='',
                  file=sys.stderr, flush=True)
        elif what != self.last:
            say(what)
        self.last = what

    def clear(self):
        if self.terminal:
            print('\r\033[K', end='', file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------
# The machine.

def read(path, otherwise='unknown'):
    try:
        with open(path) as f:
            return f.read().strip()
    except OSError:
        return otherwise


def available_mib():
    for line in read('/proc/meminfo', '').splitlines():
        if line.startswith('MemAvailable:'):
            return int(line.split()[1]) / 1024
    return 4096


def describe_machine():
    model = [line.split(':', 1)[1].strip()
             for line in read('/proc/cpuinfo', '').splitlines()
             if line.startswith('model name')]
    return {
        'processors': os.cpu_count(),
        'model': model[0] if model else platform.machine(),
        'kernel': platform.release(),
        'load_at_start': os.getloadavg()[0],
        'transparent_hugepage':
            read('/sys/kernel/mm/transparent_hugepage/enabled'),
    }


def huge_pages_text(contender):
    if contender.huge_pages is None:
        return 'huge pages: not known, it failed or took too long'
    asked, got = contender.huge_pages
    return (f'{"asks" if asked else "does not ask"} for huge pages'
            f' (of 64 MiB in blocks it got {got // 1024} MiB in them)')


def print_head(machine, options, contenders, missing):
    load = machine['load_at_start']
    print(f'{machine["processors"]} processors ({machine["model"]}), '
          f'Linux {machine["kernel"]}')
    print(f'load {load:.2f} at the start'
          + ('; others are at work, trust CPU time only'
             if load > machine['processors'] / 2 else ''))
    print('transparent huge pages: ' + machine['transparent_hugepage'])
    print(f'{options.rounds} rounds' + (', quick' if options.quick else ''))
    for c in contenders:
        print(f'{c.name:9} {c.library or "nothing preloaded"}')
        print(f'{"":9} ' + (f'NOT IN USE: {c.not_in_use}' if c.not_in_use
                            else huge_pages_text(c)))
    for line in missing:
        print(f'MISSING   {line}')


def main():
    options = arguments()
    described = describe_machine()  # before the bench is a load itself
    missing = []
    machine = Machine(options.launcher, options.workloads,
                      os.path.join(os.path.dirname(options.out) or '.',
                                   'work'))
    contenders, libc = choose_contenders(options, machine, missing)
    rows = choose_rows(options, machine, missing, libc)
    bench = Bench(options, machine, rows, contenders)
    interrupted = False
    try:
        bench.all_rounds()
    except KeyboardInterrupt:
        interrupted = True
    described['load_at_end'] = os.getloadavg()[0]

    out = {
        'when': datetime.datetime.now().isoformat(timespec='seconds'),
        'machine': described, 'missing': missing, 'quick': options.quick,
        'rounds': options.rounds, 'interrupted': interrupted,
        'limit': {'times_glibc': options.slower, 'at_least': options.least,
                  'memory_mib': bench.memory},
        'contenders': [{
            'name': c.name, 'library': c.library,
            'not_in_use': c.not_in_use,
            'huge_pages_kib': c.huge_pages and {
                'asked': c.huge_pages[0], 'got': c.huge_pages[1]},
        } for c in contenders],
    }
    out.update(report.to_json(bench.results))
    with open(options.out, 'w') as f:
        json.dump(out, f, indent=1)
        f.write('\n')
    print_head(described, options, contenders, missing)
    if interrupted:
        print('INTERRUPTED: not all rounds were run')
    report.print_report(bench.results)
    print(f'\nall numbers: {options.out}')
    failed = any(cell.failed for cell in bench.results.cells.values())
    return 130 if interrupted else int(failed)


if __name__ == '__main__':
    try:
        sys.exit(main())
    except Trouble as trouble:
        say(str(trouble))
        sys.exit(2)
