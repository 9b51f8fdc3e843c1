//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const pageSize = 4096

// memory is a region that is written once, at boot, and compared ever after: one
// word in each 64 bytes.
type memory struct {
	region []byte
	next   int // the page to compare next
}

// checkedPages is how many pages are compared per beat: 8 MiB take 2.5 s.
const checkedPages = 8

func newMemory(mib int) (*memory, error) {
	if mib == 0 {
		return &memory{}, nil
	}
	region, err := anonymous(mib)
	if err != nil {
		return nil, err
	}
	for page := range len(region) / pageSize {
		for off := 0; off < pageSize; off += 64 {
			binary.LittleEndian.PutUint64(region[page*pageSize+off:], word(page, off))
		}
	}
	return &memory{region: region}, nil
}

// word is what stands at an offset of a page: never zero, different everywhere.
func word(page, off int) uint64 {
	return (uint64(page)<<12|uint64(off))*0x9e3779b97f4a7c15 | 1
}

// check compares the next few pages, puts right what is wrong and returns how many words were.
func (m *memory) check() (wrong uint64) {
	for range min(checkedPages, len(m.region)/pageSize) {
		page := m.next
		m.next = (m.next + 1) % (len(m.region) / pageSize)
		for off := 0; off < pageSize; off += 64 {
			at := m.region[page*pageSize+off:]
			if binary.LittleEndian.Uint64(at) != word(page, off) {
				binary.LittleEndian.PutUint64(at, word(page, off))
				wrong++
			}
		}
	}
	return wrong
}

// dirt is a region that is written over and over, at a rate.
//
// Under TCG a write through a TLB entry that was made before the migration's
// last look at the dirty bitmap is not marked dirty, and is lost. So every batch
// of pages is made read-only and writable again before it is written, which
// flushes the entries, and a page is written by one store per batch. What a page
// holds is compared before, so that a lost write is counted.
type dirt struct {
	region  []byte
	perBeat int // pages per beat
	next    int // the page to write next; a multiple of batch
	pages   uint64
	wrong   uint64 // pages that did not hold what was written to them
}

// flusher makes the guest forget its TLB. An idle guest needs that too: its one
// process and the kernel reload CR3 so rarely that what they write after the
// migration's last look at the dirty bitmap can be lost (see dirt), and guests
// have panicked a second after a move that libvirt called a success.
type flusher struct{ region []byte }

func newFlusher() (flusher, error) {
	region, err := anonymous(batch*pageSize>>20 + 1)
	if err != nil {
		return flusher{}, err
	}
	region = region[:batch*pageSize]
	for off := 0; off < len(region); off += pageSize {
		region[off] = 1 // only the protection of pages that are there is flushed
	}
	return flusher{region}, nil
}

func (f flusher) flush() {
	protect(f.region, unix.PROT_READ)
	protect(f.region, unix.PROT_READ|unix.PROT_WRITE)
}

// batch is the number of pages per flush: above the 33 up to which Linux flushes page by page.
const batch = 64

func newDirt(mib, rate int) (*dirt, error) {
	if mib == 0 || rate == 0 {
		return &dirt{}, nil
	}
	region, err := anonymous(mib)
	if err != nil {
		return nil, err
	}
	perSecond := rate << 20 / pageSize
	return &dirt{region: region, perBeat: max(batch, perSecond/100)}, nil
}

// until writes one beat's share of pages, or as many as fit before the deadline.
func (d *dirt) until(deadline time.Duration) {
	if d.region == nil {
		return
	}
	for done := 0; done < d.perBeat && monotonic() < deadline; done += batch {
		part := d.region[d.next*pageSize : (d.next+batch)*pageSize]
		d.compare(part)
		protect(part, unix.PROT_READ)
		protect(part, unix.PROT_READ|unix.PROT_WRITE)
		d.pages += batch
		for off := 0; off < len(part); off += pageSize {
			binary.LittleEndian.PutUint64(part[off:], d.pages)
		}
		d.next = (d.next + batch) % (len(d.region) / pageSize)
	}
}

// compare counts the pages of a batch that do not hold what the round before wrote: all the same number.
func (d *dirt) compare(part []byte) {
	round := uint64(len(d.region) / pageSize)
	if d.pages < round {
		return // the first round
	}
	for off := 0; off < len(part); off += pageSize {
		if binary.LittleEndian.Uint64(part[off:]) != d.pages+batch-round {
			d.wrong++
		}
	}
}

func anonymous(mib int) ([]byte, error) {
	region, err := unix.Mmap(-1, 0, mib<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("%d MiB of memory: %w", mib, err)
	}
	return region, nil
}
