// oracle_heap_test.go - page_alloc.txt, page_cache.txt, scavenge.txt and
// scav_index.txt: sequences of operations on page allocators.

package runtime_test

import (
	"fmt"
	. "runtime"
	"testing"
)

func TestOraclePageAlloc(t *testing.T) {
	e := getenv(t)
	w := e.create(t, "page_alloc.txt")
	run := func(name string, track bool, init func(*rng) []chunkInit,
		o churnOpt) {
		r := stream(e.seed, "page_alloc/"+name)
		x := newWorld(w, r, name, 0, track, false, init(r))
		x.churn(o)
		x.end()
	}
	fixed := func(v []chunkInit) func(*rng) []chunkInit {
		return func(*rng) []chunkInit { return v }
	}
	rnd := func(list ...int64) func(*rng) []chunkInit {
		return func(r *rng) []chunkInit {
			return withBits(r, true, true,
				list...)
		}
	}

	// Scripted: one chunk filled page by page, then refilled through holes.
	{
		r := stream(e.seed, "page_alloc/script1")
		x := newWorld(w, r, "script1", 0, true, false, each(0))
		for x.alloc(1) >= 0 {
		}
		x.alloc(1)
		for i := int64(0); i < 512; i += 2 {
			x.free(i, 1, false)
		}
		x.check()
		x.alloc(2)
		x.walk(1)
		for i := int64(0); i < 256; i++ {
			x.alloc(1)
		}
		x.alloc(1)
		x.free(0, 512, false)
		x.alloc(512)
		x.alloc(1)
		x.live = nil
		x.end()
	}
	// Scripted: every size around the powers of two, over three chunks.
	{
		r := stream(e.seed, "page_alloc/script2")
		x := newWorld(w, r, "script2", 0, true, false, each(0, 1, 2))
		for _, n := range []int64{1, 63, 64, 65, 127, 128, 129, 511, 512, 513,
			1023, 1024, 1025, 1535, 1536, 1537, 4000} {
			x.alloc(1)
			b := x.alloc(n)
			c := x.alloc(1)
			if b >= 0 {
				x.free(b, n, false)
			}
			x.alloc(2)
			x.walk(n)
			x.free(0, 1, false)
			if c >= 0 {
				x.free(c, 1, false)
			}
			x.check()
			// leave nothing behind
			for ci := int64(0); ci < 3; ci++ {
				a, _ := x.words(ci)
				for _, q := range runsOf(&a) {
					x.free(ci*512+int64(q.I), int64(q.N), false)
				}
			}
		}
		x.end()
	}
	// Scripted: runs which cross each radix boundary exactly, from both sides.
	{
		r := stream(e.seed, "page_alloc/script3")
		x := newWorld(w, r, "script3", 0, true, false,
			each(0, 7, 8, 63, 64, 511, 512, 4095, 4096, 8191, 8192))
		for _, b := range []int64{8, 64, 512, 4096, 8192} {
			edge := b * 512
			for _, d := range [][2]int64{{1, 1}, {1, 511}, {511, 1}, {512, 512},
				{64, 64}, {65, 200}} {
				// everything is free: hide all below, then ask for a run over
				// the edge
				var hide []region
				for _, c := range x.chunks {
					if c*512 < edge-512 {
						hide = append(hide, region{c * 512, 512})
					}
				}
				hide = append(hide, region{edge - 512, 512 - d[0]})
				for _, g := range hide {
					if g.n > 0 {
						s := x.p.OracleAllocRange(abs(g.base), uintptr(g.n))
						w.p("r %d %d %d\n", g.base, g.n, scavPages(s))
						x.post()
					}
				}
				x.walk(d[0] + d[1])
				if b := x.alloc(d[0] + d[1]); b >= 0 {
					x.free(b, d[0]+d[1], false)
				}
				x.walk(d[0])
				for _, g := range hide {
					if g.n > 0 {
						x.free(g.base, g.n, false)
					}
				}
			}
			x.check()
		}
		x.live = nil
		x.end()
	}

	run("one", true, fixed(each(0)), churnOpt{ops: 5000, size: mixed,
		every: 500})
	run("one-frag", true, rnd(0), churnOpt{ops: 3000, size: small, every: 300})
	run("two", true, rnd(0, 1), churnOpt{ops: 4000, size: mixed, every: 500})
	run("contig16", true, rnd(span(0, 16)...), churnOpt{ops: 10000, size: mixed,
		every: 1000})
	run("contig64-large", true, fixed([]chunkInit{plain(0, 63)}),
		churnOpt{ops: 5000, size: large, every: 500})
	run("gaps", true, rnd(0, 2, 3, 7), churnOpt{ops: 5000, size: mixed,
		every: 500})
	run("gaps-large", true, rnd(1, 2, 3, 5, 6, 9, 10, 11, 12, 13, 20),
		churnOpt{ops: 3000, size: large, every: 500})
	run("edge-l3", true, rnd(6, 7, 8, 9, 15, 16), churnOpt{ops: 5000,
		size: mixed, every: 500})
	run("edge-l2", true, rnd(62, 63, 64, 65, 127, 128), churnOpt{ops: 5000,
		size: mixed, every: 500})
	run("edge-l1", true, rnd(510, 511, 512, 513, 1023, 1024),
		churnOpt{ops: 5000, size: mixed, every: 500})
	run("edge-l0", true, rnd(4094, 4095, 4096, 4097, 8191, 8192),
		churnOpt{ops: 5000, size: mixed, every: 500})
	run("spread", true, rnd(spread...), churnOpt{ops: 6000, size: mixed,
		every: 500})
	for i := 0; i < 12; i++ { // many short ones from varied starts
		run(fmt.Sprintf("short%02d", i), true, func(r *rng) []chunkInit {
			var l []int64
			c := r.n(6)
			for len(l) < 5 {
				l = append(l, c)
				c += r.pick(1, 1, 1, 2, 3, 8, 50, 600, 5000)
			}
			return withBits(r, true, true, l...)
		}, churnOpt{ops: 500, size: []func(*rng) int64{small, mixed,
			large}[i%3], every: 100})
	}
	// Growth while running: up, down, into gaps, far away, several chunks at
	// once.
	run("grow", true, fixed(each(100)), churnOpt{ops: 6000, size: mixed,
		every: 300, grows: []region{
			{101, 1}, {103, 2}, {102, 1}, {99, 1}, {90, 4}, {110, 10}, {94, 5},
			{511, 2}, {4090, 12}, {60, 8}, {9000, 1}, {0, 1}}})
	// A whole 16 GiB root entry and a bit more: the largest summary value.
	run("root16g", true, fixed([]chunkInit{plain(0, 4111)}), churnOpt{ops: 900,
		size: giant, every: 100})
	run("root16g-b", true, func(r *rng) []chunkInit {
		v := []chunkInit{plain(0, 4095)}
		return append(v, withBits(r, true, true, 4096, 4097)...)
	}, churnOpt{ops: 500, size: giant, every: 100})
	// Scripted: exactly one full root entry is free.
	{
		r := stream(e.seed, "page_alloc/script4")
		x := newWorld(w, r, "script4", 0, true, false, []chunkInit{plain(0,
			8191)})
		x.check()
		for _, n := range []int64{1 << 21, 1<<21 + 1, 1 << 22, 1<<22 - 1,
			1<<21 - 1} {
			x.walk(n)
			b := x.alloc(n)
			x.check()
			x.walk(1)
			x.alloc(1 << 21)
			x.check()
			if b >= 0 {
				x.free(b, n, false)
			}
			for len(x.live) > 0 {
				g := x.drop(0)
				if g.base != b {
					x.free(g.base, g.n, false)
				}
			}
			x.check()
		}
		x.end()
	}
	run("long-contig", false, rnd(span(0, 16)...), churnOpt{ops: 80000,
		size: mixed, every: 4000})
	run("long-spread", false, rnd(append(span(0, 4), 7, 8, 63, 64, 4095,
		4096)...),
		churnOpt{ops: 200000, size: mixed, every: 5000})
	w.close()
}

