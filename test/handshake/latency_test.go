package handshake

import "testing"

// BenchmarkRoundTrip is an order and its answer: the doors' share of the time
// between "both sides are known" and "the guest runs".
func BenchmarkRoundTrip(b *testing.B) {
	h := newHouse(b)
	s, err := h.dialer(h.enrolled("h1")).Dial(b.Context(), hello("h1"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c := wait(b, h.sessions, "session at the manager")
	if _, err := s.Recv(); err != nil { // Welcome
		b.Fatal(err)
	}
	for b.Loop() {
		if err := c.link.Send(ask(1)); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Recv(); err != nil {
			b.Fatal(err)
		}
		if err := s.Send(note("done")); err != nil {
			b.Fatal(err)
		}
		<-c.got
	}
}
