package pfa

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// A prior is a documented guess for a kind of component whose failures no
// public history counts: a base rate, and by how much signals multiply its
// odds. Its verdicts have grade D and a wide interval.
type prior struct {
	name    string
	percent float64 // of failing within 30 days, with nothing unusual seen
	terms   []priorTerm
}

// priorTerm adds to the logit: fixed once the quantity is above zero, and scale
// for each doubling or so (log1p) of it.
type priorTerm struct {
	signal string
	of     quantity
	fixed  float64
	scale  float64
}

type quantity int

const (
	level        quantity = iota // the value
	rise7                        // the rise within 7 days
	rise30                       // the rise within 30 days
	above100                     // the value less 100
	missingSpare                 // how much spare is used up, in percent, beyond half
)

// priorSpread is the standard deviation of a prior's logit: the base rates are
// known within a factor of about three.
const priorSpread = 0.7

// priorWeek and priorDay split a prior's 30 days evenly.
const (
	priorWeek = 7.0 / 30
	priorDay  = 1.0 / 30
)

// The priors. Base rates are annual replacement rates reported for fleets of
// data centres (flash, NVMe or SATA, about 0.9 % a year, SAS disks about 1.4 %, DIMMs with
// an uncorrectable error about 1 %), divided by 12. The terms follow the sign
// and rough size of the same kinds of counters in the ATA model; they were not
// fitted to anything.
var (
	nvmePrior = &prior{name: "prior nvme", percent: 0.075, terms: []priorTerm{
		{signal.NVMeMediaErrors, level, 0.7, 0.2},
		{signal.NVMeMediaErrors, rise30, 1.5, 0.4},
		{signal.NVMeErrorLogEntries, rise7, 0, 0.1},
		{signal.NVMePercentageUsed, above100, 0.7, 0.1},
		{signal.NVMeAvailableSpare, missingSpare, 1.0, 0.3},
		{signal.NVMeUnsafeShutdowns, rise30, 0, 0.1},
		{signal.NVMeWarningTempMinutes, rise30, 0.2, 0.1},
		{signal.NVMeCriticalWarning, level, 4, 0},
	}}
	scsiPrior = &prior{name: "prior scsi", percent: 0.12, terms: []priorTerm{
		{signal.SCSIGrownDefects, level, 0.5, 0.2},
		{signal.SCSIGrownDefects, rise30, 1.2, 0.4},
		{signal.SCSIReadUncorrected, rise30, 1.5, 0.3},
		{signal.SCSIWriteUncorrected, rise30, 1.5, 0.3},
		{signal.SCSIVerifyUncorrected, rise30, 0.7, 0.2},
		{signal.SCSIReadUncorrected, level, 0.5, 0.1},
		{signal.SCSIWriteUncorrected, level, 0.5, 0.1},
	}}
	flashPrior = &prior{name: "prior ata flash", percent: 0.075, terms: []priorTerm{
		{signal.SmartReallocatedSectors, rise30, 0.8, 0.3},
		{signal.SmartReportedUncorrectable, level, 0.5, 0.2},
		{signal.SmartReportedUncorrectable, rise30, 1.2, 0.3},
		{signal.SmartPendingSectors, level, 0.7, 0.2},
		{signal.SmartOfflineUncorrectable, level, 0.5, 0.1},
		{signal.SmartCRCErrors, rise30, 0, 0.1},
	}}
	memoryPrior = &prior{name: "prior memory", percent: 0.08, terms: []priorTerm{
		{signal.EDACCorrected, level, 1.0, 0},
		{signal.EDACCorrected, rise7, 0.3, 0.3},
		{signal.EDACCorrectedNI, rise7, 0.3, 0.3},
		{signal.EDACUncorrected, level, 4, 0},
		{signal.EDACUncorrectedNI, level, 4, 0},
	}}
	// unknownDisk is for a drive of which no attribute is known yet, or none that
	// a trained model reads, or not what kind of drive it is.
	unknownDisk = &prior{name: "prior disk", percent: 0.12, terms: []priorTerm{
		{signal.SmartReallocatedSectors, level, 0.7, 0.2},
		{signal.SmartReportedUncorrectable, level, 1.5, 0.3},
		{signal.SmartPendingSectors, level, 1.5, 0.3},
		{signal.SmartOfflineUncorrectable, level, 1.0, 0.1},
		{signal.SmartCRCErrors, rise30, 0, 0.1},
	}}
)

func (q quantity) of(sr *series, t Axis) float64 {
	switch q {
	case level:
		return sr.level
	case rise7:
		return sr.up.over(Days7, t)
	case rise30:
		return sr.up.over(Days30, t)
	case above100:
		return max(0, sr.level-100)
	case missingSpare:
		return max(0, 50-sr.level)
	}
	return 0
}

// add is what a term adds to the logit of a state.
func (term *priorTerm) add(s *State, t Axis) float64 {
	sr := s.of(term.signal)
	if sr == nil {
		return 0
	}
	x := term.of.of(sr, t)
	if x <= 0 {
		return 0
	}
	return term.fixed + term.scale*math.Log1p(x)
}

func (p *prior) logit(s *State, t Axis) float64 {
	z := logit(p.percent / 100)
	for i := range p.terms {
		z += p.terms[i].add(s, t)
	}
	return z
}

func (p *prior) risk(z float64) Risk {
	return linearScore{month: sigmoid(z), lo: sigmoid(z - interval90*priorSpread), hi: sigmoid(z + interval90*priorSpread),
		week: priorWeek * sigmoid(z), day: priorDay * sigmoid(z)}.risk()
}

// verdict scores a state by the prior, and says why.
func (p *prior) verdict(v *Verdict, s *State, t Axis) {
	base, z := logit(p.percent/100), p.logit(s, t)
	byPlace := map[int]float64{}
	var order []int
	for k := range p.terms {
		i := trackedIndex[p.terms[k].signal]
		add := p.terms[k].add(s, t)
		if add == 0 {
			continue
		}
		if _, ok := byPlace[i]; !ok {
			order = append(order, i)
		}
		byPlace[i] += add
	}
	v.Modelled, v.Grade, v.Model, v.Logit, v.Risk = true, GradePrior, p.name, z, p.risk(z)
	v.Reasons = []Reason{{Part: PartBaseline, Contribution: base,
		Text: fmt.Sprintf("%s: %s within 30 days is assumed (%s)", p.name, Percent(p.percent), GradePrior.Words())}}
	for _, i := range order {
		sr := s.find(i)
		r := Reason{Part: PartSignal, Signal: tracked[i], From: sr.level, Value: sr.level, Contribution: byPlace[i]}
		if tracked[i] == signal.NVMeAvailableSpare {
			r.Usual = 100
		}
		if sr.risen {
			r.From, r.Since = sr.before, axisTime(sr.began)
		}
		r.Text = counterWords(r, sr, t)
		v.Reasons = append(v.Reasons, r)
	}
	slices.SortStableFunc(v.Reasons, func(a, b Reason) int {
		return cmp.Compare(math.Abs(b.Contribution), math.Abs(a.Contribution))
	})
}
