//go:build linux

package main

import (
	"testing"
	"time"
)

func TestADamagedPatternIsCountedOnceAndMended(t *testing.T) {
	m, err := newMemory(1)
	if err != nil {
		t.Fatal(err)
	}
	all := func() (wrong uint64) {
		for range 256 / checkedPages {
			wrong += m.check()
		}
		return wrong
	}
	if n := all(); n != 0 {
		t.Errorf("%d words of a whole pattern are wrong", n)
	}
	m.region[100*pageSize+128] ^= 1
	m.region[255*pageSize+pageSize-64] = 0
	if n := all(); n != 2 {
		t.Errorf("%d words are wrong, want the 2 that were damaged", n)
	}
	if n := all(); n != 0 {
		t.Errorf("%d words are wrong after they were mended", n)
	}
}

func TestALostWriteIsCounted(t *testing.T) {
	d, err := newDirt(1, 100)
	if err != nil {
		t.Fatal(err)
	}
	rounds := func(n int) {
		for end := d.pages + uint64(n*256); d.pages < end; {
			d.until(monotonic() + time.Minute)
		}
	}
	rounds(3)
	if d.wrong != 0 {
		t.Fatalf("%d pages are wrong although nothing was lost", d.wrong)
	}
	d.region[17*pageSize]-- // as if the last write to page 17 had not arrived
	rounds(2)
	if d.wrong != 1 {
		t.Errorf("%d pages are wrong, want 1", d.wrong)
	}
}
