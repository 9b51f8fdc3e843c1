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

// priorTerm is what a quantity adds to the logit.
type priorTerm struct {
	signal string
	of     quantity
	odds   odds
}

// odds add to the logit: fixed once a quantity is above zero, and scale for each
// doubling or so (log1p) of it.
type odds struct{ fixed, scale float64 }

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
	nvmePrior = &prior{name: "prior nvme", percent: 0.075, terms: slices.Concat(
		errorsOf(odds{0.7, 0.2}, odds{1.5, 0.4}, signal.NVMeMediaErrors),
		[]priorTerm{
			{signal.NVMeErrorLogEntries, rise7, odds{0, 0.1}},
			{signal.NVMePercentageUsed, above100, odds{0.7, 0.1}},
			{signal.NVMeAvailableSpare, missingSpare, odds{1.0, 0.3}},
			{signal.NVMeUnsafeShutdowns, rise30, odds{0, 0.1}},
			{signal.NVMeWarningTempMinutes, rise30, odds{0.2, 0.1}},
			{signal.NVMeCriticalWarning, level, odds{4, 0}},
		})}
	scsiPrior = &prior{name: "prior scsi", percent: 0.12, terms: slices.Concat(
		errorsOf(odds{0.5, 0.2}, odds{1.2, 0.4}, signal.SCSIGrownDefects),
		errorsOf(odds{0.5, 0.1}, odds{1.5, 0.3}, signal.SCSIReadUncorrected, signal.SCSIWriteUncorrected),
		errorsOf(odds{}, odds{0.7, 0.2}, signal.SCSIVerifyUncorrected))}
	flashPrior = &prior{name: "prior ata flash", percent: 0.075, terms: slices.Concat(
		errorsOf(odds{}, odds{0.8, 0.3}, signal.SmartReallocatedSectors),
		errorsOf(odds{0.5, 0.2}, odds{1.2, 0.3}, signal.SmartReportedUncorrectable),
		errorsOf(odds{0.7, 0.2}, odds{}, signal.SmartPendingSectors),
		errorsOf(odds{0.5, 0.1}, odds{}, signal.SmartOfflineUncorrectable),
		errorsOf(odds{}, odds{0, 0.1}, signal.SmartCRCErrors))}
	memoryPrior = &prior{name: "prior memory", percent: 0.08, terms: slices.Concat(
		errorsOf(odds{1.0, 0}, odds{}, signal.EDACCorrected),
		[]priorTerm{
			{signal.EDACCorrected, rise7, odds{0.3, 0.3}},
			{signal.EDACCorrectedNI, rise7, odds{0.3, 0.3}},
		},
		errorsOf(odds{4, 0}, odds{}, signal.EDACUncorrected, signal.EDACUncorrectedNI))}
	// unknownDisk is for a drive of which no attribute is known yet, or none that
	// a trained model reads, or not what kind of drive it is.
	unknownDisk = &prior{name: "prior disk", percent: 0.12, terms: slices.Concat(
		errorsOf(odds{0.7, 0.2}, odds{}, signal.SmartReallocatedSectors),
		errorsOf(odds{1.5, 0.3}, odds{}, signal.SmartReportedUncorrectable, signal.SmartPendingSectors),
		errorsOf(odds{1.0, 0.1}, odds{}, signal.SmartOfflineUncorrectable),
		errorsOf(odds{}, odds{0, 0.1}, signal.SmartCRCErrors))}
)

// errorsOf are the terms of counters of errors: what it adds that there are any,
// and that they rose within 30 days. Zero odds are no term.
func errorsOf(any, rising odds, signals ...string) (terms []priorTerm) {
	for _, name := range signals {
		if any != (odds{}) {
			terms = append(terms, priorTerm{name, level, any})
		}
		if rising != (odds{}) {
			terms = append(terms, priorTerm{name, rise30, rising})
		}
	}
	return terms
}

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
	return term.odds.fixed + term.odds.scale*math.Log1p(x)
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
