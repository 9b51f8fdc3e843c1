package lab

import (
	"context"
	"errors"
	"fmt"

	"github.com/vireo-kvm/vireo/test/lab/hostinit"
)

// Crash ends a machine as a power cut does: its cable goes dead first, so that
// nobody is told by a closing connection, then everything in it is killed. It
// stays down until Boot. What it had on its disks is kept.
func (l *Lab) Crash(machine string) error {
	if _, err := l.addressOf(machine); err != nil {
		return err
	}
	if machine == SwitchName {
		return fmt.Errorf("%s is no host: it holds the network and the guests' disks", machine)
	}
	f, err := readFirst(machine)
	if err != nil {
		return err
	}
	if !f.alive() {
		return fmt.Errorf("%s is down already", machine)
	}
	if err := unplug(machine); err != nil {
		return err
	}
	return killProcess(f.PID, f.Start)
}

// Boot starts a machine that has crashed: with a new boot id, an empty /run and a
// new network namespace; libvirtd first, which starts the guests marked for
// autostart, then the agent. It returns when libvirtd answers.
func (l *Lab) Boot(ctx context.Context, machine string) error {
	address, err := l.addressOf(machine)
	if err != nil {
		return err
	}
	f, err := readFirst(machine)
	if err != nil {
		return err
	}
	if f.alive() {
		return fmt.Errorf("%s is up; `vireo-lab crash %s` ends it", machine, machine)
	}
	spec, err := hostinit.Read(machineDir(machine))
	if err != nil {
		return err
	}
	made, err := appendMadeLog()
	if err != nil {
		return err
	}
	defer made.close()
	// The old one goes with its sockets, which would speak of connections long dead.
	if err := errors.Join(
		run("ip", "-n", netnsOf(SwitchName), "link", "del", machine),
		thing{Kind: kindNetns, Name: netnsOf(machine)}.undo(),
	); err != nil {
		return err
	}
	if err := makeNamespaces(made, []string{machine}); err != nil {
		return err
	}
	if err := plug(ctx, machine, address, isHost(machine)); err != nil {
		return err
	}
	if err := l.applyLinks(ctx); err != nil {
		return err
	}
	if err := boot(made, l.Description, machine, spec.Services); err != nil {
		return err
	}
	if !isHost(machine) {
		return nil
	}
	return waitLibvirt(ctx, machine)
}
