# shellcheck shell=sh disable=SC2016 # $ in single quotes is for others
#
# programs.sh - the programs that `run` runs, and their input. Read by `run`.
#
# Nothing that is compared may depend on the time, the place, or the user.

# The list: name | what it needs | processes that must have called malloc, NAME
# or NAME:TIMES | threads | what it does. Below, program_NAME is how it is run.
# What commands alone do not tell, lacks_NAME prints: why it cannot run here.
# A backslash at the end of a line joins it with the next.
programs() {
    cat <<END
ls|ls|ls|one|lists a tree of 240 files, by name and by size
find|find grep|find grep|one|tests names and sizes, and runs grep on the finds
sort|sort|sort|one|sorts 160,000 lines by two keys
awk|awk|awk|one|counts words in arrays and rewrites 20,000 lines
gawk|gawk|gawk|one|sorts arrays and matches groups, as only GNU awk does
sed|sed|sed|one|edits 20,000 lines, with groups and the hold space
grep|grep|grep|one|searches a tree with plain, extended and Perl patterns
diff|diff|diff|one|compares two files of 20,000 lines, and two trees
bash|bash|bash|one|fills arrays, recurses and cuts strings
make|make|make sed|one|makes 60 targets from pattern rules and functions
make-parallel|make gcc|make gcc cc1 as collect2 ld|one|\
compiles 6 files, two at once
gcc|gcc|gcc cc1 as collect2 ld|one|compiles a file of 950 lines
dot|dot|dot|one|draws a graph of 60 nodes, texts measured by estimate
dot-threads|dot|dot|many|draws it with Pango, which finds its fonts in threads
git|git|git|one|commits, merges, shows, packs and checks a history
git-threads|git|git|many|packs, clones and searches with four threads
perl|perl|perl|one|fills hashes, matches patterns, sorts and formats
perl-threads|perl|perl:20000|many|copies its interpreter for five threads
python3|python3|python3|one|goes from objects to JSON and back, on our malloc
python3-threads|python3|python3|many|four threads share work, beside forks
redis-threads|redis-server redis-cli redis-benchmark|\
redis-server:20000 redis-cli redis-benchmark|many|\
answers and saves, with four threads and lazy frees
ruby|ruby|ruby|one|fills hashes and collects garbage
sqlite3|sqlite3|sqlite3|one|fills a database, joins, sorts and dumps it
tar|tar xz|tar xz|one|packs a tree, compressed, and unpacks it
xz|xz|xz|one|packs and unpacks 400 KB with one thread
xz-threads|xz|xz|many|packs and unpacks 3 MB with two threads
curl|curl|curl|one|fetches files by URL and by pattern
sort-threads|sort|sort|many|sorts 480,000 lines with four threads
END
}

# ---------------------------------------------------------------------------
# How each program is run: in an empty directory, with the input of
# make_input in ../input, by sh -e. `under` runs one command on the library.

under() {
    (start "$@")
}

# start puts the command in the place of the shell. After `start COMMAND &`, $!
# is the command itself, and can be killed.
start() {
    if [ -n "$RUN_LIBRARY" ]; then
        exec env LD_PRELOAD="$RUN_LIBRARY" MM_STATS="$RUN_STATS" "$@"
    fi
    exec "$@"
}

# differs passes on the output of a diff, which is to find differences.
differs() {
    under "$@" && return 1
    [ $? -eq 1 ]
}

program_ls() {
    under ls -lnR --time-style=+%s ../input/tree > long
    grep -v '^total' long  # blocks on the disk
    under ls -1RSF ../input/tree ../input
}

program_find() {
    under find ../input/tree -type f -size +1k -printf '%s %m %p\n' > sizes
    under find ../input/tree -name '*[02468].txt' ! -path '*/d3/*' \
        -exec grep -c river {} + > counts
    sort sizes counts
}

program_sort() {
    under sort --parallel=1 -k2,2 -k1,1nr ../input/words.txt
}

program_sort_threads() {
    # A half below 131,072 lines would not be cut in two for two threads.
    words=../input/words.txt
    under sort --parallel=4 -S 64M -k2,2 -k1,1nr $words $words $words > sorted
    contents sorted
}

