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

// Score says what the model thinks of a component at a time. The time should
// not lie before the state's newest reading.
func (m *Model) Score(s *State, at time.Time) Verdict {
	t := timeAxis(at)
	v := Verdict{Component: s.component, Device: s.model, At: at, Hard: s.Hard(), Facts: s.Facts()}
	if s.some {
		v.Observed = axisTime(s.latest)
		t = max(t, s.latest)
	}
	switch kind, protocol := s.kind(), s.guessProtocol(); {
	case kind == "dimm" || kind == "mc":
		memoryPrior.verdict(&v, s, t)
	case kind != "disk":
	case protocol == "NVMe":
		nvmePrior.verdict(&v, s, t)
	case protocol == "SCSI":
		scsiPrior.verdict(&v, s, t)
	case protocol == "ATA" && s.isFlash():
		flashPrior.verdict(&v, s, t)
	case protocol == "ATA" && s.find(ataCounters[cReallocated]) != nil:
		m.scoreATA(&v, s, t)
	default:
		unknownDisk.verdict(&v, s, t)
	}
	return v
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