// ----------------------------------------------------- family 4: page cache

func TestOraclePageCache(t *testing.T) {
	e := getenv(t)
	w := e.create(t, "page_cache.txt")
	{
		r := stream(e.seed, "page_cache/pure")
		for k := 0; k < 400; k++ {
			base := r.n(64) * 64
			var cache uint64
			switch r.n(5) {
			case 0:
				cache = ^uint64(0)
			case 1:
				cache = r.u64()
			case 2:
				cache = r.u64() | r.u64() | r.u64()
			case 3:
				cache = r.u64() & r.u64() & r.u64()
			case 4:
				cache = ^uint64(0) >> uint(r.n(64)) << uint(r.n(64))
			}
			scav := r.u64() & cache
			switch r.n(4) {
			case 0:
				scav = 0
			case 1:
				scav = cache
			}
			c := NewPageCache(abs(base), cache, scav)
			w.p("P %d %016x %016x\n", base, cache, scav)
			for j := 0; j < 12; j++ {
				n := small(r)
				if r.pct(15) {
					n = r.in(9, 64)
				}
				if j == 0 && r.pct(10) {
					n = 64
				}
				a, s := c.Alloc(uintptr(n))
				w.p("p %d %d %d %016x %016x\n", n, rel(a), scavPages(s),
					c.Cache(), c.Scav())
				if c.Empty() {
					a, s = c.Alloc(1)
					w.p("p %d %d %d %016x %016x\n", 1, rel(a), scavPages(s),
						c.Cache(), c.Scav())
					break
				}
			}
		}
	}
	run := func(name string, init func(*rng) []chunkInit, o churnOpt) {
		r := stream(e.seed, "page_cache/"+name)
		x := newWorld(w, r, name, 0, true, false, init(r))
		x.churn(o)
		x.end()
	}
	rnd := func(list ...int64) func(*rng) []chunkInit {
		return func(r *rng) []chunkInit {
			return withBits(r, true, true,
				list...)
		}
	}
	run("one", func(*rng) []chunkInit { return each(0) }, churnOpt{ops: 2500,
		size: mixed, every: 250, caches: 1})
	run("one-frag", rnd(0), churnOpt{ops: 1500, size: small, every: 250,
		caches: 2})
	run("contig4", rnd(0, 1, 2, 3), churnOpt{ops: 4000, size: mixed, every: 500,
		caches: 4})
	run("gaps", rnd(0, 2, 7, 8, 64), churnOpt{ops: 4000, size: mixed,
		every: 500, caches: 8})
	run("spread", rnd(spread...), churnOpt{ops: 4000, size: mixed, every: 500,
		caches: 8})
	run("grow", rnd(40), churnOpt{ops: 3000, size: mixed, every: 300, caches: 4,
		grows: []region{
			{41, 1}, {39, 1}, {511, 2}, {30, 2}, {4095, 2}}})
	// Nothing but refills: the caches take the heap apart.
	for i := 0; i < 6; i++ {
		name := fmt.Sprintf("refill%d", i)
		r := stream(e.seed, "page_cache/"+name)
		list := [][]int64{{0}, {0, 1}, {0, 5}, {7, 8}, {511, 512}, {4095,
			4096}}[i]
		x := newWorld(w, r, name, 0, true, false, withBits(r, true, true,
			list...))
		for k := 0; k < 80; k++ {
			s := int(r.n(8))
			if !x.cache[s].Empty() {
				if r.pct(50) {
					x.flush(s)
				} else {
					x.cacheAlloc(s, r.in(1, 16))
					continue
				}
			}
			x.fill(s)
		}
		for s := range x.cache {
			x.flush(s)
		}
		x.end()
	}
	w.close()
}

