#!/bin/sh
# chart_test.sh - are charts drawn, and are wrong ones noticed?
#
# usage: sh diagrams/chart_test.sh [NAME]   NAME: only the cases with this in
#                                           their sentence
#
# Works in a copy of the tree with one stage and one chart. The pictures beside
# it do not matter here: a stub takes the place of the program that draws them.

root=$(cd "$(dirname "$0")/.." && pwd) || exit 2
# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
unset COMPILER

# fails SENTENCE MESSAGE: generate --check must fail with this message. What
# was changed is changed back.
fails() {
    actual=$(sh diagrams/generate --check 2>&1) && actual='exit status 0'
    contains "generate --check notices $1" "$2" "$actual"
    cp "$tmp/saved"/* $charts
}

if ! command -v gnuplot >/dev/null; then
    skip 'charts are drawn' 'gnuplot is not installed'
    totals
    exit
fi

cd "$tmp" || exit 2
charts=diagrams/01-one
programs=build/01-one/gcc-release
mkdir -p stages/01-one $charts diagrams/concepts tests/tools $programs saved
cp "$root/tests/tools/stages" tests/tools/
cp "$root/diagrams/generate" diagrams/
cp -R "$root/common" .
printf '#!/bin/sh\necho "digraph { a }"\n' >$programs/draw
cp $programs/draw $programs/process
printf '#!/bin/sh\nprintf "1 1\\n2 4\\n3 9\\n"\n' >$programs/numbers
chmod +x $programs/*
cat >$charts/squares.gp <<END
# squares.gp - numbers and their squares.
# Drawn with $(gnuplot --version).
set terminal svg
plot "< " . programs . "/numbers" with lines
END

contains 'generate draws a chart' $charts/squares.svg \
    "$(sh diagrams/generate 2>&1)"
contains 'the chart is an SVG without a background' 'fill="none"' \
    "$(cat $charts/squares.svg)"
contains 'generate changes nothing the second time' \
    '3 pictures, 0 files changed' "$(sh diagrams/generate 2>&1)"
contains 'generate --check is content with what was drawn' \
    '3 pictures, 0 files changed' "$(sh diagrams/generate --check 2>&1)"
cp $charts/* saved

sed -i 's/path/pfad/' $charts/squares.svg
fails 'a changed chart' "$charts/squares.svg differs from what is drawn now:"
sed -i 's/with lines/with points/' $charts/squares.gp
fails 'a chart that was not drawn again' "$charts/squares.svg differs"
rm $charts/squares.svg
fails 'a missing chart' "$charts/squares.svg is missing"
rm $charts/squares.gp
fails 'a chart that nothing draws' \
    "$charts/squares.svg: nothing draws it any more"
sed -i 's/^plot/plod/' $charts/squares.gp
fails 'a chart with an error' "$charts/squares.gp: "
mv $programs/numbers numbers
fails 'a program that was not built' 'numbers: not found'
sed 's/9/8/' numbers >$programs/numbers
chmod +x $programs/numbers
fails 'other numbers' "$charts/squares.svg differs"
mv numbers $programs/numbers

sed -i 's/^# Drawn with .*/# Drawn with gnuplot 1.0 patchlevel 0./' \
    $charts/squares.gp
sed -i 's/path/pfad/' $charts/squares.svg
contains 'a chart of another gnuplot is not compared' \
    "skipped $charts/squares.svg: this is not gnuplot 1.0 patchlevel 0" \
    "$(sh diagrams/generate --check 2>&1)"
rm $charts/squares.svg
fails 'a missing chart of another gnuplot' "$charts/squares.svg is missing"

totals
