// oracle_bits_test.go - palloc_bits.txt and palloc_sum.txt: the bitmap of a
// chunk, and summaries.

package runtime_test

import (
	. "runtime"
	"testing"
)

// ---------------------------------------------------- family 1: palloc bits

// randBitmap makes one 512-bit bitmap in one of many styles.
func randBitmap(r *rng, style int64) (b bitmap) {
	switch style {
	case 0: // uniform
		for i := range b {
			b[i] = r.u64()
		}
	case 1: // dense
		for i := range b {
			b[i] = r.u64() | r.u64() | r.u64()
		}
	case 2: // sparse
		for i := range b {
			b[i] = r.u64() & r.u64() & r.u64()
		}
	case 3: // very dense
		for i := range b {
			b[i] = ^(r.u64() & r.u64() & r.u64() & r.u64() & r.u64() & r.u64())
		}
	case 4: // very sparse
		for i := range b {
			b[i] = r.u64() & r.u64() & r.u64() & r.u64() & r.u64() & r.u64()
		}
	case 5: // words all clear, all set, or random
		for i := range b {
			switch r.n(3) {
			case 1:
				b[i] = ^uint64(0)
			case 2:
				b[i] = r.u64()
			}
		}
	case 6: // alternating runs
		max := r.pick(4, 16, 70, 140, 300)
		set := r.pct(50)
		for i := int64(0); i < 512; {
			n := r.in(1, max)
			if i+n > 512 {
				n = 512 - i
			}
			if set {
				b.set(i, n)
			}
			set = !set
			i += n
		}
	case 7: // one free run in a full bitmap
		i := r.n(512)
		n := r.in(1, 512-i)
		b.set(0, i)
		b.set(i+n, 512-i-n)
	case 8: // one used run in an empty bitmap
		i := r.n(512)
		b.set(i, r.in(1, 512-i))
	case 9: // one or two free bits
		for i := range b {
			b[i] = ^uint64(0)
		}
		for k := r.in(1, 2); k > 0; k-- {
			i := r.n(512)
			b[i/64] &^= 1 << uint(i%64)
		}
	case 10: // one or two used bits
		for k := r.in(1, 2); k > 0; k-- {
			b.set(r.n(512), 1)
		}
	case 11: // periodic
		per := r.in(2, 33)
		ph := r.n(per)
		for i := ph; i < 512; i += per {
			b.set(i, 1)
		}
	case 12: // free runs placed exactly around word boundaries
		for i := range b {
			b[i] = ^uint64(0)
		}
		for k := r.in(1, 4); k > 0; k-- {
			edge := r.in(0, 8) * 64
			lo, hi := edge-r.n(66), edge+r.n(66)
			for i := lo; i < hi; i++ {
				if i >= 0 && i < 512 {
					b[i/64] &^= 1 << uint(i%64)
				}
			}
		}
	}
	return
}

const nStyles = 13

var findSizes = []int64{1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 61, 62,
	63, 64, 65, 66, 96, 127,
	128, 129, 191, 192, 193, 255, 256, 257, 320, 383, 384, 385, 447, 448, 449,
	511, 512}

