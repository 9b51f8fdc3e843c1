package linear

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// verb is what a client asks for.
type verb string

const (
	read    verb = "read"
	swap    verb = "swap" // grant, when nothing is expected; else move
	release verb = "release"
)

// input is one operation on one domain's claim.
type input struct {
	verb     verb
	domain   string
	expected uint64 // epoch of swap and release; 0: no claim
	holder   string // of swap
}

// output is what its client was told.
type output struct {
	unknown bool // neither done nor refused
	stale   bool // refused: the epoch is not the expected one
	epoch   uint64
	holder  string
}

// claim is the model's state; the zero value is no claim.
type claim struct {
	epoch  uint64
	holder string
}

// model is one claim per domain.
func model() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byDomain := map[string][]porcupine.Operation{}
			for _, op := range history {
				d := op.Input.(input).domain
				byDomain[d] = append(byDomain[d], op)
			}
			var parts [][]porcupine.Operation
			for _, p := range byDomain {
				parts = append(parts, p)
			}
			return parts
		},
		Init: func() []any { return []any{claim{}} },
		Step: func(state, in, out any) []any {
			var next []any
			for _, s := range step(state.(claim), in.(input), out.(output)) {
				next = append(next, s)
			}
			return next
		},
		Equal:             func(a, b any) bool { return a == b },
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
		DescribeState:     func(s any) string { return fmt.Sprintf("%+v", s) },
	}
	return m.ToModel()
}

// step gives the states that can follow; none when the answer is impossible.
func step(s claim, in input, out output) []claim {
	if in.verb == read {
		if out.unknown || out.epoch == s.epoch && out.holder == s.holder {
			return []claim{s}
		}
		return nil
	}
	fits := s.epoch == in.expected && (in.verb == swap || in.expected != 0)
	after := claim{}
	if in.verb == swap {
		after = claim{epoch: out.epoch, holder: in.holder}
	}
	switch {
	case out.unknown && fits:
		return []claim{s, after}
	case out.unknown:
		return []claim{s}
	case out.stale != fits:
		if out.stale {
			return []claim{s}
		}
		return []claim{after}
	}
	return nil
}
