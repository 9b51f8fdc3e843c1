package manager

import (
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/store"
)

// TestEnforceWaits: the hook is not to refuse before every host speaks, its libvirtd
// calls the hook, and every claim has one holder.
func TestEnforceWaits(t *testing.T) {
	w := fleet(t)
	expect := func(want string) {
		t.Helper()
		w.pass(3 * time.Second)
		if got := w.core.enforceWaitsFor(); got != want {
			t.Errorf("waits for %q, want %q", got, want)
		}
	}
	expect("")
	h2 := w.hosts["h2"]
	h2.unproven = true
	expect("libvirtd of h2 was not seen to call the hook")
	h2.hookProblem = "the hook is not installed"
	expect("h2: the hook is not installed")
	h2.unproven, h2.hookProblem = false, ""
	expect("")
	h2.domains["uuid-g1"] = &fakeDomain{name: "g1", proc: running, persistent: true, memory: 128 << 10, planted: true}
	w.hosts["h1"].domains["uuid-g1"].planted = true
	expect("the claim of g1 is ambiguous")
	w.hosts["h1"].domains["uuid-g1"].proc = none
	w.hosts["h1"].domains["uuid-g1"].persistent = false
	expect("")
	h2.frozen = true
	w.pass(time.Minute)
	if w.core.hosts["h2"].shown() != store.Unknown {
		t.Fatalf("h2 is %s", w.core.hosts["h2"].shown())
	}
	expect("h2 does not report")
}
