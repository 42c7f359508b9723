# waste.gp - what a request wastes of its block, by its size.
# Drawn with gnuplot 5.4 patchlevel 4.
#
# The data come from mksizeclasses --waste, a line for each size. At the sizes
# where a class begins or ends all of them count; between, one for each per cent
# is enough for the eye. diagrams/generate says where the programs are.

set terminal svg size 760,400 dynamic font "DejaVu Sans,Verdana,sans-serif,13"
grey = "#6e7781"

waste(options) = "< " . programs . "/mksizeclasses --waste " . options . " | " \
    . "awk '/^#/ { next } $2 != class && last != \"\" { print last } " \
    . "$2 != class || $1 > 1.01 * shown { print; shown = $1; last = \"\" } " \
    . "$1 > shown { last = $0 } { class = $2 } END { print last }'"

set logscale x 2
set xrange [8:32800]
set yrange [0:60]
set xtics (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, \
    32768) textcolor rgb grey
set ytics 0, 12.5, 50 textcolor rgb grey
set format y "%.1f %%"
set xlabel "request, bytes (logarithmic)" textcolor rgb grey
set ylabel "unused part of the block" textcolor rgb grey
set border 3 linecolor rgb grey
set tics nomirror out scale 0.6
set label "rounding to 16 bytes" at 9, 52.5 left textcolor rgb grey
set key top right horizontal textcolor rgb grey

plot waste("--max-waste 100 --max-step 32768") using 1:3 with lines \
        linecolor rgb "#d9822b" linewidth 1 dashtype 2 \
        title "powers of two", \
    waste("") using 1:3 with lines linecolor rgb "#2f81d0" linewidth 1.6 \
        title "size classes", \
    12.5 with lines linecolor rgb grey linewidth 1 dashtype 3 \
        title "12.5 %"
