"""objects.py - objects of many kinds, made and dropped, for the bench.

usage: PYTHONMALLOC=malloc python3 objects.py SIZE

Prints a number that depends on every object. A generator with a fixed seed
decides, so that each run does the same.
"""

import json
import sys

seed = 1


def draw(limit):
    """Returns the next number below limit."""
    global seed
    seed = (seed * 6364136223846793005 + 1442695040888963407) % 2 ** 64
    return (seed >> 33) % limit


class Tree:
    """A binary tree of words; no balance, the words come at random."""

    def __init__(self, word):
        self.word, self.count, self.left, self.right = word, 1, None, None

    def insert(self, word):
        node = self
        while word != node.word:
            side = 'left' if word < node.word else 'right'
            child = getattr(node, side)
            if child is None:
                setattr(node, side, Tree(word))
                return
            node = child
        node.count += 1

    def words(self):
        below, node = [], self
        while below or node:
            while node:
                below.append(node)
                node = node.left
            node = below.pop()
            yield node.word, node.count
            node = node.right


def word():
    return ''.join('aeioulnrstmd'[draw(12)] for _ in range(2 + draw(4)))


total = 0
for turn in range(int(sys.argv[1])):
    text = [word() for _ in range(4000)]
    tree = Tree('')
    for w in text:
        tree.insert(w)
    places = {}
    for place, w in enumerate(text):
        places.setdefault(w, []).append(place)
    assert all(count == len(places[w]) for w, count in tree.words() if w)
    rows = [{'word': w, 'places': p, 'share': len(p) / len(text)}
            for w, p in sorted(places.items())]
    rows = json.loads(json.dumps(rows))
    lines = ' '.join(text).replace('a', 'ee').split('e')
    powers = [3 ** draw(300) for _ in range(1000)]
    total += (sum(len(r['places']) * (r['places'][-1] + 1) for r in rows)
              + sum(map(len, lines)) + sum(powers) % 1000003)
print(total)
