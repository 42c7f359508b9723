// export_oracle_test.go - what the recorder needs of package runtime, and Go's
// own hooks for tests do not export.
//
// Every function below is a thin wrapper which calls the unmodified Go 1.19
// runtime code (or reads one of its variables); none of them re-implements
// allocator logic.

package runtime

import "unsafe"

// ---- constants and tables -------------------------------------------------

const (
	OracleSummaryLevels  = summaryLevels
	OracleLogChunkPages  = logPallocChunkPages
	OracleMaxPacked      = maxPackedValue
	OracleMaxPhysPages   = maxPagesPerPhysPage
	OracleNumSizeClasses = _NumSizeClasses
	OracleSmallSizeMax   = smallSizeMax
	OracleHeapAddrBits   = heapAddrBits
)

func OracleArenaBaseOffset() uint64 {
	x := uintptr(arenaBaseOffset)
	return uint64(x)
}
func OraclePhysPageSize() uintptr { return physPageSize }
func OracleLevelShift(l int) uint { return levelShift[l] }

// OracleSetHugePage replaces the runtime's idea of the physical huge page size
// and returns the previous one.  Only findScavengeCandidate (and sysUnused,
// which test page allocators never reach) looks at it.
func OracleSetHugePage(x uintptr) uintptr {
	old := physHugePageSize
	physHugePageSize = x
	return old
}

func OracleClassToSize(c int) uintptr { return uintptr(class_to_size[c]) }
func OracleClassToPages(c int) uintptr {
	return uintptr(class_to_allocnpages[c])
}
func OracleClassToDivMagic(c int) uint32    { return class_to_divmagic[c] }
func OracleSizeToClass8() []uint8           { return size_to_class8[:] }
func OracleSizeToClass128() []uint8         { return size_to_class128[:] }
func OracleRoundupSize(n uintptr) uintptr   { return roundupsize(n) }
func OracleDivRoundUp(n, a uintptr) uintptr { return divRoundUp(n, a) }

// ---- pageAlloc ------------------------------------------------------------

func (p *PageAlloc) OracleSearchAddr() uintptr {
	return (*pageAlloc)(p).searchAddr.addr()
}
func OracleMaxSearchAddr() uintptr { return maxSearchAddr().addr() }

func (p *PageAlloc) OracleSummary(level, idx int) uint64 {
	return uint64((*pageAlloc)(p).summary[level][idx])
}

func (p *PageAlloc) OracleGrow(base, size uintptr) {
	pp := (*pageAlloc)(p)
	systemstack(func() {
		lock(pp.mheapLock)
		pp.grow(base, size)
		unlock(pp.mheapLock)
	})
}

func (p *PageAlloc) OracleFree(base, npages uintptr, scavenged bool) {
	pp := (*pageAlloc)(p)
	systemstack(func() {
		lock(pp.mheapLock)
		pp.free(base, npages, scavenged)
		unlock(pp.mheapLock)
	})
}

func (p *PageAlloc) OracleFind(npages uintptr) (addr, search uintptr) {
	pp := (*pageAlloc)(p)
	systemstack(func() {
		lock(pp.mheapLock)
		a, s := pp.find(npages)
		addr, search = a, s.addr()
		unlock(pp.mheapLock)
	})
	return
}

func (p *PageAlloc) OracleAllocRange(base, npages uintptr) (scav uintptr) {
	pp := (*pageAlloc)(p)
	systemstack(func() {
		lock(pp.mheapLock)
		scav = pp.allocRange(base, npages)
		unlock(pp.mheapLock)
	})
	return
}

// OracleScavIndex returns the scavenge index's search address (ok=false when
// it is cleared) and whether it is marked.
func (p *PageAlloc) OracleScavIndex() (addr uintptr, marked, ok bool) {
	a, m := (*pageAlloc)(p).scav.index.searchAddr.Load()
	return a, m, a != minOffAddr.addr()
}

func (p *PageAlloc) OracleScavIndexBit(c ChunkIdx) bool {
	pp := (*pageAlloc)(p)
	return pp.scav.index.chunks[c/8].Load()&(1<<(c%8)) != 0
}

func OracleMergeSummaries(sums []uint64, logMaxPages uint) uint64 {
	t := make([]pallocSum, len(sums))
	for i, s := range sums {
		t[i] = pallocSum(s)
	}
	return uint64(mergeSummaries(t, logMaxPages))
}

// ---- addrRanges -----------------------------------------------------------

func (a *AddrRanges) OracleFindGE(addr uintptr) (uintptr, bool) {
	if len(a.addrRanges.ranges) == 0 {
		return 0, false // the runtime never asks an empty set
	}
	return a.findAddrGreaterEqual(addr)
}
func (a *AddrRanges) OracleContains(addr uintptr) bool {
	return a.contains(addr)
}
func (a *AddrRanges) OracleRemoveLast(n uintptr) (uintptr, uintptr) {
	r := a.removeLast(n)
	return r.base.addr(), r.limit.addr()
}
func (a *AddrRanges) OracleRemoveGE(addr uintptr) { a.removeGreaterEqual(addr) }

// ---- mspan ----------------------------------------------------------------

