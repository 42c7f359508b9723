// oracle_test.go - what the parts of the recorder share: random numbers,
// bitmaps, files; and meta.txt.
//
// The tests of package runtime can reach into the page allocator of a Go
// program: export_test.go, which is Go's, makes one, and calls its functions.
// Each TestOracle here does random things to such parts, and writes down what
// they answered, as tests/vectors/FORMAT.md says. run.sh starts them.
//
// Environment: ORACLE_OUT, the directory for the files; ORACLE_SEED, a number
// on which the choices depend.

package runtime_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	. "runtime"
	"strconv"
	"testing"
)

// ---------------------------------------------------------------- utilities

// rng is splitmix64.  Every file and sequence gets its own stream.
type rng struct{ s uint64 }

func (r *rng) u64() uint64 {
	r.s += 0x9e3779b97f4a7c15
	z := r.s
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
func (r *rng) n(k int64) int64 { return int64(r.u64() % uint64(k)) } // 0..k-1
func (r *rng) in(a, b int64) int64 { // a..b inclusive
	return a + r.n(b-a+1)
}
func (r *rng) pct(p int64) bool      { return r.n(100) < p }
func (r *rng) pick(v ...int64) int64 { return v[r.n(int64(len(v)))] }
func stream(seed uint64, name string) *rng {
	h := uint64(0xcbf29ce484222325)
	for i := 0; i < len(name); i++ {
		h = (h ^ uint64(name[i])) * 0x100000001b3
	}
	r := &rng{seed*0x9e3779b97f4a7c15 ^ h}
	r.u64()
	return r
}

// mix is the state hash used in h lines: one step per 64-bit word.
func mix(h, w uint64) uint64 {
	h = (h ^ w) * 0x100000001b3
	return h ^ h>>29
}

const mixInit = 0xcbf29ce484222325

type bitmap [8]uint64

func (b *bitmap) set(i, n int64) {
	for ; n > 0; n-- {
		b[i/64] |= 1 << uint(i%64)
		i++
	}
}
func (b *bitmap) get(i int64) bool { return b[i/64]>>uint(i%64)&1 != 0 }
func (b *bitmap) String() string {
	s := make([]byte, 0, 136)
	for i, w := range b {
		if i > 0 {
			s = append(s, ' ')
		}
		s = append(s, fmt.Sprintf("%016x", w)...)
	}
	return string(s)
}

// short is the dump form: 0 = all clear, 1 = all set, else 8 words joined.
func (b *bitmap) short() string {
	if *b == (bitmap{}) {
		return "0"
	}
	all := true
	for _, w := range b {
		if w != ^uint64(0) {
			all = false
		}
	}
	if all {
		return "1"
	}
	s := ""
	for _, w := range b {
		s += fmt.Sprintf("%016x", w)
	}
	return s
}

func fromPalloc(p *PallocBits) (b bitmap) {
	for i := range b {
		b[i] = p[i]
	}
	return
}
func toPalloc(b *bitmap) *PallocBits {
	p := new(PallocBits)
	for i := range b {
		p[i] = b[i]
	}
	return p
}

// runsOf lists the set runs of b.
func runsOf(b *bitmap) (out []BitRange) {
	for i := int64(0); i < 512; {
		if !b.get(i) {
			i++
			continue
		}
		j := i
		for j < 512 && b.get(j) {
			j++
		}
		out = append(out, BitRange{uint(i), uint(j - i)})
		i = j
	}
	return
}

type env struct {
	seed uint64
	dir  string
}

func getenv(t *testing.T) env {
	dir := os.Getenv("ORACLE_OUT")
	if dir == "" {
		t.Skip("ORACLE_OUT not set")
	}
	seed, err := strconv.ParseUint(os.Getenv("ORACLE_SEED"), 10, 64)
	if err != nil {
		t.Fatal("ORACLE_SEED: ", err)
	}
	if err := os.MkdirAll(dir, 0777); err != nil {
		t.Fatal(err)
	}
	return env{seed, dir}
}

type sink struct {
	*bufio.Writer
	f *os.File
	t *testing.T
}

func (e env) create(t *testing.T, name string) *sink {
	f, err := os.Create(filepath.Join(e.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{bufio.NewWriterSize(f, 1<<20), f, t}
	fmt.Fprintf(s, "# oracle %s go1.19 seed %d; see FORMAT.md\n", name, e.seed)
	return s
}
func (s *sink) p(format string, a ...interface{}) {
	fmt.Fprintf(s, format,
		a...)
}
func (s *sink) close() {
	s.p("eof\n")
	if err := s.Flush(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.f.Close(); err != nil {
		s.t.Fatal(err)
	}
}

// signed index: ^uint(0) prints as -1.
func sx(x uint) int64 { return int64(x) }

func TestOracleMeta(t *testing.T) {
	e := getenv(t)
	w := e.create(t, "meta.txt")
	w.p("page_size %d\n", uint64(PageSize))
	w.p("chunk_pages %d\n", PallocChunkPages)
	w.p("summary_levels %d\n", OracleSummaryLevels)
	for l := 0; l < OracleSummaryLevels; l++ {
		w.p("level_shift %d %d\n", l, OracleLevelShift(l))
	}
	w.p("max_packed %d\n", OracleMaxPacked)
	w.p("heap_addr_bits %d\n", OracleHeapAddrBits)
	w.p("arena_base_offset %x\n", OracleArenaBaseOffset())
	w.p("base_chunk_idx %d\n", uint64(BaseChunkIdx))
	w.p("base_addr %x\n", uint64(PageBase(BaseChunkIdx, 0)))
	w.p("max_search_addr %x\n", uint64(OracleMaxSearchAddr()))
	w.p("page_cache_pages %d\n", uint64(PageCachePages))
	w.p("phys_page_size %d\n", uint64(OraclePhysPageSize()))
	w.p("max_pages_per_phys_page %d\n", OracleMaxPhysPages)
	w.p("phys_huge_page_sizes_used 0 %d\n", 2<<20)
	w.close()
	if OraclePhysPageSize() != 4096 {
		t.Fatal("vectors assume 4 KiB physical pages")
	}
	if uint64(BaseChunkIdx)%4096 != 0 {
		t.Fatal("BaseChunkIdx is not aligned to a root summary")
	}
}