func TestOraclePallocBits(t *testing.T) {
	e := getenv(t)
	r := stream(e.seed, "palloc_bits")
	w := e.create(t, "palloc_bits.txt")
	emit := func(b *bitmap, edits int) {
		w.p("B %s\n", b)
		p := toPalloc(b)
		s := p.Summarize()
		if s != SummarizeSlow(p) {
			t.Fatal("Summarize and SummarizeSlow differ")
		}
		w.p("S %d %d %d %016x\n", s.Start(), s.Max(), s.End(), uint64(s))
		ask := func(n, from int64) {
			i, ns := p.Find(uintptr(n), uint(from))
			w.p("F %d %d %d %d\n", n, from, sx(i), sx(ns))
		}
		m := int64(s.Max())
		for _, n := range []int64{m - 1, m, m + 1} {
			if n >= 1 && n <= 512 {
				ask(n, 0)
			}
		}
		for k := 0; k < 5; k++ {
			n := findSizes[r.n(int64(len(findSizes)))]
			from := int64(0)
			switch r.n(3) {
			case 1:
				from = r.n(512)
			case 2:
				if i, _ := p.Find(1, 0); i < 512 {
					from = int64(i)
				}
			}
			ask(n, from)
		}
		for k := 0; k < 3; k++ {
			i := r.n(512)
			n := r.in(1, 512-i)
			if r.pct(30) { // exact words: the shift-by-64 cases
				i = r.n(8) * 64
				n = 64 * r.in(1, 8-i/64)
			}
			w.p("P %d %d %d\n", i, n, p.PopcntRange(uint(i), uint(n)))
		}
		for k := 0; k < edits; k++ {
			i := r.n(512)
			n := r.in(1, 512-i)
			switch r.n(4) {
			case 0:
				i = r.n(8) * 64
				n = 64 * r.in(1, 8-i/64)
			case 1:
				n = 1
			case 2:
				if n > 64-i%64 {
					n = 64 - i%64
				}
			}
			q := toPalloc(b)
			op := "A"
			if r.pct(50) {
				q.AllocRange(uint(i), uint(n))
			} else {
				op = "R"
				q.Free(uint(i), uint(n))
			}
			res := fromPalloc(q)
			w.p("%s %d %d %s\n", op, i, n, &res)
		}
	}
	var empty, full bitmap
	full.set(0, 512)
	emit(&empty, 4)
	emit(&full, 4)
	// Every position of a word-boundary free run of a few lengths.
	for _, n := range []int64{1, 2, 63, 64, 65, 128, 129} {
		for _, i := range []int64{0, 1, 62, 63, 64, 65, 127, 191, 192, 320,
			511 - n, 512 - n} {
			if i < 0 || i+n > 512 {
				continue
			}
			b := full
			for k := i; k < i+n; k++ {
				b[k/64] &^= 1 << uint(k%64)
			}
			emit(&b, 0)
		}
	}
	for k := 0; k < 900; k++ {
		b := randBitmap(r, int64(k)%nStyles)
		emit(&b, k%2)
	}
	// findBitRange64: set bits are what is looked for.
	for k := 0; k < 3000; k++ {
		var c uint64
		switch r.n(6) {
		case 0:
			c = r.u64()
		case 1:
			c = r.u64() | r.u64()
		case 2:
			c = r.u64() | r.u64() | r.u64() | r.u64()
		case 3:
			c = ^uint64(0) >> uint(r.n(64)) << uint(r.n(64))
		case 4:
			c = ^(uint64(1)<<uint(r.n(64)) | uint64(1)<<uint(r.n(64)))
		case 5:
			c = []uint64{0, 1, 1 << 63, ^uint64(0), 0xaaaaaaaaaaaaaaaa,
				0x00000000ffffffff, 0xffffffff00000000}[r.n(7)]
		}
		n := r.in(1, 64)
		if r.pct(60) {
			n = r.in(1, 8)
		}
		w.p("f %016x %d %d\n", c, n, FindBitRange64(c, uint(n)))
	}
	for k := 0; k < 2000; k++ {
		x := r.u64()
		for j := r.n(7); j > 0; j-- {
			x &= r.u64()
		}
		m := uint(1) << uint(r.n(7))
		w.p("g %016x %d %016x\n", x, m, FillAligned(x, m))
	}
	// findScavengeCandidate on a pallocData (allocation and scavenged bits).
	// Go's order: AllocRange clears the scavenged bits under it.
	for k := 0; k < 700; k++ {
		a := randBitmap(r, r.n(nStyles))
		s := randBitmap(r, r.n(nStyles))
		if r.pct(30) {
			s = bitmap{}
		}
		d := new(PallocData)
		for _, q := range runsOf(&s) {
			d.ScavengedSetRange(q.I, q.N)
		}
		for _, q := range runsOf(&a) {
			d.AllocRange(q.I, q.N)
		}
		ra, rs := fromPalloc(d.PallocBits()), fromPalloc(d.Scavenged())
		w.p("D %s %s\n", ra.short(), rs.short())
		for j := 0; j < 6; j++ {
			min := int64(1) << uint(r.n(7))
			if r.pct(50) {
				min = 1
			}
			max := r.pick(0, 1, 2, 7, 8, 63, 64, 65, 100, 128, 200, 256, 511,
				512, r.n(512))
			from := r.pick(511, 511, 511, r.n(512))
			huge := r.pick(0, 2<<20)
			old := OracleSetHugePage(uintptr(huge))
			b, n := d.FindScavengeCandidate(uint(from), uintptr(min),
				uintptr(max))
			OracleSetHugePage(old)
			w.p("c %d %d %d %d %d %d\n", huge/PageSize, from, min, max, b, n)
		}
	}
	w.close()
}

// ----------------------------------------------------- family 2: palloc sum

func TestOraclePallocSum(t *testing.T) {
	e := getenv(t)
	r := stream(e.seed, "palloc_sum")
	w := e.create(t, "palloc_sum.txt")
	pack := func(a, b, c int64) {
		s := PackPallocSum(uint(a), uint(b), uint(c))
		w.p("K %d %d %d %016x %d %d %d\n", a, b, c, uint64(s), s.Start(),
			s.Max(), s.End())
	}
	const M = OracleMaxPacked
	for _, v := range [][3]int64{{0, 0, 0}, {1, 1, 1}, {0, 1, 0}, {512, 512,
		512}, {M, M, M}, {M - 1, M - 1, M - 1},
		{0, M - 1, 0}, {M - 1, M - 1, 0}, {0, M - 1, M - 1}, {511, 511, 511},
		{M / 2, M / 2, M / 2}, {1, M / 2, M / 2},
		{4096, 8192, 16384}, {0, 1, 1}, {1, 1, 0}} {
		pack(v[0], v[1], v[2])
	}
	for k := 0; k < 800; k++ {
		m := r.in(1, M-1) >> uint(r.n(20))
		pack(r.in(0, m), m, r.in(0, m))
	}
	// mergeSummaries: eight children of 1<<log pages each.
	one := func(N int64, mode int64) PallocSum {
		switch mode {
		case 0:
			return PackPallocSum(0, 0, 0)
		case 1:
			return PackPallocSum(uint(N), uint(N), uint(N))
		}
		s := r.n(N)
		en := r.n(N - s) // s+en <= N-1: at least one page is used
		mx := s
		if en > mx {
			mx = en
		}
		if rest := N - s - en - 2; rest > mx && r.pct(60) {
			mx = r.in(mx, rest)
		}
		return PackPallocSum(uint(s), uint(mx), uint(en))
	}
	for k := 0; k < 1200; k++ {
		lg := uint(9 + 3*r.n(4))
		mode := r.n(5)
		var v [8]uint64
		for i := range v {
			m := r.n(3)
			switch mode {
			case 0:
				m = 1
			case 1:
				m = r.pick(0, 1)
			case 2:
				m = r.pick(1, 1, 1, 2)
			case 3:
				m = r.pick(0, 0, 0, 2)
			}
			v[i] = uint64(one(int64(1)<<lg, m))
		}
		w.p("M %d", lg)
		for _, x := range v {
			w.p(" %016x", x)
		}
		w.p(" %016x\n", OracleMergeSummaries(v[:], lg))
	}
	w.close()
}
