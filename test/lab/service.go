package lab

import (
	"context"
	"fmt"

	"github.com/vireo-kvm/vireo/test/lab/hostinit"
	"github.com/vireo-kvm/vireo/test/lab/supervise"
)

// StopService ends a machine's service as systemctl stop does: it stays ended
// until start is called, or the machine boots.
func (l *Lab) StopService(ctx context.Context, machine, service string) (start func(context.Context) error, err error) {
	if _, err := l.addressOf(machine); err != nil {
		return nil, err
	}
	spec, err := hostinit.Read(machineDir(machine))
	if err != nil {
		return nil, err
	}
	control := supervise.Client{Socket: spec.Control()}
	for _, svc := range spec.Services {
		if svc.Name == service {
			return func(ctx context.Context) error { return control.Start(ctx, svc) }, control.Stop(ctx, service)
		}
	}
	return nil, fmt.Errorf("%s has no service %q", machine, service)
}
