#!/usr/bin/env python3
"""resident.py - how much memory mallocs hold, while a program frees its own.

Runs resident.c on each contender, one after the other, and prints what was
resident after each step: a row for each step, a column for each contender, in
MiB. A table of the moments that count, and of CPU time, goes to stderr.

A stage whose name ends in +thread runs with MM_SCAVENGER=thread.

exit: 0 all was measured; 2 trouble, with a message
"""

import argparse
import os
import sys

sys.dont_write_bytecode = True  # nothing but sources in this directory
import bench  # noqa
from measure import (Contender, Limits, Machine, Trouble, find_libc,  # noqa
                     look_at)

# Steps after which something changes in resident.c.
MOMENTS = {20: 'allocated', 40: '90 % freed', 80: 'idle', 90: 'half again',
           100: 'freed', 140: 'idle'}


def arguments():
    p = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__.split('\n\n', 1)[0],
        epilog=__doc__.split('\n\n', 1)[1])
    p.add_argument('stages', nargs='*', metavar='NAME=LIBRARY',
                   help='a stage and its library')
    p.add_argument('--vs', default='jemalloc,tcmalloc,mimalloc',
                   help='glibc (always there) and others, as in bench.py')
    p.add_argument('--order', default='oldest',
                   choices=['oldest', 'newest', 'random'])
    p.add_argument('--mib', type=int, default=1024,
                   help='what is allocated (%(default)s)')
    p.add_argument('--step', type=int, default=100,
                   help='milliseconds (%(default)s)')
    p.add_argument('--program', required=True, help='resident.c, compiled')
    p.add_argument('--launcher', required=True, help='launch.c, compiled')
    p.add_argument('--workloads', required=True,
                   help='bench_workloads.c, compiled')
    return p.parse_args()


def choose_contenders(options, machine):
    libc = find_libc(machine)
    contenders = []
    peers = [word for word in bench.words_of(options.vs) if word != 'glibc']
    for word in options.stages + ['glibc'] + peers:
        if word == 'glibc':
            contender = Contender('glibc', None)
        else:
            contender = bench.contender_of(word, libc, [])
        if contender is None:
            continue
        contender.wants_thread = '+thread=' in word
        if contender.wants_thread and not contender.name.endswith('+thread'):
            contender.name += '+thread'  # it was shortened to a number
        set_up(machine, contender)
        look_at(machine, contender, libc)
        if contender.not_in_use:
            raise Trouble(f'{contender.name}: {contender.not_in_use}')
        contenders.append(contender)
    return contenders


def set_up(machine, contender):
    """Asks for the thread of the contender, or not."""
    machine.environment.pop('MM_SCAVENGER', None)
    if contender.wants_thread:
        machine.environment['MM_SCAVENGER'] = 'thread'


def measure(options, machine, contender):
    """Returns the Run, and what was resident after each step."""
    set_up(machine, contender)
    seconds = 60 + 20 * max(MOMENTS) * options.step / 1000
    run = machine.run([os.path.abspath(options.program), options.order,
                       str(options.mib), str(options.step)],
                      contender.library, Limits(seconds, 8 * options.mib + 64))
    if run.fault:
        raise Trouble(f'{contender.name}: {run.fault}: {run.last_words}')
    rows = [int(line) for line in machine.printed().split()]
    if len(rows) != max(MOMENTS):
        raise Trouble(f'{contender.name}: {len(rows)} steps, not '
                      f'{max(MOMENTS)}')
    return run, rows


def print_rows(options, contenders, rows):
    print(f'# MiB resident after each step of {options.step} ms: resident.c '
          f'{options.order} {options.mib}')
    print('step', *(c.name for c in contenders))
    for step, values in enumerate(zip(*rows), 1):
        print(step, *values)


def print_table(contenders, runs, rows):
    baseline = [run.cpu for c, run in zip(contenders, runs)
                if c.library is None][0]
    print(f'{"":10}' + ''.join(f'{what:>12}' for what in MOMENTS.values())
          + f'{"CPU time":>12}', file=sys.stderr)
    for contender, run, values in zip(contenders, runs, rows):
        print(f'{contender.name:10}'
              + ''.join(f'{values[step - 1]:12}' for step in MOMENTS)
              + f'{run.cpu / baseline:12.2f}', file=sys.stderr)


def main():
    options = arguments()
    machine = Machine(options.launcher, options.workloads,
                      'build/bench/resident')
    contenders = choose_contenders(options, machine)
    runs, rows = zip(*(measure(options, machine, contender)
                       for contender in contenders))
    print_rows(options, contenders, rows)
    print_table(contenders, runs, rows)
    return 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except Trouble as trouble:
        bench.say(str(trouble))
        sys.exit(2)
