package pfa

import (
	"hash/fnv"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// State is all that is remembered of one component: what Score needs and
// nothing else, in at most MaxStateBytes. It is not safe for concurrent use.
type State struct {
	component string
	model     string // the family its model belongs to
	vendor    string // derived from model
	firmware  string
	protocol  string // "ATA", "NVMe", "SCSI", or empty
	words     string // what came with the latest verdict
	latest    Axis   // the newest reading with a value
	some      bool
	series    []series // in order of first appearance
	place     [maxTracked]uint8
}

const (
	maxTracked = 96  // at least len(tracked)
	maxWords   = 128 // bytes kept of a drive's model and the like
)

// NewState returns the empty state of a component ("disk:SERIAL"), whose name
// may be 256 bytes long.
func NewState(component string) *State {
	return &State{component: component[:min(len(component), maxComponent)]}
}

// Component returns the component's name.
func (s *State) Component() string { return s.component }

// Latest returns the time of the newest reading that had a value, and false if
// there was none.
func (s *State) Latest() (time.Time, bool) {
	return axisTime(s.latest), s.some
}

// Model returns the family of the drive's model, or "".
func (s *State) Model() string { return s.model }

// Observe takes one reading, in constant time. Readings of other components, of
// signals that do not belong to this kind of component, and those without a value change nothing:
// an absent attribute is normal and a failed reading says nothing about the
// component. Readings should come in order of time; a late one counts as now.
func (s *State) Observe(r signal.Reading) {
	if r.Component != s.component {
		return
	}
	if r.Signal == signal.CollectorOK && r.Status == signal.Failed {
		no := 0.0 // that a collector failed is its reading
		r.Value, r.Status = &no, signal.OK
	}
	if r.Status != signal.OK {
		return
	}
	t := timeAxis(r.ObservedAt)
	if t < -maxAxis || t > maxAxis {
		return // no clock shows this
	}
	switch r.Signal {
	case signal.DriveModel:
		s.setModel(r.Text)
		return
	case signal.DriveFirmware:
		s.firmware = bounded(r.Text)
		return
	case signal.DriveProtocol:
		s.protocol = bounded(r.Text)
		return
	case signal.SmartPassed, signal.NICUp, signal.CollectorOK:
		s.words = bounded(r.Text)
	}
	i, ok := trackedIndex[r.Signal]
	if !ok || r.Value == nil || lineOf[i].On != s.kind() {
		return
	}
	boot := uint64(0)
	if signal.ComponentKind(s.component) != "disk" { // drives count on through a reboot
		boot = hashText(r.BootID)
	}
	s.observe(t, i, *r.Value, boot)
}

// observe is Observe after the names are resolved; training enters here.
func (s *State) observe(t Axis, index int, raw float64, boot uint64) {
	name := tracked[index]
	v, ok := clean(name, raw)
	if !ok {
		return
	}
	if s.some {
		t = max(t, s.latest)
	}
	s.latest, s.some = t, true
	if p := s.place[index]; p != 0 {
		s.series[p-1].observe(t, v, lineOf[index].Kind, boot)
		return
	}
	if len(s.series) == cap(s.series) {
		s.series = append(make([]series, 0, len(s.series)+seriesRoom), s.series...)
	}
	s.series = append(s.series, series{signal: index, level: v, high: v, first: t, seen: t, since: t, boot: boot})
	s.place[index] = uint8(len(s.series))
}

func (s *State) setModel(reported string) {
	s.model = Family(bounded(reported))
	s.vendor = vendorOf(s.model)
}

// find returns the series of a tracked signal, or nil.
func (s *State) find(index int) *series {
	if p := s.place[index]; p != 0 {
		return &s.series[p-1]
	}
	return nil
}

// of is find by name, for the few callers outside the hot path.
func (s *State) of(name string) *series {
	i, ok := trackedIndex[name]
	if !ok {
		return nil
	}
	return s.find(i)
}

// lineOf is the catalogue's line of each tracked signal.
var lineOf = func() (lines [maxTracked]signal.Signal) {
	for i, name := range tracked {
		lines[i], _ = signal.Lookup(name)
	}
	return lines
}()

func timeAxis(t time.Time) Axis { return floorDiv(t.Unix(), 3600) }

func axisTime(a Axis) time.Time { return time.Unix(a*3600, 0).UTC() }

func bounded(s string) string {
	if len(s) > maxWords {
		return s[:maxWords]
	}
	return s
}

func hashText(s string) uint64 {
	if s == "" {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}
