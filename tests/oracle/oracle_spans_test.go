// oracle_spans_test.go - size_classes.txt, mspan.txt, span_set.txt,
// addr_ranges.txt and tiny.txt.

package runtime_test

import (
	. "runtime"
	"runtime/debug"
	"testing"
)

// --------------------------------------------------- family 6: size classes

type divMagic struct{ shift, shift2, mul, mask int }

type sizeClass struct {
	size, pages int
	upTo, incl  divMagic // division magic of the 67-class releases
}

// buildClasses chooses size classes.  Candidate sizes rise from 8 in steps of
// a stride; at each power of two the stride is reconsidered: 8 at first, 16
// from fine16 upwards, an eighth of the size from 128, never more than 256.
// Each candidate takes the fewest whole pages which leave at most one eighth
// over, and replaces the class before it if both put the same number of
// objects into the same number of pages.  At the end every class is widened to
// the largest multiple of 128 which still fits as many objects.
//
// fine16 is the only parameter which moved: 16 up to Go 1.15, 32 from Go 1.16.
func buildClasses(fine16 int) []sizeClass {
	const page = 8192
	pow2 := func(x int) bool { return x&(x-1) == 0 }
	cs := []sizeClass{{}}
	stride := 8
	for size := stride; size <= 32768; size += stride {
		if pow2(size) {
			switch {
			case size >= 2048:
				stride = 256
			case size >= 128:
				stride = size / 8
			case size >= fine16:
				stride = 16
			}
		}
		pages := 1
		for (pages*page)%size*8 > pages*page {
			pages++
		}
		prev := &cs[len(cs)-1]
		if len(cs) > 1 && prev.pages == pages &&
			pages*page/prev.size == pages*page/size {
			prev.size = size
		} else {
			cs = append(cs, sizeClass{size: size, pages: pages})
		}
	}
	for i := 1; i < len(cs); i++ {
		c := &cs[i]
		bytes := c.pages * page
		if wide := bytes / (bytes / c.size) / 128 * 128; wide > c.size {
			c.size = wide
		}
		c.upTo = oldMagic(c.size, bytes-1)
		c.incl = oldMagic(c.size, bytes)
	}
	return cs
}

// oldMagic finds the division constants of the releases before 1.16: index =
// (offset >> shift) * mul >> shift2.  They are the smallest which are right for
// every offset up to limit.  Go 1.12 and before asked for the offsets inside
// the span (limit bytes-1), Go 1.14 and 1.15 for its end too (limit bytes).
func oldMagic(size, limit int) (m divMagic) {
	odd := size
	if size&(size-1) == 0 {
		m.mask = 1<<16 - size
	}
	for odd%2 == 0 {
		odd /= 2
		limit /= 2
		m.shift++
	}
	for ; ; m.shift2++ {
		m.mul = (1<<uint(m.shift2) + odd - 1) / odd
		good := true
		// mul is rounded up, so the quotient can only come out too large, and
		// first just below a multiple of odd or at limit.
		for q := odd - 1; good && q <= limit; q += odd {
			good = q*m.mul>>uint(m.shift2) == q/odd
		}
		if good && limit*m.mul>>uint(m.shift2) == limit/odd {
			return
		}
	}
}

