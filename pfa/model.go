package pfa

import (
	_ "embed"
	"fmt"
	"sync"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Model scores components of every kind: ATA hard drives by what it was trained
// on, flash drives and all other kinds by documented priors. It is immutable and safe for concurrent
// use.
type Model struct {
	header Header
	ata    *ataModel
}

//go:embed default.vpfa
var defaultFile []byte

var loadDefault = sync.OnceValues(func() (*Model, error) { return Load(defaultFile) })

// Default returns the model that is shipped in the binary.
func Default() (*Model, error) {
	m, err := loadDefault()
	if err != nil {
		return nil, fmt.Errorf("the model in this binary: %w", err)
	}
	return m, nil
}

// Header returns what the model file says about itself.
func (m *Model) Header() Header { return m.header }

// Name identifies the model: its name and the beginning of its checksum.
func (m *Model) Name() string {
	return fmt.Sprintf("%s %.12s", m.header.Name, m.header.Checksum)
}

// rooms are reused between scores, so that scoring a fleet does not allocate
// rows of features for each component.
var rooms = sync.Pool{New: func() any { return newInputs() }}

// Score says what the model thinks of a component at a time, and why. The time
// should not lie before the state's newest reading.
func (m *Model) Score(s *State, at time.Time) Verdict {
	t := s.axisAt(at)
	v := Verdict{Component: s.component, Device: s.model, At: at, Hard: s.Hard(), Facts: s.Facts()}
	if s.some {
		v.Observed = axisTime(s.latest)
	}
	switch p, trained := s.scoredBy(); {
	case trained:
		m.scoreATA(&v, s, t)
	case p != nil:
		p.verdict(&v, s, t)
	}
	return v
}

// Risk is the risk of Score without what explains it, for looking at many
// components often; false if there is no model for this kind. It allocates
// nothing.
func (m *Model) Risk(s *State, at time.Time) (Risk, bool) {
	t := s.axisAt(at)
	p, trained := s.scoredBy()
	if trained {
		in := rooms.Get().(*inputs)
		defer rooms.Put(in)
		m.ata.extract(s, t, in)
		return m.ata.score(in).risk(), true
	}
	if p == nil {
		return Risk{}, false
	}
	return p.risk(p.logit(s, t)), true
}

// axisAt is at on the state's axis, not before its newest reading.
func (s *State) axisAt(at time.Time) Axis {
	t := timeAxis(at)
	if s.some {
		t = max(t, s.latest)
	}
	return t
}

// scoredBy says what scores a component: the trained model, or a prior, or
// nothing.
func (s *State) scoredBy() (p *prior, trained bool) {
	switch kind, protocol := s.kind(), s.guessProtocol(); {
	case kind == "dimm" || kind == "mc":
		return memoryPrior, false
	case kind != "disk":
		return nil, false
	case protocol == "NVMe":
		return nvmePrior, false
	case protocol == "SCSI":
		return scsiPrior, false
	case protocol == "ATA" && s.isFlash():
		return flashPrior, false
	case protocol == "ATA" && s.countsErrors():
		return nil, true
	}
	return unknownDisk, false
}

func (m *Model) scoreATA(v *Verdict, s *State, t Axis) {
	x := rooms.Get().(*inputs)
	defer rooms.Put(x)
	m.ata.extract(s, t, x)
	score := m.ata.score(x)
	v.Modelled, v.Grade, v.Model, v.Logit = true, m.header.Grade, m.Name(), score.logit
	v.Risk = score.risk()
	v.Reasons = m.ata.explain(s, t, x, score)
}

// countsErrors reports whether the drive says anything that the trained model
// reads: with two counters trees and the linear model score it, with one the
// linear model, with none documented odds do, and with nothing a base rate.
func (s *State) countsErrors() bool {
	for c, index := range ataCounters {
		if c != cCycles && s.place[index] != 0 {
			return true
		}
	}
	return false
}

// isFlash reports whether the drive says that nothing in it turns.
func (s *State) isFlash() bool {
	sr := s.of(signal.DriveRotation)
	return sr != nil && sr.level == 0
}

// guessProtocol is the protocol the drive reports, or the one whose signals it
// has.
func (s *State) guessProtocol() string {
	if s.protocol != "" {
		return s.protocol
	}
	for _, g := range [...]struct{ signal, protocol string }{
		{signal.SmartReallocatedSectors, "ATA"},
		{signal.NVMePercentageUsed, "NVMe"},
		{signal.SCSIGrownDefects, "SCSI"},
	} {
		if s.of(g.signal) != nil {
			return g.protocol
		}
	}
	return ""
}
