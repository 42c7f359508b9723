// oracle_world_test.go - a page allocator of which everything that is done is
// recorded, and random sequences of operations on it.

package runtime_test

import (
	"fmt"
	. "runtime"
	"sort"
)

// ---------------------------------- families 3, 4, 5: page allocator worlds

type region struct{ base, n int64 }

type chunkInit struct {
	lo, hi      int64 // chunks lo..hi inclusive get the same bitmaps
	alloc, scav bitmap
}

type world struct {
	w      *sink
	r      *rng
	p      *PageAlloc
	chunks []int64 // ascending
	live   []region
	at     map[int64]int
	used   int64
	nops   int64
	track  bool // emit q lines
	index  bool // emit i lines at checkpoints (scavenge index)
	sa     int64
	cache  [8]PageCache
}

var originPage = PageBase(BaseChunkIdx, 0)

func rel(a uintptr) int64 {
	if a == 0 || a == OracleMaxSearchAddr() {
		return -1
	}
	if a < originPage || (a-originPage)%PageSize != 0 {
		panic(fmt.Sprintf("address %#x", a))
	}
	return int64((a - originPage) / PageSize)
}
func abs(page int64) uintptr { return originPage + uintptr(page)*PageSize }

func scavPages(b uintptr) int64 {
	if b%PageSize != 0 {
		panic("scavenged bytes are not whole pages")
	}
	return int64(b / PageSize)
}

func newWorld(w *sink, r *rng, name string, huge int64, track, index bool,
	init []chunkInit) *world {
	x := &world{w: w, r: r, at: map[int64]int{}, track: track, index: index}
	tr := 0
	if track {
		tr = 1
	}
	w.p("seq %s %d %d\n", name, huge, tr)
	am := map[ChunkIdx][]BitRange{}
	sm := map[ChunkIdx][]BitRange{}
	for _, c := range init {
		ar, sr := runsOf(&c.alloc), runsOf(&c.scav)
		w.p("c %d %d %d", c.lo, c.hi, len(ar))
		for _, q := range ar {
			w.p(" %d %d", q.I, q.N)
		}
		w.p(" %d", len(sr))
		for _, q := range sr {
			w.p(" %d %d", q.I, q.N)
		}
		w.p("\n")
		for i := c.lo; i <= c.hi; i++ {
			am[BaseChunkIdx+ChunkIdx(i)] = ar
			sm[BaseChunkIdx+ChunkIdx(i)] = sr
			x.chunks = append(x.chunks, i)
			for _, q := range ar {
				x.add(region{i*512 + int64(q.I), int64(q.N)})
			}
		}
	}
	sort.Slice(x.chunks, func(i,
		j int) bool {
		return x.chunks[i] < x.chunks[j]
	})
	x.p = NewPageAlloc(am, sm)
	x.sa = rel(x.p.OracleSearchAddr())
	w.p("go %d\n", x.sa)
	return x
}

func (x *world) add(g region) {
	x.at[g.base] = len(x.live)
	x.live = append(x.live, g)
	x.used += g.n
}
func (x *world) drop(i int) region {
	g := x.live[i]
	last := len(x.live) - 1
	x.live[i] = x.live[last]
	x.at[x.live[i].base] = i
	x.live = x.live[:last]
	delete(x.at, g.base)
	x.used -= g.n
	return g
}
func (x *world) total() int64 { return int64(len(x.chunks)) * 512 }

func (x *world) post() {
	x.nops++
	if x.track {
		if s := rel(x.p.OracleSearchAddr()); s != x.sa {
			x.sa = s
			x.w.p("q %d\n", s)
		}
	}
}

func (x *world) alloc(n int64) int64 {
	a, s := x.p.Alloc(uintptr(n))
	b := rel(a)
	x.w.p("a %d %d %d\n", n, b, scavPages(s))
	x.post()
	if b >= 0 {
		x.add(region{b, n})
	}
	return b
}

// free gives back [base, base+n), which must be allocated.  real selects the
// mheap path (scavenged=false), otherwise the export_test hook's path.
func (x *world) free(base, n int64, real bool) {
	if real {
		x.p.OracleFree(abs(base), uintptr(n), false)
		x.w.p("F %d %d\n", base, n)
	} else {
		x.p.Free(abs(base), uintptr(n))
		x.w.p("f %d %d\n", base, n)
	}
	x.post()
}