func TestOracleSizeClasses(t *testing.T) {
	e := getenv(t)
	w := e.create(t, "size_classes.txt")
	r := stream(e.seed, "size_classes")
	o := NewOracleSpan()
	defer o.Release()
	for _, v := range []struct {
		name   string
		fine16 int
		n      int
	}{{"go1.19", 32, 68}, {"go1.9-1.15", 16, 67}} {
		cs := buildClasses(v.fine16)
		if len(cs) != v.n {
			t.Fatalf("%s: %d classes", v.name, len(cs))
		}
		cur := v.n == OracleNumSizeClasses
		magic := make([]uint32, len(cs))
		for i := range cs {
			if i > 0 {
				magic[i] = ^uint32(0)/uint32(cs[i].size) + 1
			}
			if cur && (int(OracleClassToSize(i)) != cs[i].size ||
				int(OracleClassToPages(i)) != cs[i].pages ||
				OracleClassToDivMagic(i) != magic[i]) {
				t.Fatalf("class %d is not the runtime's", i)
			}
		}
		lookup := func(size int) int {
			for j := range cs {
				if cs[j].size >= size {
					return j
				}
			}
			panic("size")
		}
		var c8, c128 []int
		for i := 0; i <= 128; i++ {
			c8 = append(c8, lookup(i*8))
		}
		for i := 0; i <= 248; i++ {
			c128 = append(c128, lookup(1024+i*128))
		}
		if cur {
			for i, x := range OracleSizeToClass8() {
				if c8[i] != int(x) {
					t.Fatal("size_to_class8")
				}
			}
			for i, x := range OracleSizeToClass128() {
				if c128[i] != int(x) {
					t.Fatal("size_to_class128")
				}
			}
		}
		classOf := func(n int) int {
			if n <= 1024-8 {
				return c8[(n+7)/8]
			}
			return c128[(n-1024+127)/128]
		}
		roundup := func(n int) uint64 {
			if cur {
				return uint64(OracleRoundupSize(uintptr(n)))
			}
			if n < 32768 {
				return uint64(cs[classOf(n)].size)
			}
			return uint64(n+8191) / 8192 * 8192
		}
		w.p("table %s %d\n", v.name, len(cs))
		for i, c := range cs {
			n := 0
			if i > 0 {
				n = c.pages * 8192 / c.size
			}
			w.p("c %d %d %d %d %d\n", i, c.size, c.pages, magic[i], n)
		}
		// the older releases' constants, for either table
		for i, c := range cs {
			w.p("m %d %d %d %d %d", i, c.upTo.shift, c.upTo.shift2, c.upTo.mul,
				c.upTo.mask)
			w.p(" %d %d %d %d\n", c.incl.shift, c.incl.shift2, c.incl.mul,
				c.incl.mask)
		}
		put := func(tag string, v []int) {
			w.p("%s %d", tag, len(v))
			for _, x := range v {
				w.p(" %d", x)
			}
			w.p("\n")
		}
		put("t8", c8)
		put("t128", c128)
		for n := 0; n <= 32768; {
			c, u := classOf(n), roundup(n)
			hi := n
			for hi < 32768 && classOf(hi+1) == c && roundup(hi+1) == u {
				hi++
			}
			w.p("s %d %d %d %d\n", n, hi, c, u)
			n = hi + 1
		}
		for _, n := range []int{32769, 40959, 40960, 40961, 65536, 1 << 20,
			1<<20 + 1, 1<<31 - 1, 1 << 40} {
			w.p("r %d %d\n", n, roundup(n))
		}
		for k := 0; k < 60; k++ {
			n := int(r.in(32769, 1<<24))
			w.p("r %d %d\n", n, roundup(n))
		}
		for i := 1; i < len(cs); i++ {
			c := cs[i]
			for k := 0; k < 8; k++ {
				off := r.n(int64(c.pages * 8192))
				switch k {
				case 0:
					off = 0
				case 1:
					off = int64(c.pages*8192 - 1)
				case 2, 3:
					q := r.in(1, int64(c.pages*8192/c.size))
					off = q*int64(c.size) - int64(k-2)
				}
				if k == 4 || off > int64(c.pages*8192) {
					// the end of the span divides right too
					off = int64(c.pages * 8192)
				}
				idx := uint64(off) * uint64(magic[i]) >> 32
				if cur && uint64(o.ObjIndex(i, uintptr(off))) != idx {
					t.Fatal("objIndex")
				}
				for j, m := range []divMagic{c.upTo, c.incl} {
					if j == 0 && off == int64(c.pages*8192) {
						continue
					}
					idx := int(off) >> uint(m.shift) * m.mul >> uint(m.shift2)
					if idx != int(off)/c.size {
						t.Fatal("old magic division is wrong")
					}
				}
				if idx != uint64(int(off)/c.size) {
					t.Fatal("magic division is wrong")
				}
				w.p("d %d %d %d\n", i, off, idx)
			}
		}
	}
	w.close()
}

// --------------------------------------------------------- family 7: mspan

