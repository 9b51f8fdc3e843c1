package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/configs"
)

func TestProof(t *testing.T) {
	w := newWorld(t, "h1")
	s := w.hosts["h1"]
	s.hook = HookConfig{Mode: configs.HookEnforce}
	last := func() *agentv1.Report { return s.reports[len(s.reports)-1] }
	s.kill()
	s.start()
	s.open(1)
	w.pass(time.Second)
	if r := last(); r.GetHookProven() || !strings.Contains(r.GetHookProblem(), "not installed") {
		t.Errorf("without a file: %t %q", r.GetHookProven(), r.GetHookProblem())
	}
	s.host.SetInfo(func(i *virt.HostInfo) { i.Hooks = []string{hook.File()} })
	s.unproved = hook.ErrNotCalled
	w.pass(25 * time.Second)
	if r := last(); r.GetHookProven() || !strings.Contains(r.GetHookProblem(), "restart it") {
		t.Errorf("with a file that libvirtd does not call: %t %q", r.GetHookProven(), r.GetHookProblem())
	}
	s.unproved = nil
	w.pass(2 * proveAgain)
	if r := last(); !r.GetHookProven() || r.GetHookProblem() != "" {
		t.Errorf("called: %t %q", r.GetHookProven(), r.GetHookProblem())
	}
	s.host.SetInfo(func(i *virt.HostInfo) { i.Hooks = nil })
	w.pass(25 * time.Second)
	if r := last(); r.GetHookProven() {
		t.Error("a file that was removed is still proven")
	}
}