// ------------------------------------------------------- family 5: scavenge

func TestOracleScavenge(t *testing.T) {
	e := getenv(t)
	w := e.create(t, "scavenge.txt")
	// Every chunk here is below 16384 on purpose.  NewPageAlloc grows chunk by
	// chunk in map order (random), and Go 1.19's scavengeIndex.grow forgets its
	// lower bound when growth crosses into the next page of the index (one page
	// covers 32768 chunks; BaseChunkIdx is 16384 into one): a later growth
	// below maps that page again and wipes its bits.  Within one page nothing depends
	// on the order.
	lists := [][]int64{{0}, {0, 1}, {0, 1, 2, 3}, {0, 2, 7}, {6, 7, 8, 9, 15,
		16, 17}, {63, 64, 511, 512},
		{0, 1, 7, 8, 63, 64, 511, 512, 4095, 4096, 8191, 8192, 12287, 12288,
			16383}, span(3, 20)}
	for i, l := range lists {
		for _, huge := range []int64{0, 256} {
			// Plain: start from random bits and scavenge until nothing is left.
			name := fmt.Sprintf("drain%d-h%d", i, huge)
			r := stream(e.seed, "scavenge/"+name)
			x := newWorld(w, r, name, huge, true, true, roomy(r, l...))
			x.check()
			for k := 0; k < 90; k++ {
				n := uint64(r.pick(1, 4096, 8192, 8193, 3*8192, 65536, 65536,
					65536, r.n(1<<18)+1, r.n(1<<18)+1))
				if len(l) > 3 {
					n *= uint64(r.in(1, 6))
				}
				if r.pct(4) {
					n = uint64(r.pick(1<<20, 4<<20))
				}
				got := x.scavenge(n, huge)
				x.check()
				if got < n {
					break
				}
			}
			x.scavenge(^uint64(0), huge)
			x.scavenge(1, huge)
			x.end()

			// Mixed: allocation, freeing both ways, caches and scavenging.
			name = fmt.Sprintf("mix%d-h%d", i, huge)
			r = stream(e.seed, "scavenge/"+name)
			x = newWorld(w, r, name, huge, true, true, roomy(r, l...))
			x.churn(churnOpt{ops: 700, size: mixed, every: 100,
				caches: int(r.pick(0, 2)), scav: 8, huge: huge, real: 80})
			x.end()
		}
	}
	// Mostly free chunks: a small request must not break a free huge page.
	for i := int64(0); i < 6; i++ {
		// 64, 128: no such machine, same code
		huge := []int64{256, 256, 256, 0, 64, 128}[i]
		name := fmt.Sprintf("huge%d-h%d", i, huge)
		r := stream(e.seed, "scavenge/"+name)
		var v []chunkInit
		for c := int64(0); c < 4; c++ {
			k := chunkInit{lo: c, hi: c}
			if i > 0 {
				for j := r.n(4); j > 0; j-- {
					k.alloc.set(r.n(512), 1)
				}
			}
			v = append(v, k)
		}
		x := newWorld(w, r, name, huge, true, true, v)
		x.check()
		for k := 0; k < 120; k++ {
			if r.pct(25) {
				x.carve(r.in(1, 60))
			}
			if r.pct(25) && len(x.live) > 0 {
				x.freeSome(true)
			}
			n := uint64(r.in(1, 40)) * PageSize
			got := x.scavenge(n, huge)
			x.check()
			if got < n && r.pct(70) {
				x.alloc(r.in(1, 300))
			}
		}
		x.end()
	}
	for _, huge := range []int64{0, 256} {
		name := fmt.Sprintf("grow-h%d", huge)
		r := stream(e.seed, "scavenge/"+name)
		x := newWorld(w, r, name, huge, true, true, withBits(r, false, false,
			20))
		x.churn(churnOpt{ops: 2500, size: mixed, every: 100, scav: 6,
			huge: huge, real: 90, grows: []region{
				{21, 1}, {19, 1}, {30, 3}, {22, 2}, {8, 8}, {511, 2},
				{4095, 2}}})
		x.end()
	}
	w.close()

	// The scavenge index on its own.  Its find walks the whole address space
	// down to chunk 0 when it finds nothing, so keep those cases few.
	w = e.create(t, "scav_index.txt")
	r := stream(e.seed, "scav_index")
	for k := 0; k < 24; k++ {
		max := r.pick(8, 16, 40, 200, 5000)
		s := NewScavengeIndex(BaseChunkIdx, BaseChunkIdx+ChunkIdx(max)+64)
		w.p("new %d\n", max)
		misses := 0
		for j := 0; j < 60; j++ {
			switch r.n(5) {
			case 0, 1:
				lo := r.n(max * 512)
				n := r.in(1, 900)
				if r.pct(20) {
					lo = lo / 512 * 512
					n = 512 * r.in(1, 20)
				}
				if lo+n > max*512 {
					n = max*512 - lo
				}
				s.Mark(abs(lo), abs(lo+n))
				w.p("M %d %d\n", lo, lo+n)
			case 2, 3:
				c, off := s.Find()
				if c == 0 {
					misses++
					w.p("N -1 0\n")
				} else {
					w.p("N %d %d\n", int64(c-BaseChunkIdx), off)
					if r.pct(70) {
						s.Clear(c)
						w.p("C %d\n", int64(c-BaseChunkIdx))
					}
				}
			case 4:
				c := r.n(max)
				s.Clear(BaseChunkIdx + ChunkIdx(c))
				w.p("C %d\n", c)
			}
			if misses > 3 {
				break
			}
		}
	}
	w.close()
}
