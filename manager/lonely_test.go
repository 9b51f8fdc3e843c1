package manager

import (
	"strings"
	"testing"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/store"
)

// TestCopyThatNobodyConducts: somebody is told of it once, and what it may be: the
// last copy of a guest is not called old.
func TestCopyThatNobodyConducts(t *testing.T) {
	for name, tt := range map[string]struct{ runs, want string }{
		"the guest runs elsewhere": {"h1", "old memory, h1 holds the guest's claim"},
		"the guest runs nowhere":   {"", "the guest runs nowhere, it may be all that is left of it"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "h1", "h2")
			if tt.runs != "" {
				w.guest(tt.runs, "g1", 128)
			}
			w.hosts["h2"].domains["uuid-g1"] = &fakeDomain{
				name: "g1", memory: 128 << 10, proc: stopped, guard: true, complete: true, live: "m-old", attempt: "m-old",
				role: agentv1.Role_ROLE_TARGET, state: agentv1.AttemptState_ATTEMPT_STATE_PREPARED,
			}
			w.pass(2 * time.Second)
			if es := w.events("copy.left"); len(es) != 0 {
				t.Errorf("told at once: %v", es)
			}
			w.pass(20 * time.Second)
			es := w.events("copy.left")
			if len(es) != 1 || es[0].Severity != store.Alarm || es[0].Host != "h2" || es[0].Migration != "m-old" || !strings.Contains(es[0].Text, tt.want) {
				t.Errorf("told %+v, want once %q", es, tt.want)
			}
			if ls := w.core.leftovers(); len(ls) != 1 || !strings.Contains(ls[0].What, tt.want) {
				t.Errorf("left over: %v", ls)
			}
			if d := w.hosts["h2"].domains["uuid-g1"]; d.proc != stopped {
				t.Errorf("the copy is %q", d.proc)
			}
		})
	}
}
