# cost.gp - what it costs to find 16 pages, on this stage and on the one before.
# Drawn with gnuplot 5.4 patchlevel 4.
#
# The nodes are counted by diagrams/page_cost.c. Time differs from run to run, so
# cost.txt has what was measured: a row of page_cost --time on the stage before,
# and one on this stage. diagrams/generate says where the programs are.

set terminal svg size 760,400 dynamic font "DejaVu Sans,Verdana,sans-serif,13"
grey = "#6e7781"
orange = "#d9822b"
blue = "#2f81d0"

count(where) = "< " . where . "/page_cost"
time = "diagrams/13-page-alloc/cost.txt"

set logscale xy
set xrange [4:65536]
set xtics ("4 MiB" 4, "64" 64, "1 GiB" 1024, "8" 8192, "64" 65536) textcolor rgb grey
set format y "%.0f"
set border 3 linecolor rgb grey
set tics nomirror out scale 0.6
set xlabel "heap (logarithmic)" textcolor rgb grey
set ytics textcolor rgb grey
set key left top Left reverse spacing 1.1 samplen 2 textcolor rgb grey

set multiplot layout 1,2
set title "nodes visited" textcolor rgb grey
set yrange [0.8:40000]
plot count(before) using 1:3 with linespoints pointtype 7 pointsize 0.3 \
        linecolor rgb orange linewidth 1.6 title "12", \
    count(programs) using 1:3 with linespoints pointtype 7 pointsize 0.3 \
        linecolor rgb blue linewidth 1.6 title "13", \
    count(programs) using 1:2 with linespoints pointtype 7 pointsize 0.3 \
        linecolor rgb blue linewidth 1 dashtype 3 title "13, no holes"
set title "nanoseconds, allocate and free" textcolor rgb grey
set yrange [40:4000000]
plot time using 1:3 with linespoints pointtype 7 pointsize 0.3 \
        linecolor rgb orange linewidth 1.6 title "12", \
    time using 1:6 with linespoints pointtype 7 pointsize 0.3 \
        linecolor rgb blue linewidth 1.6 title "13", \
    time using 1:5 with linespoints pointtype 7 pointsize 0.3 \
        linecolor rgb blue linewidth 1 dashtype 3 title "13, no holes"
unset multiplot