func (x *world) freeSome(real bool) {
	i := int(x.r.n(int64(len(x.live))))
	g := x.drop(i)
	switch k := x.r.n(100); {
	case k < 8 && g.n > 1: // part of a region
		lo := x.r.n(g.n)
		n := x.r.in(1, g.n-lo)
		if lo > 0 {
			x.add(region{g.base, lo})
		}
		if lo+n < g.n {
			x.add(region{g.base + lo + n, g.n - lo - n})
		}
		x.free(g.base+lo, n, real)
	case k < 16: // adjoining regions in one call
		for j := 0; j < 6; j++ {
			k, ok := x.at[g.base+g.n]
			if !ok {
				break
			}
			g.n += x.drop(k).n
		}
		x.free(g.base, g.n, real)
	default:
		x.free(g.base, g.n, real)
	}
}

func (x *world) words(c int64) (a, s bitmap) {
	d := x.p.PallocData(BaseChunkIdx + ChunkIdx(c))
	return fromPalloc(d.PallocBits()), fromPalloc(d.Scavenged())
}

// walk asks find without changing anything.
func (x *world) walk(n int64) {
	a, s := x.p.OracleFind(uintptr(n))
	x.w.p("w %d %d %d\n", n, rel(a), rel(s))
	x.post()
}

// carve allocates a free run which need not be the first one.
func (x *world) carve(max int64) {
	ci := x.r.n(int64(len(x.chunks)))
	c := x.chunks[ci]
	a, _ := x.words(c)
	i := x.r.n(512)
	for k := 0; k < 512 && a.get(i); k++ {
		i = (i + 1) % 512
	}
	if a.get(i) {
		return
	}
	n := int64(0)
	base := c*512 + i
	for n < max && !a.get(i) {
		n++
		if i++; i == 512 {
			ci++
			if ci == int64(len(x.chunks)) || x.chunks[ci] != c+1 {
				break
			}
			c++
			a, _ = x.words(c)
			i = 0
		}
	}
	s := x.p.OracleAllocRange(abs(base), uintptr(n))
	x.w.p("r %d %d %d\n", base, n, scavPages(s))
	x.add(region{base, n})
	x.post()
}

func (x *world) grow(lo, n int64) {
	x.p.OracleGrow(abs(lo*512), uintptr(n)*512*PageSize)
	for i := lo; i < lo+n; i++ {
		x.chunks = append(x.chunks, i)
	}
	sort.Slice(x.chunks, func(i,
		j int) bool {
		return x.chunks[i] < x.chunks[j]
	})
	x.w.p("g %d %d\n", lo, n)
	x.post()
}

func (x *world) fill(slot int) {
	c := x.p.AllocToCache()
	x.cache[slot] = c
	x.w.p("k %d %d %016x %016x\n", slot, rel(c.Base()), c.Cache(), c.Scav())
	x.post()
}
func (x *world) cacheAlloc(slot int, n int64) bool {
	a, s := x.cache[slot].Alloc(uintptr(n))
	b := rel(a)
	x.w.p("C %d %d %d %d %016x %016x\n", slot, n, b, scavPages(s),
		x.cache[slot].Cache(), x.cache[slot].Scav())
	x.post()
	if b >= 0 {
		x.add(region{b, n})
	}
	return b >= 0
}
func (x *world) flush(slot int) {
	x.cache[slot].Flush(x.p)
	x.w.p("x %d\n", slot)
	x.post()
}

func (x *world) scavenge(nbytes uint64, huge int64) uint64 {
	old := OracleSetHugePage(uintptr(huge * PageSize))
	got := uint64(x.p.Scavenge(uintptr(nbytes)))
	OracleSetHugePage(old)
	x.w.p("v %d %d\n", nbytes, got)
	x.post()
	return got
}

// summary indices which cover chunks in use, ascending and distinct.
func (x *world) sumIdx(level int) (out []int64) {
	sh := uint(3 * (4 - level))
	for _, c := range x.chunks {
		i := c >> sh
		if len(out) == 0 || out[len(out)-1] != i {
			out = append(out, i)
		}
	}
	return
}
func (x *world) sum(level int, i int64) uint64 {
	sh := uint(3 * (4 - level))
	return x.p.OracleSummary(level, int(uint64(BaseChunkIdx)>>sh)+int(i))
}

