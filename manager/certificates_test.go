package manager

import (
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/store"
)

// TestEndsAreWarnedOf: once a day, in the last sixty days; an alarm in the last
// week. What ends later, and what ended with its session, is nobody's worry.
func TestEndsAreWarnedOf(t *testing.T) {
	w := fleet(t)
	const day = 24 * time.Hour
	own, ca := w.now.Add(6*day), w.now.Add(61*day)
	w.core.pace.ends.own = func() (time.Time, time.Time) { return own, ca }
	w.core.hosts["h2"].certificate = w.now.Add(59 * day)
	w.pass(2 * time.Minute)
	said := func() map[string]store.Severity {
		out := map[string]store.Severity{}
		for _, e := range w.events("certificate.ends") {
			out[strings.TrimPrefix(e.Text, "the certificate of ")[:7]] += e.Severity + " "
		}
		return out
	}
	want := map[string]store.Severity{"manager": "alarm ", "host h2": "warning "}
	if got := said(); len(got) != 2 || got["manager"] != want["manager"] || got["host h2"] != want["host h2"] {
		t.Fatalf("said %v, want %v", got, want)
	}
	if e := w.events("certificate.ends")[0]; !strings.Contains(e.Text, own.Format(time.DateOnly)) || !strings.Contains(e.Text, "vireo-manager renew") {
		t.Errorf("%q", e.Text)
	}
	shown := map[string]bool{}
	for _, x := range w.core.presentCertificates(w.now) {
		shown[x.Name+" "+x.NotAfter.AsTime().Format(time.DateOnly)] = x.EndsSoon
	}
	for name, soon := range map[string]bool{
		"manager " + own.Format(time.DateOnly): true, "ca " + ca.Format(time.DateOnly): false, "host h1 2031-03-01": false,
		"host h2 " + w.core.hosts["h2"].certificate.Format(time.DateOnly): true,
	} {
		if got, is := shown[name]; !is || got != soon {
			t.Errorf("%s: shown %t, soon %t; all: %v", name, is, got, shown)
		}
	}
	// The manager's was renewed; the host speaks with another one. A day later the CA's turn has come.
	own = w.now.Add(1000 * day)
	w.core.hosts["h2"].certificate = w.now.Add(1000 * day)
	ca = w.now.Add(50 * day)
	w.now = w.now.Add(day)
	w.pass(2 * time.Minute)
	w.core.flush(w.now.Add(time.Hour))
	if got := w.events("certificate.ends"); len(got) != 3 || !strings.Contains(got[2].Text, "the certificate of ca ends") {
		t.Errorf("a day later: %+v", got)
	}
}
