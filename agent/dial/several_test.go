package dial

import (
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent"
)

// atTime is a clock that stands.
type atTime struct {
	agent.Clock
	now time.Time
}

func (c *atTime) Now() time.Time { return c.now }

// TestWhoIsTried: whom a Dialer of several managers tries, attempt after attempt.
func TestWhoIsTried(t *testing.T) {
	type answer struct {
		at      time.Duration
		want    string // the manager that is tried
		named   string // by that one, when it refuses
		refused bool   // false: it does not answer
	}
	for _, tt := range []struct {
		name     string
		managers []string
		answers  []answer
	}{
		{"in turn while nobody knows", []string{"a", "b", "c"}, []answer{
			{0, "a", "", true}, {0, "b", "", true}, {0, "c", "", true}, {0, "a", "", true}}},
		{"who is named is next", []string{"a", "b", "c"}, []answer{
			{0, "a", "c", true}, {0, "c", "", true}, {0, "b", "", true}}},
		{"a dead leader is not tried because others name it", []string{"a", "b", "c"}, []answer{
			{0, "a", "", false}, {0, "b", "a", true}, {0, "c", "a", true}, {time.Second, "b", "a", true}, {time.Second, "c", "b", true}, {time.Second, "b", "", true}}},
		{"nor for ever given up", []string{"a", "b", "c"}, []answer{
			{0, "a", "", false}, {0, "b", "a", true}, {silentOneOf, "c", "a", true}, {silentOneOf, "a", "", true}}},
		{"one of two that is silent costs no attempts", []string{"a", "b"}, []answer{
			{0, "a", "", false}, {0, "b", "", true}, {time.Second, "b", "", true}, {silentOneOf, "a", "", false}, {silentOneOf, "b", "", true}}},
		{"all silent: in turn", []string{"a", "b"}, []answer{
			{0, "a", "", false}, {0, "b", "", false}, {0, "a", "", false}, {0, "b", "", false}}},
		{"one alone", []string{"a"}, []answer{{0, "a", "", false}, {0, "a", "", false}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := &atTime{}
			begin := time.Unix(1e9, 0)
			d := NewDialer(Options{Managers: tt.managers, Clock: clock})
			for i, a := range tt.answers {
				clock.now = begin.Add(a.at)
				got := d.manager()
				if got != a.want {
					t.Fatalf("attempt %d is at %s, want %s", i+1, got, a.want)
				}
				d.turn(got, a.named, a.refused)
			}
		})
	}
}
