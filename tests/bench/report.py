"""report.py - medians, ratios and means, as tables and as JSON."""

import math
import statistics

# What is compared: in the JSON, in the title, its unit and how that is shown.
MEASURES = {
    'cpu': ('CPU time, user and system together', 's', '.3f'),
    'wall': ('Time on the wall, for several threads', 's', '.3f'),
    'peak': ('Most memory resident at once', 'MiB', '.1f'),
}
# Runs that differ by more than this part of their median are marked with ~.
SCATTER = 0.25


def applies(measure, row):
    """Wall time counts where threads can wait for each other. With one it is
    CPU time, and what other programs on the machine add to it."""
    return measure != 'wall' or row.threads > 1


def spread(values):
    """(largest - smallest) / median; 0 is no scatter at all."""
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def geometric_mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


class Cell:
    """One contender on one row: its runs, or why there are none."""

    def __init__(self):
        self.runs = []
        self.fault = None  # in short, for the table
        self.why = ''  # the rest of it
        self.failed = False  # the fault is an error, not a limit or a choice

    def values(self, measure):
        return [getattr(run, measure) for run in self.runs]

    def fail(self, fault, why='', failed=False):
        self.fault, self.why, self.failed = fault, why, failed

    @property
    def counts(self):
        return not self.fault and bool(self.runs)


class Results:
    """All cells, and what follows from them. cells[row, contender]"""

    def __init__(self, rows, contenders, baseline):
        self.rows, self.contenders = rows, contenders
        self.baseline = baseline
        self.cells = {(row, c): Cell() for row in rows for c in contenders}

    def median(self, measure, row, contender):
        """The median, or None if there is nothing to count."""
        cell = self.cells[row, contender]
        if not cell.counts or not applies(measure, row):
            return None
        return statistics.median(cell.values(measure))

    def to_baseline(self, measure, row, contender):
        own = self.median(measure, row, contender)
        base = self.median(measure, row, self.baseline)
        return own / base if own and base else None

    def to_best(self, measure, row, contender):
        own = self.median(measure, row, contender)
        all_of_row = [self.median(measure, row, c) for c in self.contenders]
        return own / min(m for m in all_of_row if m) if own else None

    def means(self, measure, contender, rows):
        """Returns the geometric means of the ratios to the baseline and to
        the best, and the rows that are left out of both."""
        pairs, left_out = [], []
        for row in rows:
            if not applies(measure, row):
                continue
            pair = (self.to_baseline(measure, row, contender),
                    self.to_best(measure, row, contender))
            if all(pair):
                pairs.append(pair)
            else:
                left_out.append(row)
        if not pairs:
            return None, None, left_out
        return (geometric_mean([pair[0] for pair in pairs]),
                geometric_mean([pair[1] for pair in pairs]), left_out)


# ---------------------------------------------------------------------------
# Tables.

LABEL, COLUMN = 20, 12


def label(row):
    return f'{row.name} {row.threads}'


def table_row(first, cells):
    line = first.ljust(LABEL) + ''.join(c.rjust(COLUMN) for c in cells)
    return line.rstrip()


def short(ratio):
    """Three digits are enough, and more do not fit."""
    return (f'{ratio:.2f}' if ratio < 9.995 else
            f'{ratio:.1f}' if ratio < 99.95 else f'{ratio:.0f}')


def cell_text(results, measure, row, contender):
    """Ratio to glibc and ratio to the best; for glibc the plain median."""
    cell = results.cells[row, contender]
    if not cell.counts:
        return cell.fault or '-'
    if contender is results.baseline:
        first = format(results.median(measure, row, contender),
                       MEASURES[measure][2])
    else:
        ratio = results.to_baseline(measure, row, contender)
        first = short(ratio) if ratio else '-'
    best = results.to_best(measure, row, contender)
    scatters = spread(cell.values(measure)) > SCATTER
    return (first + ('~' if scatters else ' ')
            + ('best' if best == 1 else short(best) if best else '-'))


def mean_text(results, measure, rows, contender):
    to_baseline, to_best, left_out = results.means(measure, contender, rows)
    if to_baseline is None:
        return '-'
    return short(to_baseline) + ('*' if left_out else ' ') + short(to_best)