program_awk() {
    head -n 20000 ../input/words.txt > words
    under awk '
    { count[$2]++; sum[$2] += $1; text = text substr($3, 1, 1) }
    /river|stone$/ { gsub(/[aeiou]/, "(&)"); print NR, toupper($0) }
    END {
        for (word in count)
            print word, count[word], sum[word] | "sort"
        close("sort")
        print length(text), split(text, part, "s")
    }' words
}

program_gawk() {
    head -n 5000 ../input/words.txt > words
    under gawk '
    { count[$2][$3]++ }
    match($0, /([0-9]+) (r[a-z]+)/, group) { seen[group[2]] += group[1] }
    END {
        PROCINFO["sorted_in"] = "@ind_str_asc"
        for (a in count)
            for (b in count[a])
                print a, b, count[a][b]
        n = asorti(seen, name)
        for (i = 1; i <= n; i++)
            print name[i], seen[name[i]]
    }' words
}

program_sed() {
    head -n 20000 ../input/words.txt > words
    under sed -E -e 's/^([0-9]+) ([a-z]+)/\2 <\1>/' -e '/river/y/aeiou/AEIOU/' \
        -e '1~3{h;d}' -e '2~3G' words
    under sed -n -e '/stone/,/field/{' -e 's/ /\n/gp' -e '}' words
}

program_grep() {
    under grep -rn 'river' ../input/tree > plain
    under grep -rnwE '(moun|foun)tain|[a-m]+wood' ../input/tree > extended
    sort plain extended
    # The same word twice in a line: a pattern that has to look back.
    under grep -nE '\b([a-z]+) \1\b' ../input/words.txt
    if echo | grep -qP '^$' 2> /dev/null; then
        head -n 5000 ../input/words.txt > words
        under grep -noP '(?<=river )\w+(?!wood)$' words
    fi
}

program_diff() {
    head -n 20000 ../input/words.txt > old
    sed -e '7~97d' -e '11~89s/r/R/' -e '500~501a\added' old > new
    differs diff -u --label old --label new old new
    differs diff -y --suppress-common-lines old new
    cp -R ../input/tree tree
    echo more >> tree/d2/f3.txt
    rm tree/d4/f5.txt
    differs diff -r ../input/tree tree
}

program_bash() {
    cat > script <<'END'
declare -A count
declare -a words
while read -r number word rest; do
    count[$word]=$((${count[$word]:-0} + number % 10))
    words+=("${word^^}-${rest%%o*}")
done < ../input/short.txt
for word in "${!count[@]}"; do echo "$word ${count[$word]}"; done | sort
printf '%s\n' "${words[@]:40:20}"
fibonacci() {
    (($1 < 2)) && { echo "$1"; return; }
    local a b
    a=$(fibonacci $(($1 - 1)))
    b=$(fibonacci $(($1 - 2)))
    echo $((a + b))
}
fibonacci 7
line=
for ((i = 0; i < 2000; i++)); do line+="$i,"; done
echo "${#line} ${line//1/one}"
echo {a..e}{1..4} | tr ' ' '\n' | while read -r x; do echo "<$x>"; done
END
    under bash --norc script
}

program_make() {
    cat > Makefile <<'END'
MAKEFLAGS += --no-builtin-rules
numbers := $(foreach a,0 1 2 3 4 5,$(foreach b,0 1 2 3 4 5 6 7 8 9,$a$b))
parts := $(addsuffix .part,$(numbers))
reverse = $(if $(1),$(call reverse,$(wordlist 2,$(words $(1)),$(1))) \
    $(firstword $(1)))

all: whole
	@echo $(words $(parts)) parts: $(call reverse,$(numbers))
whole: $(parts)
	cat $(sort $^) > $@
%.part: %.source
	sed -e 's/^/$*: /' $< > $@
%.source: ../input/short.txt
	sed -n -e '1$*,1$*p' -e '2$*,3$*s/ / - /gp' $< > $@
END
    under make --no-print-directory
    cat whole
    under make --no-print-directory
}

