#!/bin/sh
# transcripts_test.sh - shows that transcripts catches what is quoted wrongly.
#
# usage: transcripts_test.sh [PART]   PART: only the cases with this in their
#                                     sentence
#
# The chapters are made up, in a temporary directory.
# Exit: 0 all passed, 1 not.
#
# shellcheck disable=SC1003,SC2016 # chapters quote commands of sh

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 2
# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
tool=$root/tests/tools/transcripts
unset TRANSCRIPT_SECONDS
MM_ROOT=$tmp
export MM_ROOT
cd "$tmp" || exit 1
mkdir -p stages/01-bump stages/02-list
chapter=stages/01-bump/README.md

# chapter makes the one chapter from standard input.
chapter() {
    rm -f stages/*/README.md README.md
    cat > $chapter
}

# edit changes the chapter by a command of sed.
edit() {
    sed "$1" $chapter > edited && mv edited $chapter
}

# block makes a chapter of one block with these lines.
block() {
    {
        echo '# A chapter'
        echo '```console'
        printf '%s\n' "$@"
        echo '```'
    } | chapter
}

# judge SENTENCE GOOD EXPECTED ACTUAL: a failure also shows the chapter.
judge() {
    wanted "$1" || return 0
    if [ "$2" = yes ]; then
        ok "$1"
    else
        not_ok "$1" "$3" "$4"
        sed 's/^/       | /' $chapter
    fi
}

# says SENTENCE STATUS TEXT [ARGUMENT]...: transcripts exits with that status,
# and prints this text among others.
says() {
    sentence=$1 expected=$2 text=$3
    shift 3
    output=$("$tool" "$@" 2>&1)
    status=$?
    good=no
    case $status:$output in "$expected:"*"$text"*) good=yes ;; esac
    judge "$sentence" $good "exit $expected, $text" "exit $status, $output"
}

# passes and fails run transcripts on a chapter of one block with these lines.
passes() {
    sentence=$1
    shift
    block "$@"
    says "$sentence" 0 '1 passed, 0 failed'
}
fails() {
    sentence=$1 text=$2
    shift 2
    block "$@"
    says "$sentence" 1 "$text"
}

# holds SENTENCE COMMAND...: the command succeeds.
holds() {
    sentence=$1
    shift
    good=no
    ! "$@" || good=yes
    judge "$sentence" $good "success of $*" failure
}

# ---- comparing

passes 'what is printed as quoted passes' '$ echo 12 nodes' '12 nodes'
fails 'a wrong counter is caught' "$chapter:3: \$ echo 12 nodes" \
    '$ echo 12 nodes' '13 nodes'
says '... with what was expected' 1 '    -13 nodes'
says '... and what was printed' 1 '    +12 nodes'
says '... and how to put it right' 1 "transcripts --update $chapter"
fails 'a missing line is caught' '+two' '$ echo one; echo two' one
fails 'a line too many is caught' '-two' '$ echo one' one two
fails 'output that is not quoted is caught' +one '$ echo one'
fails 'quoted output that is not there is caught' -one '$ true' one
fails 'standard error is compared, too' +oops '$ echo oops >&2'
fails 'spaces inside lines count' '+a  b' '$ echo "a  b"' 'a b'
fails 'spaces at the start of a line count' '+  b' '$ echo "  b"' b
passes 'spaces at the ends of lines do not' '$ echo "a  "; echo' 'a ' ''
fails 'empty lines in the middle count' '1 failed' \
    '$ echo a; echo; echo b' a b
passes 'a backslash is one' '$ printf "%s" "\n"' '\n'
passes 'the exit status of what is quoted with text does not count' \
    '$ echo no; exit 3' no

block '$ echo one' one '' '$ echo two' three
says 'the line of the wrong command is named' 1 "$chapter:6: \$ echo two"
says 'the others are counted' 1 '1 passed, 1 failed'

# ---- wildcards

passes '... stands for lines' '$ seq 9' 1 ... 5 ... 9
passes '... also for none' '$ seq 2' 1 ... 2 ...
passes '... and for what looks like the next line' '$ printf "a\nb\na\nc\n"' \
    ... a c
fails '... but what follows must come' '1 failed' '$ seq 9' 1 ... 10
fails '... in the order it is quoted' '1 failed' '$ seq 9' 1 ... 7 ... 3 ...
fails '... and at the end if it is quoted there' '1 failed' '$ seq 9' ... 8
passes '... in a line stands for anything' \
    '$ echo "from 0x7f10 to 0x7f20, 16 bytes"' 'from ... to ..., 16 bytes'
fails '... with what is around it' '1 failed' '$ echo 0x7f10: 17 bytes' \
    '0x...: 16 bytes'
fails '... which may not be used twice' '1 failed' '$ echo aba' 'ab...ba'
fails '... from the start of the line' '1 failed' '$ echo xay' 'a...'
fails '... to its end' '1 failed' '$ echo xay' '...a'
fails 'a quotation without text is not enough for a chapter' \
    'needs a command whose output is checked' '$ seq 9' ...
fails '... and then the command must not fail' 'with exit status 3' \
    '$ echo no; exit 3' ...
fails 'a command that prints nothing must not fail' 'with exit status 1' \
    '$ false'

# ---- running

passes 'a command may go on in the next line' '$ echo one \' '>    two' \
    'one two'
passes '... without ">", too' '$ echo one \' '    two' 'one two'
passes 'a command has no input' '$ wc -c' 0
passes 'a command runs at the root' '$ ls stages' 01-bump 02-list
STAGE=09
export STAGE
passes 'a command does not see the environment' '$ echo "${STAGE-none}"' none
unset STAGE
block '$ echo a; sleep 60' a
TRANSCRIPT_SECONDS=1
export TRANSCRIPT_SECONDS
says 'a command that hangs is ended' 1 'it did not end within 1 seconds'
unset TRANSCRIPT_SECONDS

# ---- blocks

chapter << 'END'
1. An item

   ```console
   $ echo one; echo ' two'
   one
    two
   ```
END
says 'a block may be indented' 0 '1 passed, 0 failed'
chapter << 'END'
```console
$ echo one
one
```
<!-- not checked: it waits
     for a key -->
```console no-check
$ exit 3
```
END
says 'a block that is not to be checked is not run' 0 \
    '1 passed, 0 failed, 1 skipped'
says '... and reported with the reason' 0 \
    "skipped $chapter:7: it waits for a key"
edit '6d; 5s/it waits/-->/'
says 'a reason is needed' 1 "$chapter:6: no-check needs its reason"
edit 5d
says '... and so is the comment' 1 "$chapter:5: no-check needs its reason"
chapter << 'END'
```console
$ echo one
one
```
<!-- not checked: it waits for a key -->
Text.
```console no-check
$ exit 3
```
END
says 'a comment further up is no reason' 1 "$chapter:7: no-check needs its"
chapter << 'END'
<!-- not checked: it waits for a key -->
```console no-check
$ exit 3
```
END
says 'a chapter without a checked command is caught' 1 \
    "$chapter:1: a chapter needs a command whose output is checked"
chapter < /dev/null
says 'an empty chapter is caught' 1 'a chapter needs a command'
chapter << 'END'
```console nocheck
$ exit 3
```
END
says 'a fence with a slip of the pen is caught' 1 \
    "$chapter:1: expected console, or console no-check"
chapter << 'END'
```sh
$ echo one
two
```
END
says 'a command in another block is caught' 1 \
    "$chapter:2: a command in a block that is not checked"
chapter << 'END'

    $ echo one
    two
END
says 'a command in an indented block is caught' 1 \
    "$chapter:2: a command in a block that is not checked"
chapter << 'END'
````text
```console
not a command
```
````
```console
$ echo one
one
```
END
says 'a block inside a block is text' 0 '1 passed, 0 failed'
fails 'output above the first command is caught' \
    "$chapter:3: output without a command" one '$ echo one'
block
says 'a block without a command is caught' 1 "$chapter:2: no command"
printf '```console\n$ echo one\none\n' | chapter
says 'a block without an end is caught' 1 "$chapter:1: this block does not end"

# ---- files

block '$ echo one' one
printf '```console\n$ echo one\ntwo\n```\n' > stages/02-list/README.md
says 'without arguments all chapters are checked' 1 \
    'FAIL - stages/02-list/README.md:2:'
says 'the good one is reported as well' 1 "ok - $chapter: 1 checked"
says 'with arguments only those' 0 '1 passed, 0 failed' $chapter
says 'a file that is missing is trouble' 2 'no file none.md' none.md
says 'an unknown option is trouble' 2 "no option '--quick'" --quick
rm stages/02-list/README.md
echo 'Text.' > README.md
says 'README.md needs no command' 0 'ok - README.md: 0 checked'
rm -f README.md $chapter
says 'no chapter at all is trouble' 2 'there is no chapter'

# ---- update

chapter << 'END'
1. An item

   ```console
   $ echo one \
   >     two; echo; echo three
   old
   old

   $ echo same
   same
   ```

```console
$ echo 17 of 18
... of 17
$ true
gone
$ printf '$ x\n'
y
$ printf '%s' '\n'
$ echo 7 nodes
... nodes
```
END
cat > expected.md << 'END'
1. An item

   ```console
   $ echo one \
   >     two; echo; echo three
   one two

   three

   $ echo same
   same
   ```

```console
$ echo 17 of 18
... of 17
$ true
$ printf '$ x\n'
y
$ printf '%s' '\n'
\n
$ echo 7 nodes
... nodes
```
END
says '--update says what it changes' 1 \
    "updated $chapter:4: \$ echo one \\" --update
holds '... changes that, and nothing else' cmp $chapter expected.md
says '... and leaves wildcards alone' 1 "$chapter:15: \$ echo 17 of 18"
says '... and says why' 1 'its ... cannot be guessed'
says 'what would look like a command is not written' 1 \
    'such' --update
says '--force replaces wildcards that do not hold' 1 "updated $chapter:15" \
    --update --force
holds '... and only those' grep -q '^\.\.\. nodes' $chapter
edit '/^\$ printf .\$ x/,/^y/d'
says 'after that, all is well' 0 '6 passed, 0 failed'
says '--force without --update is trouble' 2 '--force needs --update' --force
block '$ exit 3' ...
says '--update does not hide a failure' 1 'with exit status 3' --update

block '$ make none'
says '... and points to a command that fails' 0 'look at it: the command' \
    --update

totals
