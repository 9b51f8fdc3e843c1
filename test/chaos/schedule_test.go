package chaos

import (
	"reflect"
	"slices"
	"testing"
)

func rounds(seed uint64, n int, etcd bool) []Round {
	s := NewSchedule(seed, []string{"h1", "h2", "h3"}, []string{"g1", "g2", "g3", "g4"}, etcd)
	out := make([]Round, 0, n)
	for range n {
		out = append(out, s.Next())
	}
	return out
}

func TestASeedIsASchedule(t *testing.T) {
	if !reflect.DeepEqual(rounds(7, 50, false), rounds(7, 50, false)) {
		t.Error("the same seed gives two schedules")
	}
	if reflect.DeepEqual(rounds(7, 5, false), rounds(8, 5, false)) {
		t.Error("two seeds give one schedule")
	}
}

// A run of ten minutes passes at least nine rounds on a slow machine: by then
// every kind has had its turn.
func TestEveryKindHasItsTurn(t *testing.T) {
	for seed := range uint64(100) {
		for _, etcd := range []bool{false, true} {
			left := Kinds(etcd)
			for _, r := range rounds(seed, 9, etcd) {
				if r.Empty != "" {
					left = slices.DeleteFunc(left, func(k Kind) bool { return k == Evacuate })
				}
				for _, f := range r.Faults {
					left = slices.DeleteFunc(left, func(k Kind) bool { return k == f.Kind })
				}
			}
			if len(left) > 0 {
				t.Errorf("seed %d, etcd %v: none of %q in nine rounds", seed, etcd, left)
			}
		}
	}
}

func TestFaultsArePossible(t *testing.T) {
	for _, r := range rounds(3, 400, true) {
		byUser := map[string]bool{}
		for _, f := range r.Faults {
			if f.Host == f.Peer || f.Host == "" || f.Peer == "" || f.Guest == "" || f.At < 0 || f.Hold <= 0 {
				t.Fatalf("round %d: %+v", r.Number, f)
			}
			if f.String() == "" {
				t.Fatalf("%+v has no words", f)
			}
			if (r.Empty == "") != (slices.Contains(deciders, f.Kind) && r.Empty == "" || f.Kind == MoveByHand || f.Kind == DoubleStart) {
				t.Fatalf("round %d (empties %q) has %q", r.Number, r.Empty, f.Kind)
			}
			if f.Kind == MoveByHand || f.Kind == DoubleStart {
				if byUser[f.Guest] {
					t.Fatalf("round %d moves and doubles %s", r.Number, f.Guest)
				}
				byUser[f.Guest] = true
			}
		}
	}
}
