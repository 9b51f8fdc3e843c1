package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/configs"
)

// completes is how long a fault waits for a transfer to complete.
const completes = 30 * time.Second

// completed is what libvirt says when QEMU has sent a guest's last page.
var completed = regexp.MustCompile(`event MIGRATION .*for domain '?([^':]+)'?:.*"status":"completed"`)

// cutAtCompletion cuts source and target off from each other in the moment in
// which a transfer completes and libvirt's last step is still to be done.
func (r *runner) cutAtCompletion(ctx context.Context, round Round, f Fault) (undoing, error) {
	guest, err := r.completion(ctx, round.Empty)
	if err != nil {
		return nil, fmt.Errorf("no transfer from %s has completed: %w", round.Empty, err)
	}
	for _, s := range r.copies(guest) {
		if s.Host != round.Empty {
			f.Host, f.Peer = round.Empty, s.Host
		}
	}
	if f.Host != round.Empty {
		return nil, fmt.Errorf("%s completed too soon to be seen on its target", guest)
	}
	undo, err := r.cut(ctx, f, f.Host, []string{f.Peer}, false)
	r.say("the link of %s and %s is cut as the transfer of %s completes", f.Host, f.Peer, guest)
	return undo, err
}

// completion waits until a transfer away from a host completes and returns the guest's name.
func (r *runner) completion(ctx context.Context, host string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, completes)
	defer cancel()
	cmd, err := r.lab.Command(ctx, host, "virsh", "-c", "qemu:///system", "qemu-monitor-event", "--event", "MIGRATION", "--loop")
	if err != nil {
		return "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // it was killed
	}()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if m := completed.FindStringSubmatch(lines.Text()); m != nil {
			return m[1], nil
		}
	}
	return "", errors.Join(errors.New("virsh has ended"), ctx.Err())
}

// where returns the only process of a guest that does not move.
func (r *runner) where(guest string) (process, error) {
	copies := r.copies(guest)
	if len(copies) != 1 {
		return process{}, fmt.Errorf("%w: %s has the processes %v", errNotNow, guest, copies)
	}
	return copies[0], nil
}

// other returns a host that is not the one given: the fault's, or its peer.
func (f Fault) other(than string) string {
	if f.Host != than {
		return f.Host
	}
	return f.Peer
}

// byVireo says whether virsh's user was told that vireo refuses.
func byVireo(err error) bool { return err != nil && strings.Contains(err.Error(), "vireo: ") }

func (r *runner) refused(what Fault, err error) {
	_, why, _ := strings.Cut(err.Error(), "vireo: ")
	why, _, _ = strings.Cut(why, "\n")
	r.say("%s is refused: %s", what, why)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rep.Refused++
}

// moveByHand moves a guest as an operator would who does not know of vireo. In
// enforce the manager has to agree, and may be away.
func (r *runner) moveByHand(ctx context.Context, f Fault) error {
	from, err := r.where(f.Guest)
	if err != nil {
		return err
	}
	to := f.other(from.Host)
	r.say("%s from %s to %s", f, from.Host, to)
	r.mu.Lock()
	r.judge.moved[f.Guest] = true
	r.mu.Unlock()
	if _, err := r.lab.Virsh(ctx, from.Host, "migrate", "--live", "--p2p", "--persistent", "--undefinesource", f.Guest, "qemu+tcp://"+to+"/system"); byVireo(err) {
		r.refused(f, err)
	} else if err != nil {
		return fmt.Errorf("%w: %w", errNotNow, err)
	}
	return nil
}

// noticed is how long a guest that a user has started twice may be ambiguous to
// nobody: the round's own faults, which keep the manager from seeing it, and one report.
const noticed = time.Minute

// doubleStart defines a guest on a second host and starts it there. The hook in
// force refuses that. Without it nothing does, and it has to be noticed: then
// the guest is started paused, so that it does not write to its disk.
func (r *runner) doubleStart(ctx context.Context, f Fault) (err error) {
	from, err := r.where(f.Guest)
	if err != nil {
		return err
	}
	host := f.other(from.Host)
	xml, err := r.lab.Virsh(ctx, from.Host, "dumpxml", "--inactive", f.Guest)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotNow, err)
	}
	define, err := r.lab.Command(ctx, host, "virsh", "-c", "qemu:///system", "define", "/dev/stdin")
	if err != nil {
		return err
	}
	define.Stdin = strings.NewReader(xml)
	if out, err := define.CombinedOutput(); err != nil {
		return fmt.Errorf("define %s on %s: %w: %s", f.Guest, host, err, out)
	}
	r.say("%s on %s, while it runs on %s", f, host, from.Host)
	r.mu.Lock()
	r.judge.double(f.Guest, host)
	r.mu.Unlock()
	defer func() {
		// It is over when the process is, also if the run was ended.
		ctx := context.WithoutCancel(ctx)
		for _, p := range r.copies(f.Guest) {
			if p.Host == host {
				err = errors.Join(err, kill(p, unix.SIGKILL))
			}
		}
		for range 50 {
			if _, e := r.lab.Virsh(ctx, host, "undefine", f.Guest); e == nil || strings.Contains(e.Error(), "failed to get domain") {
				break
			}
			pause(ctx, 100*time.Millisecond)
		}
		r.mu.Lock()
		r.judge.double(f.Guest, "")
		r.mu.Unlock()
		r.say("the second copy of %s is gone from %s", f.Guest, host)
	}()
	if r.lab.Options.Hook == string(configs.HookEnforce) {
		return r.startRefused(ctx, f, from, host)
	}
	if _, err := r.lab.Virsh(ctx, host, "start", "--paused", f.Guest); err != nil {
		return fmt.Errorf("start %s on %s: %w", f.Guest, host, err)
	}
	for deadline := time.Now().Add(noticed); ; pause(ctx, again) {
		r.mu.Lock()
		unclear := r.judge.unclear[f.Guest]
		r.mu.Unlock()
		switch {
		case unclear:
			r.say("%s is ambiguous, as it should be", f.Guest)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(deadline):
			r.violated(fmt.Sprintf("%s has two processes, on %s and %s, and is not ambiguous after %s", f.Guest, from.Host, host, noticed))
			return nil
		}
	}
}

// startRefused starts a guest where it may not run. Only one that has ended where
// it ran meanwhile may start.
func (r *runner) startRefused(ctx context.Context, f Fault, from process, host string) error {
	_, err := r.lab.Virsh(ctx, host, "start", f.Guest)
	switch {
	case byVireo(err):
		r.refused(f, err)
		return nil
	case err != nil:
		return fmt.Errorf("%w: start %s on %s: %w", errNotNow, f.Guest, host, err)
	}
	r.violated(fmt.Sprintf("%s was started on %s while it had a process: %s", f.Guest, host, from))
	return nil
}
