package chaos

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Fault is one thing that is done in a round.
type Fault struct {
	Kind  Kind
	At    time.Duration // after the round began
	Hold  time.Duration // until it is undone; nothing to a kill
	Host  string
	Peer  string // another host
	Guest string
	// Back turns a cut that goes one way: from the peer, or the manager, to the host.
	Back bool
	// Pick chooses a manager or a node of etcd where there are several. A fault of
	// a manager that goes back is the leader's.
	Pick int
}

func (f Fault) String() string {
	s := string(f.Kind)
	switch f.Kind {
	case KillManager, FullDisk, KillEtcd:
	case StopManager, StopEtcd, LoseMajority:
		s += fmt.Sprintf(" (%s)", f.Hold)
	case KillAgent, KillLibvirtd, Evacuate:
		s += ": " + f.Host
	case KillQEMU:
		s += ": " + f.Guest
	case StopQEMU:
		s += fmt.Sprintf(": %s (%s)", f.Guest, f.Hold)
	case StopAgent, StopLibvirtd, CutAgent, CrashHost, CutEtcd:
		s += fmt.Sprintf(": %s (%s)", f.Host, f.Hold)
	case CutAgentOneWay, CutHosts, CutHostsOneWay:
		s += fmt.Sprintf(": %s (%s)", f.way(), f.Hold)
	case CutAtCompletion:
		s += fmt.Sprintf(" (%s)", f.Hold)
	case MoveByHand, DoubleStart:
		s += ": " + f.Guest
	}
	return s
}

// way is the direction of a cut.
func (f Fault) way() string {
	peer := f.Peer
	if f.Kind == CutAgentOneWay {
		peer = "managers"
	}
	switch {
	case f.Kind == CutHosts:
		return f.Host + " ↔ " + peer
	case f.Back:
		return peer + " → " + f.Host
	default:
		return f.Host + " → " + peer
	}
}

// Round is a time of faults that ends with rest.
type Round struct {
	Number int    // from 1 on
	Empty  string // the host that is evacuated; "" in a user's round
	Slow   bool   // its links are slowed down, so that a move takes seconds
	Faults []Fault
}

// Schedule draws rounds. The same seed and names give the same rounds.
type Schedule struct {
	rng           *rand.Rand
	hosts, guests []string
	round         int
	faults, users deck
}

// NewSchedule needs at least two hosts and two guests.
func NewSchedule(seed uint64, hosts, guests []string, etcd bool) *Schedule {
	return &Schedule{
		rng: rand.New(rand.NewPCG(seed, 0)), hosts: hosts, guests: guests,
		faults: deck{kinds: faultKinds(etcd)}, users: deck{kinds: deciders},
	}
}

// deck deals every kind once before it deals one again.
type deck struct {
	kinds []Kind
	left  []Kind
}

func (d *deck) deal(rng *rand.Rand) Kind {
	if len(d.left) == 0 {
		d.left = append(d.left, d.kinds...)
		rng.Shuffle(len(d.left), func(i, j int) { d.left[i], d.left[j] = d.left[j], d.left[i] })
	}
	k := d.left[0]
	d.left = d.left[1:]
	return k
}

const (
	faultsPerRound = 3
	usersRound     = 4 // every so manyth one
)

// Next returns the next round.
func (s *Schedule) Next() Round {
	s.round++
	r := Round{Number: s.round}
	if s.round%usersRound == 0 {
		first := s.rng.IntN(len(s.guests))
		second := (first + 1 + s.rng.IntN(len(s.guests)-1)) % len(s.guests)
		r.Faults = append(r.Faults, s.fault(s.users.deal(s.rng), 2*time.Second), s.fault(MoveByHand, 3*time.Second), s.fault(DoubleStart, 3*time.Second))
		r.Faults[1].Guest, r.Faults[2].Guest = s.guests[first], s.guests[second]
		return r
	}
	r.Empty = s.hosts[s.rng.IntN(len(s.hosts))]
	r.Slow = s.rng.IntN(3) > 0
	for range faultsPerRound {
		f := s.fault(s.faults.deal(s.rng), 6*time.Second)
		switch {
		case f.Kind == CutAtCompletion:
			f.At = 0 // it waits for its moment itself
		case f.Kind == CutAgent || f.Kind == CutAgentOneWay || f.Kind == CutHosts || f.Kind == CutHostsOneWay || f.Kind == StopLibvirtd:
			// A source's link, or a libvirtd of the move, more often than chance has it.
			if s.rng.IntN(2) == 0 && f.Peer != r.Empty {
				f.Host = r.Empty
			}
		}
		r.Faults = append(r.Faults, f)
	}
	return r
}

// fault draws everything but the kind of one. It always draws the same number of
// times, so that one kind's needs do not shift what follows.
func (s *Schedule) fault(k Kind, within time.Duration) Fault {
	host := s.rng.IntN(len(s.hosts))
	peer := (host + 1 + s.rng.IntN(len(s.hosts)-1)) % len(s.hosts)
	f := Fault{
		Kind: k, Host: s.hosts[host], Peer: s.hosts[peer], Guest: s.guests[s.rng.IntN(len(s.guests))],
		At:   time.Duration(s.rng.Int64N(int64(within/time.Millisecond))) * time.Millisecond,
		Hold: time.Duration(500+s.rng.IntN(6500)) * time.Millisecond,
		Back: s.rng.IntN(2) == 0, Pick: s.rng.IntN(60),
	}
	if k == CutAtCompletion {
		f.Hold = max(f.Hold, 6*time.Second) // longer than libvirt's patience, which the lab makes short
	}
	return f
}
