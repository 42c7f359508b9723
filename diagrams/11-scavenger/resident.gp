# resident.gp - what a program holds that frees 90 % of 1 GiB, by malloc.
# Drawn with gnuplot 5.4 patchlevel 4.
#
# The data were measured: each run gives others. This does it anew, in minutes:
# make resident STAGES=10,11 OUT=diagrams/11-scavenger/resident.dat

set terminal svg size 760,440 dynamic font "DejaVu Sans,Verdana,sans-serif,13"
grey = "#6e7781"
data = "diagrams/11-scavenger/resident.dat"

set xrange [0:14]
set yrange [0:1300]
set xtics 0, 1, 14 textcolor rgb grey
set ytics 0, 200, 1200 textcolor rgb grey
set xlabel "seconds" offset 0,0.5 textcolor rgb grey
set ylabel "MiB resident" textcolor rgb grey
set border 3 linecolor rgb grey
set tics nomirror out scale 0.6
set arrow from 2,0 to 2,1200 nohead linecolor rgb grey dashtype 3
set arrow from 4,0 to 4,1200 nohead linecolor rgb grey dashtype 3
set arrow from 8,0 to 8,1200 nohead linecolor rgb grey dashtype 3
set arrow from 9,0 to 9,1200 nohead linecolor rgb grey dashtype 3
set arrow from 10,0 to 10,1200 nohead linecolor rgb grey dashtype 3
set label "1 GiB" at 1, 1240 center textcolor rgb grey
set label "90 % go" at 3, 1240 center textcolor rgb grey
set label "nothing" at 6, 1240 center textcolor rgb grey
set label "half comes, and goes" at 9, 1240 center textcolor rgb grey
set label "nothing" at 12, 1240 center textcolor rgb grey
set key outside bottom center horizontal samplen 2 spacing 1.2 textcolor rgb grey

# step 10 11 11+thread glibc jemalloc tcmalloc mimalloc
plot data using ($1 / 10):2 with lines \
        linecolor rgb "#d9822b" linewidth 1.6 title "10", \
    data using ($1 / 10):3 with lines \
        linecolor rgb "#2f81d0" linewidth 1.6 title "11", \
    data using ($1 / 10):4 with lines \
        linecolor rgb "#2f81d0" linewidth 2.2 dashtype 2 \
        title "11, with its thread", \
    data using ($1 / 10):5 with lines \
        linecolor rgb grey linewidth 1.6 title "glibc", \
    data using ($1 / 10):6 with lines \
        linecolor rgb "#1a7f37" linewidth 1.6 title "jemalloc", \
    data using ($1 / 10):8 with lines \
        linecolor rgb "#8250df" linewidth 1.6 title "mimalloc"
