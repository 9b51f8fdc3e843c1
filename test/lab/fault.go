package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/test/standstill"
)

// pidOf returns the pid, seen from outside, of a machine's service.
func (l *Lab) pidOf(ctx context.Context, machine, service string) (int, error) {
	m, err := l.Machine(ctx, machine)
	if err != nil {
		return 0, err
	}
	if !m.Up {
		return 0, fmt.Errorf("%s is down", machine)
	}
	var names []string
	for _, s := range m.Services {
		if s.Name == service && s.PID > 0 {
			return s.PID, nil
		}
		if s.Name == service {
			return 0, fmt.Errorf("%s of %s does not run: %s", service, machine, s.Exit)
		}
		names = append(names, s.Name)
	}
	return 0, fmt.Errorf("%s has no service %q; it has %s", machine, service, strings.Join(names, ", "))
}

// Signal sends a signal to the process of a machine's service: SIGKILL, SIGSTOP (it stands still
// when Signal returns), SIGCONT….
func (l *Lab) Signal(ctx context.Context, machine, service string, signal unix.Signal) error {
	pid, err := l.pidOf(ctx, machine, service)
	if err != nil {
		return err
	}
	if err := send(pid, signal); err != nil {
		return fmt.Errorf("send %s to %s of %s: %w", signal, service, machine, err)
	}
	return nil
}

// send sends a signal; a process that is stopped with it stands still when it returns.
func send(pid int, signal unix.Signal) error {
	if signal == unix.SIGSTOP {
		return standstill.Stop(pid)
	}
	return unix.Kill(pid, signal)
}

// SignalGuest sends a signal to every QEMU process of a guest.
func (l *Lab) SignalGuest(ctx context.Context, guest string, signal unix.Signal) error {
	guests, err := l.GuestStates(ctx)
	if err != nil {
		return err
	}
	for _, g := range guests {
		if g.Name != guest {
			continue
		}
		if len(g.Copies) == 0 {
			return fmt.Errorf("%s has no process on any host", guest)
		}
		for _, c := range g.Copies {
			if err := send(c.PID, signal); err != nil {
				return fmt.Errorf("send %s to %s on %s: %w", signal, guest, c.Host, err)
			}
		}
		return nil
	}
	return fmt.Errorf("there is no guest %q", guest)
}

// filler is the file that takes all room of a full disk.
const filler = ".vireo-lab-fills-this-disk"

// FillDisk leaves no room on a machine's state directory.
func (l *Lab) FillDisk(machine string) error {
	dir, err := l.stateDisk(machine)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, filler), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, size := range []int{64 << 10, 4 << 10, 1} {
		for chunk := make([]byte, size); err == nil; {
			_, err = f.Write(chunk)
		}
		if !errors.Is(err, unix.ENOSPC) {
			return err
		}
		err = nil
	}
	return nil
}

// EmptyDisk undoes FillDisk.
func (l *Lab) EmptyDisk(machine string) error {
	dir, err := l.stateDisk(machine)
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, filler)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// ReadOnly makes a machine's state directory refuse writes.
func (l *Lab) ReadOnly(machine string) error { return l.remount(machine, unix.MS_RDONLY) }

func (l *Lab) remount(machine string, flags uintptr) error {
	dir, err := l.stateDisk(machine)
	if err != nil {
		return err
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV|flags, ""); err != nil {
		return fmt.Errorf("remount the state directory of %s: %w", machine, err)
	}
	return nil
}

func (l *Lab) stateDisk(machine string) (string, error) {
	if _, err := l.addressOf(machine); err != nil {
		return "", err
	}
	if machine == SwitchName {
		return "", fmt.Errorf("%s has no state directory", machine)
	}
	return filepath.Join(machineDir(machine), "state"), nil
}

// Heal undoes every fault that was injected and can be undone: links, stopped
// processes, full and read-only disks, smartctl's faults. A host that crashed stays
// down, and a drive keeps what it has shown.
func (l *Lab) Heal(ctx context.Context) error {
	failed := []error{l.HealLinks(ctx)}
	for _, machine := range l.Machines() {
		m, err := l.Machine(ctx, machine)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		if m.Up {
			pids, err := pidsIn(m.PID)
			failed = append(failed, err)
			for _, pid := range pids {
				// Going on is nothing to a process that was not stopped, or that has just ended.
				_ = unix.Kill(pid, unix.SIGCONT)
			}
		}
		if machine == SwitchName {
			continue
		}
		failed = append(failed, l.remount(machine, 0), l.BreakSmartctl(machine, ""), l.EmptyDisk(machine))
	}
	return errors.Join(failed...)
}
