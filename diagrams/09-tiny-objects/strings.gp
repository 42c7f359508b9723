# strings.gp - what small strings take, on this stage and on the one before.
# Drawn with gnuplot 5.4 patchlevel 4.
#
# The data are rows of the replayer: operations so far, objects in use, bytes
# asked for. An object counts as 16 bytes; a few have 32. diagrams/generate says
# where the programs are.

set terminal svg size 760,400 dynamic font "DejaVu Sans,Verdana,sans-serif,13"
grey = "#6e7781"

rows(where) = "< " . where . "/replay --noscan --every 2000 " \
    . "--counters objects,payload build/traces/strings.rep"
KiB(bytes) = bytes / 1024.0

set xrange [0:200]
set yrange [0:1400]
set xtics 0, 20, 200 textcolor rgb grey
set ytics 0, 200, 1400 textcolor rgb grey
set xlabel "operations of the trace, thousands" textcolor rgb grey
set ylabel "KiB" textcolor rgb grey
set border 3 linecolor rgb grey
set tics nomirror out scale 0.6
set arrow from 80,0 to 80,1250 nohead linecolor rgb grey dashtype 3
set arrow from 140,0 to 140,1250 nohead linecolor rgb grey dashtype 3
set label "80000 strings" at 40, 1330 center textcolor rgb grey
set label "60000 of them go" at 110, 1330 center textcolor rgb grey
set label "60000 others come" at 170, 1330 center textcolor rgb grey
set key at 137, 1180 right top spacing 1.1 samplen 2 textcolor rgb grey

plot rows(before) using ($1 / 1000):(KiB(16 * $2)) with lines \
        linecolor rgb "#d9822b" linewidth 1.6 title "objects, 08", \
    rows(programs) using ($1 / 1000):(KiB(16 * $2)) with lines \
        linecolor rgb "#2f81d0" linewidth 1.6 title "objects, 09", \
    rows(programs) using ($1 / 1000):(KiB($3)) with lines \
        linecolor rgb grey linewidth 1 dashtype 3 title "asked for"