func (x *world) check() {
	h := uint64(mixInit)
	for _, c := range x.chunks {
		a, s := x.words(c)
		for _, v := range a {
			h = mix(h, v)
		}
		for _, v := range s {
			h = mix(h, v)
		}
	}
	g := uint64(mixInit)
	for l := 0; l < OracleSummaryLevels; l++ {
		for _, i := range x.sumIdx(l) {
			g = mix(g, x.sum(l, i))
		}
	}
	x.w.p("h %016x %016x %d\n", h, g, rel(x.p.OracleSearchAddr()))
	if x.index {
		a, m, ok := x.p.OracleScavIndex()
		mark, pos := 0, int64(-1)
		if m {
			mark = 1
		}
		if ok {
			pos = rel(a)
		}
		x.w.p("i %d %d ", mark, pos)
		for _, c := range x.chunks {
			if x.p.OracleScavIndexBit(BaseChunkIdx + ChunkIdx(c)) {
				x.w.p("1")
			} else {
				x.w.p("0")
			}
		}
		x.w.p("\n")
	}
}

func (x *world) end() {
	x.check()
	type ent struct{ a, s string }
	var cur ent
	lo, hi := int64(-1), int64(-1)
	put := func() {
		if lo >= 0 {
			x.w.p("D %d %d %s %s\n", lo, hi, cur.a, cur.s)
		}
	}
	for _, c := range x.chunks {
		a, s := x.words(c)
		n := ent{a.short(), s.short()}
		if lo >= 0 && c == hi+1 && n == cur {
			hi = c
			continue
		}
		put()
		lo, hi, cur = c, c, n
	}
	put()
	for l := 0; l < OracleSummaryLevels; l++ {
		lo, hi = -1, -1
		var v uint64
		put := func() {
			if lo >= 0 {
				x.w.p("S %d %d %d %016x\n", l, lo, hi, v)
			}
		}
		for _, i := range x.sumIdx(l) {
			s := x.sum(l, i)
			if lo >= 0 && i == hi+1 && s == v {
				hi = i
				continue
			}
			put()
			lo, hi, v = i, i, s
		}
		put()
	}
	x.w.p("end %d\n", x.nops)
	FreePageAlloc(x.p)
}

// ---- size profiles

func small(r *rng) int64 {
	n := int64(1)
	for n < 12 && r.pct(55) {
		n++
	}
	return n
}
func mixed(r *rng) int64 {
	switch k := r.n(100); {
	case k < 60:
		return r.in(1, 8)
	case k < 80:
		return r.in(9, 66)
	case k < 92:
		return r.in(60, 260)
	case k < 97:
		return r.in(257, 520)
	default:
		return r.in(500, 1600)
	}
}
func large(r *rng) int64 {
	switch k := r.n(100); {
	case k < 25:
		return r.in(1, 40)
	case k < 55:
		return r.in(41, 511)
	case k < 70:
		return r.pick(512, 511, 513, 1023, 1024, 1025)
	default:
		return r.in(512, 2600)
	}
}
func giant(r *rng) int64 {
	switch k := r.n(100); {
	case k < 25:
		return r.in(1, 600)
	case k < 50:
		return r.in(1, 40) * 512
	case k < 80:
		return int64(1)<<uint(r.in(9, 19)) + r.pick(0, 0, 1, -1, 511)
	case k < 90:
		return r.in(1, 1<<20)
	default:
		return r.pick(1<<20, 1<<21, 1<<21-1, 1<<21+1, 1<<21+512, 1<<21-512)
	}
}

type churnOpt struct {
	ops    int64
	size   func(*rng) int64
	every  int64 // checkpoint interval
	caches int   // number of page cache slots in play
	scav   int64 // percentage of operations that scavenge
	huge   int64 // pages in a huge page, for scavenging
	real   int64 // percentage of frees through the mheap path
	grows  []region
	calm   bool // only plain allocs and frees
}

func single(*rng) int64 { return 1 }

