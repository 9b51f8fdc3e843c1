package hook

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// A probe is a domain that the hook refuses always: that somebody who tries to
// start it is told so proves that the running libvirtd calls the hook. Each has a
// name and a UUID of its own, which end in the same random digits: the agent's and
// a person's may be under way at once.
const (
	probeName   = "vireo-hook-probe-"
	probeUUID   = "76697265-6f2d-4f6f-8b2d-"
	probeDigits = 12
	probeAnswer = "vireo: the hook is called"
)

// probe is what one probe is called.
type probe struct{ name, uuid string }

func newProbe() probe {
	var b [probeDigits / 2]byte
	_, _ = rand.Read(b[:]) // never fails
	digits := hex.EncodeToString(b[:])
	return probe{probeName + digits, probeUUID + digits}
}

// IsProbeName says whether a domain of that name is a probe.
func IsProbeName(name string) bool {
	digits, is := strings.CutPrefix(name, probeName)
	if !is || len(digits) != probeDigits {
		return false
	}
	_, err := hex.DecodeString(digits)
	return err == nil
}

// IsProbe says whether the domain with that UUID is a probe: it is no guest.
func IsProbe(uuid string) bool {
	return len(uuid) == len(probeUUID)+probeDigits && strings.HasPrefix(uuid, probeUUID)
}

// ProbeAnswer is what the hook says to the user of the probe.
func ProbeAnswer() string { return probeAnswer }

// ErrNotCalled says that the running libvirtd does not call the hook.
var ErrNotCalled = errors.New("the running libvirtd does not call the hook: it looks for hooks when it starts; restart it (guests run on)")

func (p probe) xml(kind string) string {
	return fmt.Sprintf(`<domain type='%s'>
  <name>%s</name>
  <uuid>%s</uuid>
  <memory unit='MiB'>1</memory>
  <os><type>hvm</type></os>
  <devices><controller type='usb' model='none'/><memballoon model='none'/></devices>
</domain>`, kind, p.name, p.uuid)
}

// Probe proves that libvirtd calls the hook; nil when it does. Nothing runs: the
// hook refuses the probe, and without a hook its process is started paused and
// destroyed at once. What a program has left that ended in between goes too.
func Probe(ctx context.Context, c virt.Conn) error {
	if err := sweep(ctx, c); err != nil {
		return fmt.Errorf("the hook could not be proved: %w", err)
	}
	p := newProbe()
	var tried []error
	for _, kind := range []string{"qemu", "kvm"} { // a host may know only one of them
		uuid, err := c.StartXML(ctx, p.xml(kind), true)
		if err == nil {
			d, err := c.Domain(ctx, uuid)
			if err == nil {
				err = end(ctx, c, d)
			}
			if err != nil && !virt.IsNoDomain(err) {
				return fmt.Errorf("%w; its probe %s could not be destroyed: %w", ErrNotCalled, p.name, err)
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

// sweep destroys probes that have started, for whoever began them and is gone. If
// it is not, its proof is not disturbed: it ends with the start, which is over.
func sweep(ctx context.Context, c virt.Conn) error {
	all, err := c.Domains(ctx)
	if err != nil {
		return err
	}
	for _, d := range all {
		if !IsProbe(d.UUID) || !IsProbeName(d.Name) || !d.Paused() || d.Reason == virt.ReasonStartingUp {
			continue
		}
		if err := end(ctx, c, d); err != nil {
			return fmt.Errorf("probe %s could not be destroyed: %w", d.Name, err)
		}
	}
	return nil
}

// end destroys a probe as it was seen; that somebody else has done so is as good.
func end(ctx context.Context, c virt.Conn, d virt.Domain) error {
	err := c.Destroy(ctx, d.UUID, virt.Expect{ID: d.ID, State: d.State})
	if err == nil || virt.IsNoDomain(err) {
		return nil
	}
	if _, seen := c.Domain(ctx, d.UUID); virt.IsNoDomain(seen) {
		return nil
	}
	return err
}
