package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/test/lab"
	"github.com/vireo-kvm/vireo/test/standstill"
)

// undoing takes a fault back.
type undoing = func(context.Context) error

// do does one fault now. It returns errNotNow when its object is not there.
func (r *runner) do(ctx context.Context, round Round, f Fault) (undoing, error) {
	switch f.Kind {
	case KillManager:
		return nil, r.signal(ctx, f, r.manager(ctx, f), "manager", unix.SIGKILL)
	case KillAgent:
		return nil, r.signal(ctx, f, f.Host, "agent", unix.SIGKILL)
	case KillLibvirtd:
		return nil, r.signal(ctx, f, f.Host, "libvirtd", unix.SIGKILL)
	case StopManager:
		return r.stopFor(ctx, f, r.manager(ctx, f), "manager")
	case StopAgent:
		return r.stopFor(ctx, f, f.Host, "agent")
	case StopLibvirtd:
		return r.stopFor(ctx, f, f.Host, "libvirtd")
	case KillQEMU:
		return nil, r.killQEMU(f)
	case StopQEMU:
		return r.stopQEMU(f)
	case CutAgent:
		return r.cut(ctx, f, f.Host, r.lab.ManagerNames(), false)
	case CutAgentOneWay:
		return r.cut(ctx, f, f.Host, r.lab.ManagerNames(), true)
	case CutHosts:
		return r.cut(ctx, f, f.Host, []string{f.Peer}, false)
	case CutHostsOneWay:
		return r.cut(ctx, f, f.Host, []string{f.Peer}, true)
	case CutAtCompletion:
		return r.cutAtCompletion(ctx, round, f)
	case FullDisk:
		manager := r.manager(ctx, f)
		r.say("%s (%s)", f, manager)
		return func(context.Context) error { return r.lab.EmptyDisk(manager) }, r.lab.FillDisk(manager)
	case KillEtcd, StopEtcd, LoseMajority, CutEtcd:
		return r.hurtEtcd(ctx, f)
	case CrashHost:
		return r.crash(f)
	case MoveByHand:
		return nil, r.moveByHand(ctx, f)
	case DoubleStart:
		return nil, r.doubleStart(ctx, f)
	}
	return nil, fmt.Errorf("%q is no fault", f.Kind)
}

// manager returns the machine of the manager that a fault is about.
func (r *runner) manager(ctx context.Context, f Fault) string {
	names := r.lab.ManagerNames()
	if f.Back && len(names) > 1 {
		if leader, err := r.lab.Leader(ctx); err == nil {
			return leader
		}
	}
	return names[f.Pick%len(names)]
}

// signal says what is done, and does it, if the service runs.
func (r *runner) signal(ctx context.Context, f Fault, machine, service string, signal unix.Signal) error {
	if err := r.lab.Signal(ctx, machine, service, signal); err != nil {
		return fmt.Errorf("%w: %w", errNotNow, err) // its process is just being started again
	}
	if isOneOfSeveral := machine != f.Host && machine != lab.ManagerName; isOneOfSeveral {
		r.say("%s: %s", f, machine)
	} else {
		r.say("%s", f)
	}
	return nil
}

func (r *runner) stopFor(ctx context.Context, f Fault, machine, service string) (undoing, error) {
	if err := r.signal(ctx, f, machine, service, unix.SIGSTOP); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		// Gone meanwhile is as good as going on.
		_ = r.lab.Signal(ctx, machine, service, unix.SIGCONT)
		return nil
	}, nil
}

// killQEMU kills one process of a guest: a user's loss, unless it was a copy that never ran.
func (r *runner) killQEMU(f Fault) error {
	copies := r.copies(f.Guest)
	if len(copies) == 0 {
		return fmt.Errorf("%w: %s has no process", errNotNow, f.Guest)
	}
	victim := copies[0]
	if f.Back {
		victim = copies[len(copies)-1]
	}
	r.mu.Lock()
	r.judge.lost(f.Guest)
	r.mu.Unlock()
	r.say("%s: %s", f.Kind, victim)
	return kill(victim, unix.SIGKILL)
}

// kill sends a signal to a process if it is still that one.
func kill(p process, signal unix.Signal) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errNotNow, p, err)
	}
	defer unix.Close(fd)
	if start, ok := startOf(p.PID); !ok || start != p.Start {
		return fmt.Errorf("%w: %s has ended", errNotNow, p)
	}
	if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil {
		return fmt.Errorf("%w: %s: %w", errNotNow, p, err)
	}
	if signal == unix.SIGSTOP {
		return standstill.Await(p.PID)
	}
	return nil
}

func (r *runner) stopQEMU(f Fault) (undoing, error) {
	copies := r.copies(f.Guest)
	if len(copies) == 0 {
		return nil, fmt.Errorf("%w: %s has no process", errNotNow, f.Guest)
	}
	r.say("%s", f)
	for _, p := range copies {
		_ = kill(p, unix.SIGSTOP) // one that has just ended needs no stopping
	}
	return func(context.Context) error {
		for _, p := range copies {
			_ = kill(p, unix.SIGCONT)
		}
		return nil
	}, nil
}

// cut cuts the link between a machine and others, both ways or one.
func (r *runner) cut(ctx context.Context, f Fault, from string, to []string, oneWay bool) (undoing, error) {
	r.links.Lock()
	defer r.links.Unlock()
	r.say("%s", f)
	for _, other := range to {
		a, b := from, other
		if f.Back {
			a, b = b, a
		}
		if err := r.lab.Cut(ctx, a, b, oneWay); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) error {
		r.links.Lock()
		defer r.links.Unlock()
		var failed []error
		for _, other := range to {
			failed = append(failed, r.lab.HealLink(ctx, from, other))
		}
		return errors.Join(failed...)
	}, nil
}

// crash ends a host; the undoing boots it. Every guest with a process there is, or may be, lost.
func (r *runner) crash(f Fault) (undoing, error) {
	r.links.Lock() // a boot plugs the host in again
	defer r.links.Unlock()
	r.say("%s, with %v", f, r.on(f.Host))
	r.mu.Lock()
	for _, s := range r.seen {
		if s.Host == f.Host {
			r.judge.lost(s.Guest)
		}
	}
	r.mu.Unlock()
	if err := r.lab.Crash(f.Host); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotNow, err)
	}
	// One that came up between the last look and the crash.
	for _, p := range r.on(f.Host) {
		r.mu.Lock()
		r.judge.losses[p.Guest] = max(1, r.judge.losses[p.Guest])
		r.mu.Unlock()
	}
	return func(ctx context.Context) error {
		r.links.Lock()
		defer r.links.Unlock()
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := r.lab.Boot(ctx, f.Host); err != nil {
			return err
		}
		r.say("%s is up again", f.Host)
		return nil
	}, nil
}
