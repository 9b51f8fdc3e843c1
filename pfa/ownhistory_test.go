package pfa

import (
	"slices"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// A drive whose life was read day by day is the drive of the history it came
// from.
func TestDriveOfWhatWasRead(t *testing.T) {
	for _, want := range testFleet(20) {
		readings := want.Daily().Readings("h1", want.Last)
		failed := time.Time{}
		if want.Failed {
			failed = want.Last
		}
		got, ok := DriveOf(signal.DiskComponent(want.Serial), readings, failed)
		if !ok || got.Serial != want.Serial || got.Model != want.Model || got.Failed != want.Failed || !got.First.Equal(want.First) || !got.Last.Equal(want.Last) ||
			got.HoursFirst != want.HoursFirst || got.HoursLast != want.HoursLast+1 || !got.usable() {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		if !slices.EqualFunc(got.Segments, changing(want.Segments), func(a, b Segment) bool { return a.Start == b.Start && a.Values == b.Values && a.Has == b.Has }) {
			t.Errorf("%s: segments %v, want %v", want.Serial, got.Segments, want.Segments)
		}
	}
	drive := testFleet(1)[0]
	readings := drive.Daily().Readings("h1", drive.Last)
	if _, ok := DriveOf("cpu", readings, time.Time{}); ok {
		t.Error("a processor became a drive")
	}
	for i := range readings {
		if readings[i].Signal == signal.DriveProtocol {
			readings[i].Text = "NVMe"
		}
	}
	if _, ok := DriveOf(signal.DiskComponent(drive.Serial), readings, time.Time{}); ok {
		t.Error("an NVMe drive became a hard drive")
	}
	// Marked as failed earlier than it was last read: it ends with the mark.
	readings = drive.Daily().Readings("h1", drive.Last)
	early := drive.First.AddDate(0, 0, 30)
	if got, _ := DriveOf(signal.DiskComponent(drive.Serial), readings, early); !got.Last.Equal(early) || !got.Failed || got.HoursLast > drive.HoursFirst+31*24 {
		t.Errorf("%+v", got)
	}
	// Marked as failed before it was ever read here: a mark of an earlier stay.
	if got, ok := DriveOf(signal.DiskComponent(drive.Serial), readings, drive.First.AddDate(0, 0, -1)); !ok || got.Failed || !got.Last.Equal(drive.Last) {
		t.Errorf("%v, %+v", ok, got)
	}
}

// changing leaves out segments that change nothing.
func changing(s []Segment) (out []Segment) {
	for _, x := range s {
		if n := len(out); n == 0 || out[n-1].Values != x.Values || out[n-1].Has != x.Has {
			out = append(out, x)
		}
	}
	return out
}