func TestOracleSpan(t *testing.T) {
	e := getenv(t)
	w := e.create(t, "mspan.txt")
	r := stream(e.seed, "mspan")
	o := NewOracleSpan()
	defer o.Release()
	for k := 0; k < 260; k++ {
		c := int(r.in(1, OracleNumSizeClasses-1))
		nelems := int64(OracleClassToPages(c)) * PageSize /
			int64(OracleClassToSize(c))
		if k%3 == 0 {
			nelems = r.pick(1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 129, 191, 192,
				193, r.in(1, 300))
		}
		words := make([]uint64, (nelems+63)/64)
		style := r.n(7)
		for i := range words {
			switch style {
			case 0:
			case 1:
				words[i] = r.u64()
			case 2:
				words[i] = r.u64() | r.u64() | r.u64()
			case 3:
				words[i] = ^(r.u64() & r.u64() & r.u64() & r.u64())
			case 4:
				words[i] = r.u64() & r.u64() & r.u64() & r.u64()
			case 5:
				words[i] = ^uint64(0)
			case 6:
				words[i] = []uint64{0, ^uint64(0), r.u64(), 1 << 63, 1,
					^uint64(1), ^uint64(0) >> 1}[r.n(7)]
			}
		}
		if tail := uint(nelems % 64); tail != 0 {
			words[len(words)-1] &= 1<<tail - 1 // bits past nelems are always 0
		}
		fi := int64(0)
		if r.pct(25) {
			fi = r.n(nelems)
		}
		if k%10 == 9 {
			for i := range words {
				words[i] = 0
			}
			fi = 0
			o.SetupFresh(uintptr(nelems), len(words))
		} else {
			o.Setup(uintptr(nelems), words, uintptr(fi))
		}
		w.p("span %d %d %d", nelems, fi, len(words))
		for _, x := range words {
			w.p(" %016x", x)
		}
		w.p("\n")
		w.p("I %d %016x\n", uint64(o.FreeIndex()), o.AllocCache())
		// 0: always nextFreeIndex; 1: fast then slow (malloc's order);
		// 2: either
		mode := r.n(3)
		full := 0
		handed := make([]bool, nelems)
		for steps := 0; full < 2 && steps < 150; steps++ {
			got := int64(-1)
			if mode == 1 || mode == 2 && r.pct(50) {
				got = int64(o.NextFreeFast())
				w.p("N %d %d %016x\n", got, uint64(o.FreeIndex()),
					o.AllocCache())
				if got < 0 && mode == 2 {
					continue
				}
			}
			if got < 0 {
				got = int64(o.NextFreeIndex())
				w.p("n %d %d %016x\n", got, uint64(o.FreeIndex()),
					o.AllocCache())
				if got == nelems {
					full++
					continue
				}
			}
			if handed[got] || words[got/64]>>uint(got%64)&1 != 0 || got < fi {
				t.Fatal("slot handed out twice")
			}
			handed[got] = true
		}
		for j := 0; j < 4; j++ {
			i, fs := r.n(nelems), r.in(0, nelems)
			b := 0
			if o.IsFree(uintptr(i), uintptr(fs)) {
				b = 1
			}
			w.p("z %d %d %d\n", i, fs, b)
		}
		if k%5 == 0 {
			w.p("Z %d\n", o.CountAlloc(uintptr(nelems), words))
		}
	}
	w.close()
}

// ------------------------------------- extras: span set, addr ranges, tiny

func TestOracleSpanSet(t *testing.T) {
	e := getenv(t)
	w := e.create(t, "span_set.txt")
	r := stream(e.seed, "span_set")
	for k := 0; k < 6; k++ {
		s := new(OracleSpanSet)
		w.p("new\n")
		next := uintptr(1)
		state := func() {
			h, tl, sl, sc, nb := s.State()
			w.p("= %d %d %d %d %d\n", h, tl, sl, sc, nb)
		}
		for j := 0; j < 40; j++ {
			if r.pct(55) {
				n := r.pick(1, 2, 3, 100, 511, 512, 513, r.in(1, 2000), r.in(1,
					30000))
				for i := int64(0); i < n; i++ {
					s.Push(next)
					next++
				}
				w.p("P %d\n", n)
			} else {
				n := r.pick(1, 2, 3, 100, 511, 512, 513, r.in(1, 2000), r.in(1,
					30000))
				var ids []int64
				for i := int64(0); i < n; i++ {
					id := s.Pop()
					if id < 0 {
						break
					}
					ids = append(ids, id)
				}
				first := int64(-1)
				for i, id := range ids {
					if i == 0 {
						first = id
					} else if id != first+int64(i) {
						t.Fatal("pops are not consecutive")
					}
				}
				w.p("O %d %d %d\n", n, len(ids), first)
			}
			state()
			if r.pct(4) {
				n := 0
				for s.Pop() >= 0 {
					n++
				}
				w.p("E %d\n", n)
				s.Reset()
				w.p("R\n")
				state()
			}
		}
	}
	w.close()
}