program_make_parallel() {
    for n in 1 2 3 4 5; do
        large_c 4 "$n" > "part$n.c"
    done
    cat > main.c <<'END'
#include <stdio.h>
unsigned part1(unsigned), part2(unsigned), part3(unsigned);
unsigned part4(unsigned), part5(unsigned);
int main(void)
{
    printf("%u\n", part1(1) + part2(2) + part3(3) + part4(4) + part5(5));
}
END
    cat > Makefile <<'END'
objects := main.o part1.o part2.o part3.o part4.o part5.o
main: $(objects)
	gcc -o $@ $(objects)
%.o: %.c
	gcc -O1 -c -o $@ $<
END
    under make -s -j2
    ./main
    contents ./*.o
}

program_gcc() {
    large_c 45 1 > large.c
    cat >> large.c <<'END'
#include <stdio.h>
int main(void)
{
    printf("%u\n", part1(1));
}
END
    under gcc -O1 -Wall -c -o large.o large.c
    under gcc -o large large.o
    ./large
    contents large.o large
}

# dot's plug-in for Pango starts threads. A directory with only two of the
# plug-ins, under the name GVBINDIR, leaves dot to estimate how wide a text is.
program_dot() {
    dot_input > graph.dot
    libraries=$(dot -v -Tdot graph.dot 2>&1 > /dev/null |
        sed -n 's/^libdir = "\(.*\)"$/\1/p')
    mkdir plugins
    cp "$libraries"/libgvplugin_core.so* \
        "$libraries"/libgvplugin_dot_layout.so* plugins
    GVBINDIR=$PWD/plugins
    export GVBINDIR
    dot -c
    under dot -Tsvg graph.dot
    under dot -Tplain graph.dot
}

program_dot_threads() {
    dot_input > graph.dot
    under dot -Tsvg graph.dot
    under dot -Tplain graph.dot
}

git_repository() {
    export GIT_AUTHOR_NAME='A U Thor' GIT_AUTHOR_EMAIL=author@example.org
    export GIT_COMMITTER_NAME='C O Mitter' GIT_COMMITTER_EMAIL=c@example.org
    export GIT_AUTHOR_DATE='1000000000 +0000' GIT_PAGER=cat
    export GIT_COMMITTER_DATE='1000000000 +0000' GIT_CONFIG_NOSYSTEM=1
    export GIT_CONFIG_GLOBAL="$PWD/gitconfig"
    cat > gitconfig <<END
[init]
    defaultBranch = main
[gc]
    auto = 0
[maintenance]
    auto = false
[core]
    preloadIndex = false
[index]
    threads = $1
[pack]
    threads = $1
[grep]
    threads = $1
[checkout]
    workers = 1
END
    under git init -q --template= repository
    cd repository || exit
    cp -R ../../input/tree .
    under git add tree
    under git commit -q -m 'First'
    for f in tree/d1/*.txt tree/d5/*.txt; do
        sed 's/river/lake/' "$f" > changed
        mv changed "$f"
    done
    under git commit -q -a -m 'A lake for a river'
    under git checkout -q -b side HEAD~1
    under git mv tree/d7/f1.txt tree/moved.txt
    under git commit -q -m 'Moved'
    under git checkout -q main
    under git merge -q -m 'Both' side
}

program_git() {
    git_repository 1
    under git log --stat --graph --format=fuller
    under git show HEAD~1
    under git diff --stat HEAD~2 HEAD
    under git gc -q --prune=now
    under git fsck --full
    under git count-objects
    under git status --short
    git cat-file --batch-check --batch-all-objects
}

program_git_threads() {
    git_repository 4
    under git repack -q -a -d -f
    under git gc -q --prune=now
    under git grep -c river HEAD -- tree/d2
    under git fsck --full
    git cat-file --batch-check --batch-all-objects
    # A clone of that many objects unpacks what it gets in threads, too.
    under git clone -q --bare --no-local . ../clone
    cd ../clone || exit
    under git index-pack --threads=4 --strict objects/pack/pack-*.pack > pack
    git cat-file --batch-check --batch-all-objects | contents
}

program_perl() {
    cat > script <<'END'
use strict;
use warnings;
my (%count, %by_length, @lines);
open my $in, '<', '../input/short.txt' or die;
while (<$in>) {
    my ($number, @words) = split;
    $count{$_} += $number % 100 for @words;
    push @{$by_length{length $words[0]}}, "$words[0]:$number";
    push @lines, join ' ', reverse @words if /(\w)\1/;
}
printf "%-12s %6d\n", $_, $count{$_}
    for sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
print "$_: @{$by_length{$_}}[0 .. 9]\n" for sort keys %by_length;
my $text = join "\n", @lines;
(my $changed = $text) =~ s/(?<first>[a-m])([a-z]*)/\u$+{first}<$2>/g;
print substr($changed, 0, 2000), "\n", length($changed), "\n";
my $make = sub { my $n = shift; sub { $n++ } };
my @counters = map { $make->($_) } 1 .. 2000;
my $sum = 0;
$sum += $_->() + $_->() for @counters;
print "$sum\n", pack('NnC*', 1 .. 20) =~ tr/\0//, "\n";
END
    PERL_HASH_SEED=0 under perl script
}

# Nothing is shared: a thread of Perl is an interpreter, copied from the one
# that starts it, and freed by the one that ends it or waits for it.
program_perl_threads() {
    cat > script <<'END'
use strict;
use warnings;
use threads;
use Thread::Queue;
my %about;
open my $in, '<', '../input/short.txt' or die;
while (<$in>) {
    my ($number, @words) = split;
    $about{$_}{$number % 10} .= "$number " for @words;
    last if $. == 100;
}
my ($jobs, $results) = (Thread::Queue->new, Thread::Queue->new);
sub work {
    while (defined(my $job = $jobs->dequeue)) {
        my $word = (sort keys %about)[$job % 16];
        my @text = map { $about{$word}{$_} x ($job % 7) }
            sort { $a <=> $b } keys %{$about{$word}};
        (my $joined = join '-', @text) =~ s/(\d)(\d)/$2$1/g;
        $results->enqueue("$job $word " . unpack '%32C*', $joined);
    }
    delete $about{$_} for keys %about;
    return scalar keys %about;
}
my @threads = map { threads->create(\&work) } 1 .. 4;
$jobs->enqueue(1 .. 60);
$jobs->end;
print $_->join, "\n" for @threads;
my @lines;
push @lines, $results->dequeue while $results->pending;
my $same = threads->create(sub { join ' ', map { scalar %$_ } values %about });
print length $same->join, "\n", map { "$_\n" } sort @lines;
END
    PERL_HASH_SEED=0 under perl script
}

lacks_perl_threads() {
    perl -Mthreads -MThread::Queue -e 1 2> /dev/null ||
        echo 'this perl has no threads'
}

# real_python prints the interpreter, where python3 is a script that starts it.
real_python() {
    python3 -c 'import sys; print(sys.executable)'
}

# Python has an allocator of its own for small objects: PYTHONMALLOC=malloc
# makes it ask malloc for each. -S keeps it to few modules.
program_python3() {
    cat > script <<'END'
import json
people = [{"name": "n%d" % i, "scores": [i * k % 17 for k in range(8)],
           "nested": {"text": "river " * (i % 5), "ratio": i / 7}}
          for i in range(40)]
text = json.dumps(people, indent=1, sort_keys=True)
again = json.loads(text)
assert again == people
print(text)
words = {}
for line in open("../input/short.txt"):
    for word in line.split()[1:]:
        words.setdefault(word, []).append(len(line))
for word in sorted(words):
    print(word, len(words[word]), sum(words[word]))
class Node:
    def __init__(self, value):
        self.value, self.left, self.right = value, None, None
    def insert(self, value):
        side = "left" if value < self.value else "right"
        child = getattr(self, side)
        if child is None:
            setattr(self, side, Node(value))
        else:
            child.insert(value)
    def __iter__(self):
        if self.left:
            yield from self.left
        yield self.value
        if self.right:
            yield from self.right
root = Node(50)
for i in range(200):
    root.insert(i * 7919 % 211)
print(list(root), 3 ** 2000)
END
    python=$(real_python)
    export PYTHONMALLOC=malloc PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
    under "$python" -S script
}

# Python runs one thread at a time. But sqlite3 and lzma let the others go on
# while they work, and allocate.
program_python3_threads() {
    cat > script <<'END'
import os, threading, zlib
jobs, results = [], {}
def with_sqlite3(job):
    import sqlite3
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE t(n INT, text TEXT)")
    db.execute("""WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1
        FROM c WHERE n < 60) INSERT INTO t
        SELECT n * ? % 1009, hex(n * n) FROM c""", (job,))
    rows = db.execute("""SELECT n % 97, count(*), group_concat(text || n)
        FROM t GROUP BY 1 ORDER BY 3""").fetchall()
    db.close()
    return zlib.crc32(repr(rows).encode())
def with_lzma(job):
    import lzma
    data = b"".join(b"%d river %d;" % (i, i * job) for i in range(100))
    packed = lzma.compress(data, preset=0)
    assert lzma.decompress(packed) == data
    return zlib.crc32(packed)
def with_zlib(job):
    data = b"".join(b"%d river %d;" % (i, i * job) for i in range(100))
    packed = zlib.compress(data, 9)
    assert zlib.decompress(packed) == data
    return len(data), zlib.crc32(packed)
def attempt(how, job):
    try:
        return how(job)
    except ImportError as error: # a Python may lack a module
        return str(error)
def work():
    while True:
        try:
            job = jobs.pop()
        except IndexError:
            return
        results[job] = [attempt(how, job)
                        for how in (with_sqlite3, with_lzma, with_zlib)]
def child(n):
    words = ["w%d" % (i * n) for i in range(300)]
    os._exit(zlib.crc32("".join(sorted(words)).encode()) % 251)
for turn in range(2):
    jobs.extend(range(turn * 4, turn * 4 + 4))
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for n in range(4):
        pid = os.fork()
        if pid == 0:
            child(n)
        print("child", n, os.waitpid(pid, 0)[1])
    for t in threads:
        t.join()
for job in sorted(results):
    print(job, *results[job])
END
    python=$(real_python)
    export PYTHONMALLOC=malloc PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
    under "$python" -S script
}

# Four threads read requests and write replies. Large values are freed by yet
# another one, and a child process saves everything while all of them go on.
program_redis_threads() {
    server='' load=''
    trap redis_kill EXIT
    trap 'exit 143' HUP INT TERM
    redis_server
    redis_dialogue 100 | under redis-cli -s socket | contents
    redis_digest > digest

    # The load goes to another database, and the time that it takes nowhere.
    start redis-benchmark -s socket --dbnum 1 -q -c 20 -P 16 -n 640 -d 300 \
        -t incr,lpush,lrange_100 > load &
    load=$!
    for n in 1 2; do
        redis-cli -s socket bgsave
        redis_dialogue 15 | redis-cli -s socket -n 2 | contents
        redis-cli -s socket -n 2 flushdb async
        redis_await persistence rdb_bgsave_in_progress:0
        redis_await persistence rdb_last_bgsave_status:ok
    done
    wait $load
    load=
    redis-cli -s socket -n 1 get counter:__rand_int__
    redis-cli -s socket -n 1 llen mylist
    redis-cli -s socket -n 1 flushdb async
    redis_await memory lazyfree_pending_objects:0
    redis_digest | cmp - digest
    redis_stop

    # What the last child saved is what another server reads.
    redis_server
    redis-cli -s socket -n 1 flushdb sync
    redis-cli -s socket -n 2 flushdb sync
    redis_digest | cmp - digest
    cat digest
    redis_stop
}

# redis_server starts a server, whose process id is then $server.
redis_server() {
    version=$(redis-server --version)
    set -- --port 0 --unixsocket socket --save '' --daemonize no \
        --io-threads 4 --io-threads-do-reads yes \
        --lazyfree-lazy-server-del yes --lazyfree-lazy-user-del yes
    case $version in
    *v=[1-6].*) ;;
    *) set -- "$@" --enable-debug-command yes --crash-log-enabled no ;;
    esac
    start redis-server "$@" >&2 &
    server=$!
    until redis-cli -s socket ping 2> /dev/null | grep -q PONG; do
        kill -0 "$server"
        sleep 0.02
    done
}

# redis_stop ends it, and fails if it did not end well.
redis_stop() {
    redis-cli -s socket shutdown nosave
    wait "$server"
    server=
}

# redis_kill leaves nothing behind, whatever happened.
redis_kill() {
    for process in $server $load; do
        kill -KILL "$process" 2> /dev/null || :
        wait "$process" || echo "redis: a process ended with status $?" >&2
    done
}

# redis_digest prints a number that depends on all keys and their values.
redis_digest() {
    redis-cli -s socket debug digest
}

# redis_await SECTION TEXT waits until the server's report contains TEXT.
redis_await() {
    until redis-cli -s socket info "$1" | grep -q "^$2"; do
        kill -0 "$server"
        sleep 0.02
    done
}

# redis_dialogue N prints commands that make values of each type grow in N
# steps, and read them back.
redis_dialogue() {
    awk -v n="$1" '
    function text(size, s) {
        while (length(s) < size)
            s = s "river" length(s) * 7919 % 1013
        return s
    }
    BEGIN {
        for (i = 0; i < n; i++) {
            print "set number:" i, i * 7919 % 1000003
            print "set text:" i, text(i * 37 % 500)
            print "append text:" i % 17, text(i % 90)
            print "setrange range:" i % 7, i * 20, "stone"
            print "rpush list:" i % 5, text(i * 7 % 60), i
            print "hset hash:" i % 3, "field" i, text(i % 100), i, i
            print "sadd set:" i % 3, i * i, "m" i
            print "zadd zset:" i % 2, i * 31 % 101, "member" i
            print "xadd stream:" i % 2, i + 1 "-1", "field", text(i % 40)
        }
        for (i = 0; i < n; i++) {
            print "get text:" i
            print "getrange range:" i % 7, i, i + 30
            print "hget hash:" i % 3, "field" i
            print "zscore zset:" i % 2, "member" i
        }
        print "lrange list:1 0 -1\nsort set:1 alpha\nsort list:2 by nosort"
        print "zrange zset:0 0 -1 withscores\nxrange stream:1 - +"
        print "copy list:1 list:copy\nunlink list:3 hash:1 set:2 zset:1"
        print "del stream:0\nsinterstore set:both set:0 set:1"
        print "eval \"local t = {} for i = 1, " n * 5 " do t[i] = i .. KEYS[1]",
            "end return #table.concat(t)\" 1 key"
        print "dbsize"
    }'
}

program_ruby() {
    cat > script <<'END'
count = Hash.new(0)
lines = File.readlines("../input/short.txt", chomp: true)
lines.each { |l| l.split.drop(1).each { |w| count[w] += 1 } }
count.sort.each { |w, n| puts format("%-12s %5d", w, n) }
Point = Struct.new(:x, :y)
points = (0...800).map { |i| Point.new(i * 37 % 101, i * 53 % 97) }
near = points.group_by { |p| p.x / 10 }.transform_values(&:size)
puts near.sort.inspect
4.times { (1..400).map { |i| "river #{i}" * 3 }; GC.start }
puts lines.map(&:reverse).select { |l| l =~ /(?<v>[aeiou])\k<v>/ }.first(20)
puts 2**3000, points.max_by { |p| p.x * p.y }.inspect
END
    under ruby --disable-gems script
}

program_sqlite3() {
    cat > script <<'END'
CREATE TABLE word(id INTEGER PRIMARY KEY, number INT, first TEXT, rest TEXT);
CREATE INDEX by_first ON word(first, number);
BEGIN;
WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 6000)
INSERT INTO word SELECT n, n * 7919 % 10007, printf('w%d', n * 31 % 97),
    hex(n * n) || substr('riverstonefieldwood', n % 15 + 1, 4) FROM c;
COMMIT;
SELECT first, count(*), sum(number), group_concat(substr(rest, 1, 2)) FROM word
    WHERE number > 5000 GROUP BY first ORDER BY 3 DESC LIMIT 20;
SELECT a.id, b.id FROM word a JOIN word b ON a.first = b.first
    AND a.number = b.number + 1 ORDER BY 1, 2;
UPDATE word SET rest = upper(rest) || '!' WHERE id % 7 = 0;
DELETE FROM word WHERE id % 5 = 0;
VACUUM;
PRAGMA integrity_check;
SELECT sum(length(rest)), max(rest) FROM word;
END
    under sqlite3 -batch -init /dev/null words.db < script
    under sqlite3 -batch -init /dev/null words.db .dump
}

program_tar() {
    under tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 \
        -C ../input -cf tree.tar tree
    contents tree.tar
    XZ_OPT=-T1 under tar -C ../input -cJf tree.tar.xz tree
    XZ_OPT=-T1 under tar -tJf tree.tar.xz | sort
    mkdir unpacked
    XZ_OPT=-T1 under tar -C unpacked -xJf tree.tar.xz
    diff -r ../input/tree unpacked/tree
}

program_xz() {
    head -c 400000 ../input/words.txt > words
    under xz -T1 -k words
    contents words.xz
    under xz -dc words.xz | contents
    under xz --format=lzma -9e -c words | contents
}

program_xz_threads() {
    under xz -T2 -1 --block-size=512KiB -c ../input/words.txt > words.xz
    contents words.xz
    under xz -T2 -dc words.xz | contents
}

program_curl() {
    here=$(cd ../input && pwd)
    under curl -sS "file://$here/short.txt"
    under curl -sS "file://$here/tree/d[1-4]/f{1,7,9}.txt" -o 'got-#1-#2'
    cat got-*
    under curl -sS -r 100-299 "file://$here/words.txt"
    status=0
    under curl -s "file://$here/none" || status=$?
    echo "not there: $status"
}

# contents prints what identifies the contents of files, or of its input.
contents() {
    cksum "$@"
}

# ---------------------------------------------------------------------------
# The input: made up, and always the same.

# make_input fills the directory input.
make_input() {
    mkdir input input/tree
    for d in 0 1 2 3 4 5 6 7 8 9 10 11; do
        mkdir input/tree/d$d
    done
    awk '
    function random(n) {
        seed = seed * 16807 % 2147483647
        return seed % n
    }
    function line() {
        return random(100000) " " word[random(n) + 1] " " word[random(n) + 1]
    }
    BEGIN {
        seed = 1
        n = split("river stone field wood mountain fountain linden oakwood " \
            "bridge summer winter harbour meadow garden tower letter", word)
        for (i = 0; i < 40000; i++)
            print line() > "input/quarter"
        for (i = 0; i < 600; i++)
            print line() > "input/short.txt"
        for (d = 0; d < 12; d++) {
            for (f = 0; f < 20; f++) {
                file = "input/tree/d" d "/f" f ".txt"
                for (i = random(120); i >= 0; i--)
                    print line() > file
                close(file)
            }
        }
    }'
    for digit in '' 1 2 3; do
        sed "s/^/$digit/" input/quarter
    done > input/words.txt
    rm input/quarter
    find input -exec touch -d '2001-09-09 01:46:40 UTC' {} +
}

# large_c COUNT PART prints a C file with COUNT functions and one, partPART,
# that calls them.
large_c() {
    awk -v count="$1" -v part="$2" '
    BEGIN {
        print "struct node { unsigned key; struct node *next; char text[20]; };"
        for (i = 0; i < count; i++) {
            printf "static unsigned f%d(unsigned n)\n{\n", i
            printf "    struct node nodes[%d], *list = 0;\n", i % 7 + 2
            printf "    unsigned sum = %d;\n", i * part
            printf "    for (unsigned i = 0; i < %d; i++) {\n", i % 7 + 2
            printf "        nodes[i].key = n * %d + i;\n", i * 31 + 7
            print "        nodes[i].next = list;"
            printf "        nodes[i].text[0] = \"a string, %d\"[i];\n", i
            print "        list = &nodes[i];\n    }"
            print "    for (struct node *p = list; p != 0; p = p->next)"
            print "        switch (p->key % 5) {"
            for (k = 0; k < 4; k++)
                printf "        case %d: sum = sum * %d + p->key; break;\n", \
                    k, i + k + 3
            print "        default: sum ^= (unsigned)p->text[0] >> 1;"
            print "        }"
            if (i > 0)
                printf "    return n > 3 ? sum : sum + f%d(n + 1);\n}\n", i - 1
            else
                print "    return sum;\n}"
        }
        printf "unsigned part%d(unsigned n)\n{\n    return 0", part
        for (i = 0; i < count; i++)
            printf "\n        + f%d(n)", i
        print ";\n}"
    }'
}

dot_input() {
    awk 'BEGIN {
        print "digraph { rankdir=LR; node [shape=box, fontname=\"DejaVu Sans\"]"
        for (i = 0; i < 60; i++) {
            printf "n%d [label=\"block %d\\n%d bytes\"]\n", i, i, i * 48 % 37
            printf "n%d -> n%d\n", int(i / 2), i
            if (i % 7 == 0)
                printf "n%d -> n%d [label=\"next\", style=dashed]\n", i, i / 3
        }
        print "subgraph cluster_a { label=\"free\"; n3; n9; n27 }\n}"
    }'
}