type OracleSpan struct {
	s   *mspan
	buf []uint64
}

const oracleSpanBase = 1 << 24
const oracleElem = 16

func NewOracleSpan() *OracleSpan {
	return &OracleSpan{s: (*mspan)(AllocMSpan())}
}
func (o *OracleSpan) Release() {
	o.s.allocBits = nil
	o.s.nelems = 0
	FreeMSpan((*MSpan)(o.s))
}

// Setup gives the span nelems slots and the allocation bits in words, freeindex
// fi, and fills allocCache the way mcentral.cacheSpan does.
func (o *OracleSpan) Setup(nelems uintptr, words []uint64, fi uintptr) {
	o.buf = append([]uint64(nil), words...)
	s := o.s
	s.startAddr = oracleSpanBase
	s.elemsize = oracleElem
	s.nelems = nelems
	s.allocCount = 0
	s.freeindex = fi
	s.freeIndexForScan = 0
	s.allocBits = (*gcBits)(unsafe.Pointer(&o.buf[0]))
	s.refillAllocCache((fi &^ 63) / 8)
	s.allocCache >>= fi % 64
}

// SetupFresh is the state mheap.allocSpan leaves a new span in.
func (o *OracleSpan) SetupFresh(nelems uintptr, words int) {
	o.Setup(nelems, make([]uint64, words), 0)
	o.s.allocCache = ^uint64(0)
}
func (o *OracleSpan) FreeIndex() uintptr     { return o.s.freeindex }
func (o *OracleSpan) AllocCache() uint64     { return o.s.allocCache }
func (o *OracleSpan) AllocCount() uint16     { return o.s.allocCount }
func (o *OracleSpan) NextFreeIndex() uintptr { return o.s.nextFreeIndex() }
func (o *OracleSpan) NextFreeFast() int {
	v := nextFreeFast(o.s)
	if v == 0 {
		return -1
	}
	return int((uintptr(v) - oracleSpanBase) / oracleElem)
}
func (o *OracleSpan) IsFree(i, freeIndexForScan uintptr) bool {
	o.s.freeIndexForScan = freeIndexForScan
	return o.s.isFree(i)
}
func (o *OracleSpan) ObjIndex(class int, off uintptr) uintptr {
	s := o.s
	s.startAddr = oracleSpanBase
	s.elemsize = uintptr(class_to_size[class])
	s.divMul = class_to_divmagic[class]
	return s.objIndex(oracleSpanBase + off)
}

// CountAlloc runs mspan.countAlloc with words as the mark bits.
func (o *OracleSpan) CountAlloc(nelems uintptr, words []uint64) int {
	o.buf = append([]uint64(nil), words...)
	o.s.nelems = nelems
	o.s.gcmarkBits = (*gcBits)(unsafe.Pointer(&o.buf[0]))
	n := o.s.countAlloc()
	o.s.gcmarkBits = nil
	return n
}

// ---- spanSet --------------------------------------------------------------

type OracleSpanSet struct{ s spanSet }

const oracleFakeSpan = 1 << 20 // far below any heap arena; never dereferenced

func (o *OracleSpanSet) Push(id uintptr) {
	systemstack(func() {
		o.s.push((*mspan)(unsafe.Pointer(oracleFakeSpan + id*16)))
	})
}
func (o *OracleSpanSet) Pop() (id int64) {
	systemstack(func() {
		x := uintptr(unsafe.Pointer(o.s.pop()))
		if x == 0 {
			id = -1
		} else {
			id = int64((x - oracleFakeSpan) / 16)
		}
	})
	return
}
func (o *OracleSpanSet) Reset() { systemstack(func() { o.s.reset() }) }
func (o *OracleSpanSet) State() (head, tail uint32, spineLen, spineCap,
	blocks uintptr) {
	head, tail = o.s.index.load().split()
	spineLen, spineCap = o.s.spineLen, o.s.spineCap
	for i := uintptr(0); i < spineLen; i++ {
		if *(*uintptr)(add(o.s.spine, i*unsafe.Sizeof(uintptr(0)))) != 0 {
			blocks++
		}
	}
	return
}

// ---- tiny allocator ---------------------------------------------------------

type OracleTinyRec struct {
	Addr     uintptr // what mallocgc returned
	Combined bool    // served from the existing tiny block
	Tiny     uintptr // mcache.tiny afterwards
	Off      uintptr // mcache.tinyoffset afterwards
}

// OracleTiny runs mallocgc(size, nil, false) for every size on one pinned P and
// records the tiny allocator's state.  Size 0 stands for "forget the current
// block", which is what mcache.releaseAll does at a GC.
func OracleTiny(sizes []uintptr, out []OracleTinyRec) {
	mp := acquirem()
	c := getMCache(mp)
	c.tiny, c.tinyoffset = 0, 0
	for i, n := range sizes {
		if n == 0 {
			c.tiny, c.tinyoffset = 0, 0
			out[i] = OracleTinyRec{}
			continue
		}
		before := c.tinyAllocs
		x := mallocgc(n, nil, false)
		out[i] = OracleTinyRec{uintptr(x), c.tinyAllocs == before+1, c.tiny,
			c.tinyoffset}
	}
	releasem(mp)
}
