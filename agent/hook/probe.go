package hook

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// The probe is a domain that the hook refuses always: that somebody who tries to
// start it is told so proves that the running libvirtd calls the hook.
const (
	ProbeName   = "vireo-hook-probe"
	ProbeUUID   = "76697265-6f2d-4f6f-8b2d-70726f626521"
	probeAnswer = "vireo: the hook is called"
)

// ProbeAnswer is what the hook says to the user of the probe.
func ProbeAnswer() string { return probeAnswer }

// ErrNotCalled says that the running libvirtd does not call the hook.
var ErrNotCalled = errors.New("the running libvirtd does not call the hook: it looks for hooks when it starts; restart it (guests run on)")

func probeXML(kind string) string {
	return fmt.Sprintf(`<domain type='%s'>
  <name>%s</name>
  <uuid>%s</uuid>
  <memory unit='MiB'>1</memory>
  <os><type>hvm</type></os>
  <devices><controller type='usb' model='none'/><memballoon model='none'/></devices>
</domain>`, kind, ProbeName, ProbeUUID)
}

// Probe proves that libvirtd calls the hook; nil when it does. Nothing runs: the
// hook refuses the probe, and without a hook its process is started paused and
// destroyed at once.
func Probe(ctx context.Context, c virt.Conn) error {
	var tried []error
	for _, kind := range []string{"qemu", "kvm"} { // a host may know only one of them
		uuid, err := c.StartXML(ctx, probeXML(kind), true)
		if err == nil {
			d, err := c.Domain(ctx, uuid)
			if err == nil {
				err = c.Destroy(ctx, uuid, virt.Expect{ID: d.ID, State: d.State})
			}
			if err != nil && !virt.IsNoDomain(err) {
				return fmt.Errorf("%w; its probe %s could not be destroyed: %w", ErrNotCalled, ProbeName, err)
			}
			return ErrNotCalled
		}
		if strings.Contains(err.Error(), probeAnswer) || strings.Contains(virt.Message(err), probeAnswer) {
			return nil
		}
		tried = append(tried, fmt.Errorf("as %s: %w", kind, err))
		if virt.OutcomeUnknown(err) {
			break
		}
	}
	return fmt.Errorf("the hook could not be proved: %w", errors.Join(tried...))
}