func TestOracleAddrRanges(t *testing.T) {
	e := getenv(t)
	w := e.create(t, "addr_ranges.txt")
	r := stream(e.seed, "addr_ranges")
	const unit = 4096
	for k := 0; k < 20; k++ {
		a := NewAddrRanges()
		w.p("new\n")
		space := r.pick(16, 40, 100, 400)
		taken := make([]bool, space+1)
		dump := func() {
			v := a.Ranges()
			w.p("= %d %d", len(v), uint64(a.TotalBytes())/unit)
			for _, q := range v {
				w.p(" %d %d", uint64(q.Base())/unit, uint64(q.Limit())/unit)
			}
			w.p("\n")
		}
		for j := int64(0); j < 30+space/4; j++ {
			lo := r.n(space)
			hi := lo + 1
			for hi < space && r.pct(40) {
				hi++
			}
			ok := true
			for i := lo; i < hi; i++ {
				ok = ok && !taken[i]
			}
			switch op := r.n(20); {
			case op < 11 && ok:
				for i := lo; i < hi; i++ {
					taken[i] = true
				}
				a.Add(MakeAddrRange(uintptr(lo+1)*unit, uintptr(hi+1)*unit))
				w.p("A %d %d\n", lo+1, hi+1)
				dump()
			case op < 18:
				at := r.in(0, space+1)
				g, gok := a.OracleFindGE(uintptr(at) * unit)
				c := 0
				if a.OracleContains(uintptr(at) * unit) {
					c = 1
				}
				ge := int64(-1)
				if gok {
					ge = int64(g / unit)
				}
				w.p("Q %d %d %d %d\n", at, a.FindSucc(uintptr(at)*unit), ge, c)
			case op == 18 && r.pct(50):
				n := r.in(1, 6)
				b, l := a.OracleRemoveLast(uintptr(n) * unit)
				w.p("L %d %d %d\n", n, uint64(b)/unit, uint64(l)/unit)
				for i := b / unit; i < l/unit; i++ {
					taken[i-1] = false
				}
				dump()
			case op == 19 && r.pct(25):
				at := r.in(1, space+1)
				a.OracleRemoveGE(uintptr(at) * unit)
				w.p("G %d\n", at)
				for i := at; i <= space; i++ {
					taken[i-1] = false
				}
				dump()
			}
		}
	}
	w.close()
}

func TestOracleTiny(t *testing.T) {
	e := getenv(t)
	w := e.create(t, "tiny.txt")
	r := stream(e.seed, "tiny")
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	GC()
	rate := MemProfileRate
	MemProfileRate = 0
	defer func() { MemProfileRate = rate }()
	for k := 0; k < 12; k++ {
		sizes := make([]uintptr, 500)
		for i := range sizes {
			switch n := int64(r.n(100)); {
			case n < 2:
				sizes[i] = 0
			case k%4 == 0:
				sizes[i] = uintptr(r.in(1, 15))
			case k%4 == 1:
				sizes[i] = uintptr(r.in(1, 4))
			case k%4 == 2:
				sizes[i] = uintptr(r.pick(1, 2, 4, 8, 12, 15))
			default:
				sizes[i] = uintptr(r.in(7, 15))
			}
		}
		out := make([]OracleTinyRec, len(sizes))
		OracleTiny(sizes, out)
		w.p("new\n")
		ids := map[uintptr]int{}
		id := func(a uintptr) int {
			if a == 0 {
				return -1
			}
			n, ok := ids[a&^15]
			if !ok {
				n = len(ids)
				ids[a&^15] = n
			}
			return n
		}
		for i, o := range out {
			if sizes[i] == 0 {
				w.p("C\n")
				continue
			}
			nb := 1
			if o.Combined {
				nb = 0
			} else if _, seen := ids[o.Addr&^15]; seen {
				t.Fatal("a new tiny block was seen before")
			}
			b := id(o.Addr)
			w.p("T %d %d %d %d %d %d\n", uint64(sizes[i]), nb, b,
				uint64(o.Addr&15), id(o.Tiny), uint64(o.Off))
		}
	}
	w.close()
}