// churn runs random operations in phases.  A phase has a fill level it steers
// for and a size profile.
func (x *world) churn(o churnOpt) {
	r := x.r
	target, size := int64(50), o.size
	phase := int64(0)
	stop := x.nops + o.ops
	next := x.nops + o.every
	for x.nops < stop {
		if x.nops >= next {
			x.check()
			next = x.nops + o.every
		}
		if phase--; phase <= 0 {
			phase = r.in(20, 20+o.ops/8)
			target = r.pick(3, 20, 40, 60, 75, 85, 92, 97, 99, 100)
			size = o.size
			switch r.n(10) {
			case 0:
				size = single
			case 1, 2, 3:
				size = small
			}
		}
		pAlloc := int64(20)
		if x.used*100 < target*x.total() {
			pAlloc = 80
		}
		real := r.pct(o.real)
		k := r.n(1000)
		switch {
		case k < 10 && !o.calm:
			x.walk(size(r))
			continue
		case k < 20 && !o.calm:
			x.carve(r.in(1, 90))
			continue
		case k == 20 && !o.calm: // exhaust
			for j := 0; j < 150 && x.alloc(1) >= 0; j++ {
			}
			continue
		case k == 21 && !o.calm && r.pct(40): // drain
			for j := 0; j < 300 && len(x.live) > 0; j++ {
				x.freeSome(real)
			}
			continue
		case k < 30 && len(o.grows) > 0:
			x.grow(o.grows[0].base, o.grows[0].n)
			o.grows = o.grows[1:]
			continue
		}
		if r.pct(o.scav) {
			var n uint64
			switch r.n(8) {
			case 0:
				n = uint64(r.pick(1, 8191, 8192, 8193, 4096))
			case 1, 2:
				n = uint64(r.in(1, 20)) * PageSize
			case 3, 4:
				n = 64 << 10
			case 5:
				n = uint64(r.in(1, 5<<20))
			case 6:
				n = uint64(r.in(1, 3)) * (4 << 20)
			case 7:
				n = uint64(r.in(1, 600)) * PageSize
				if r.pct(10) {
					n = ^uint64(0)
				}
			}
			x.scavenge(n, o.huge)
			x.check()
			continue
		}
		if o.caches > 0 && r.pct(60) {
			s := int(r.n(int64(o.caches)))
			c := &x.cache[s]
			if r.pct(3) {
				x.flush(s)
				continue
			}
			if r.pct(pAlloc) {
				if c.Empty() {
					x.fill(s)
				}
				if !c.Empty() {
					n := small(r)
					if r.pct(3) {
						n = r.in(13, 64)
					}
					if !x.cacheAlloc(s, n) && r.pct(50) {
						x.alloc(n) // what mheap.allocSpan does next
					}
					continue
				}
			}
		}
		if len(x.live) == 0 || r.pct(pAlloc) {
			n := size(r)
			if x.alloc(n) < 0 && len(x.live) > 0 && r.pct(60) {
				x.freeSome(real)
			}
		} else {
			x.freeSome(real)
		}
	}
	for i := 0; i < o.caches; i++ {
		if !x.cache[i].Empty() {
			x.flush(i)
		}
	}
}

// ---- layouts

func plain(lo, hi int64) chunkInit { return chunkInit{lo: lo, hi: hi} }

func each(lists ...int64) (out []chunkInit) {
	for _, c := range lists {
		out = append(out, plain(c, c))
	}
	return
}

// withBits gives every chunk its own random bitmaps.
func withBits(r *rng, alloc, scav bool, list ...int64) (out []chunkInit) {
	for _, c := range list {
		k := chunkInit{lo: c, hi: c}
		if alloc {
			switch r.n(8) {
			case 0: // empty
			case 1:
				k.alloc.set(0, 512)
			default:
				k.alloc = randBitmap(r, r.n(nStyles))
			}
		}
		if scav {
			switch r.n(4) {
			case 0:
				k.scav.set(0, 512)
			case 1:
				k.scav = randBitmap(r, 6)
			default:
				k.scav = randBitmap(r, r.n(nStyles))
			}
		}
		out = append(out, k)
	}
	return
}

// roomy gives every chunk free pages which are not scavenged.
func roomy(r *rng, list ...int64) (out []chunkInit) {
	for _, c := range list {
		k := chunkInit{lo: c, hi: c}
		if r.pct(80) {
			k.alloc = randBitmap(r, r.pick(0, 2, 4, 5, 6, 6, 8, 8, 10, 11))
		}
		if r.pct(60) {
			k.scav = randBitmap(r, r.pick(0, 2, 4, 5, 6, 6, 8, 10, 12))
		}
		out = append(out, k)
	}
	return
}

func span(lo, n int64) (out []int64) {
	for i := lo; i < lo+n; i++ {
		out = append(out, i)
	}
	return
}

var spread = []int64{0, 1, 7, 8, 63, 64, 511, 512, 4095, 4096, 8191, 8192,
	12287, 12288, 32767, 32768}