def table(results, measure):
    """Returns the lines of the table of one measure."""
    rows = [row for row in results.rows if applies(measure, row)]
    if not rows:
        return []
    title, unit, _ = MEASURES[measure]
    names = [c.name[:COLUMN - 1] for c in results.contenders]
    names[0] += f' [{unit}]'
    lines = ['', title, table_row('', names)]
    groups = list(dict.fromkeys(row.group for row in rows))
    for group in groups:
        members = [row for row in rows if row.group == group]
        lines += [group] + [table_row(
            ' ' + label(row), [cell_text(results, measure, row, c)
                               for c in results.contenders])
            for row in members]
        if len(groups) > 1 and len(members) > 1:
            lines.append(mean_row(results, measure, members, ' mean'))
    return lines + [mean_row(results, measure, rows, 'mean of all')]


def mean_row(results, measure, rows, name):
    return table_row(name, [mean_text(results, measure, rows, c)
                            for c in results.contenders])


LEGEND = '''
Each cell has two numbers: the ratio to glibc, and the ratio to the best of
the row; below 1 is better than glibc. The column of glibc shows its median
in place of the first. The means are geometric. The number after a name is
that of its threads.
  ~  the runs scatter: they differ by more than a quarter of their median
  *  a mean that leaves rows out, so do not compare it with its neighbours'
'''


def notes(results):
    """Returns the lines that say what is missing, and what scatters."""
    lines = []
    for c in results.contenders:
        bad = {}  # one line for all rows that have the same fault
        for row in results.rows:
            cell = results.cells[row, c]
            if not cell.counts:
                key = (cell.fault or 'no run', cell.why)
                bad.setdefault(key, []).append(label(row))
        for (fault, why), labels in bad.items():
            told = ' '.join(why.split())
            lines.append(f'{c.name}: {fault}: {", ".join(labels)}'
                         + (f' ({told})' if told else ''))
    if lines:
        lines = ['', 'Left out of the means:'] + lines
    scatter = []
    for measure in MEASURES:
        for row in results.rows:
            wide = [f'{c.name} {spread(cell.values(measure)):.2f}'
                    for c in results.contenders
                    for cell in [results.cells[row, c]]
                    if cell.counts and applies(measure, row)
                    and spread(cell.values(measure)) > SCATTER]
            if wide:
                scatter.append(f'{measure} {label(row)}: {", ".join(wide)}')
    if scatter:
        lines += ['', 'Scatter, (largest - smallest) / median:'] + scatter
    return lines


def print_report(results):
    for measure in MEASURES:
        lines = table(results, measure)
        if lines:
            print('\n'.join(lines))
    print(LEGEND.rstrip('\n'))
    lines = notes(results)
    if lines:
        print('\n'.join(lines))


# ---------------------------------------------------------------------------
# JSON.

def cell_json(results, row, contender):
    cell = results.cells[row, contender]
    if not cell.counts:
        return {'fault': cell.fault or 'no run', 'why': cell.why,
                'failed': cell.failed}
    out = {'runs': [{'order': run.order, 'user': run.user, 'sys': run.sys,
                     'wall': run.wall, 'peak_mib': run.peak}
                    for run in cell.runs]}
    for measure in MEASURES:
        if applies(measure, row):
            out[measure] = {
                'median': results.median(measure, row, contender),
                'spread': spread(cell.values(measure)),
                'to_glibc': results.to_baseline(measure, row, contender),
                'to_best': results.to_best(measure, row, contender),
            }
    return out


def means_json(results, contender):
    groups = {'all': results.rows}
    for row in results.rows:
        groups.setdefault(row.group, []).append(row)
    out = {}
    for measure in MEASURES:
        for group, rows in groups.items():
            to_glibc, to_best, left_out = results.means(measure, contender,
                                                        rows)
            out.setdefault(measure, {})[group] = {
                'to_glibc': to_glibc, 'to_best': to_best,
                'left_out': [label(row) for row in left_out]}
    return out


def to_json(results):
    return {
        'rows': [{'name': row.name, 'threads': row.threads,
                  'group': row.group,
                  'results': {c.name: cell_json(results, row, c)
                              for c in results.contenders}}
                 for row in results.rows],
        'geometric_means': {c.name: means_json(results, c)
                            for c in results.contenders},
    }
