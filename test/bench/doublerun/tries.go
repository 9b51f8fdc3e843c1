package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/test/lab"
)

const (
	source, target, guest = "h1", "h2", "g1"
	// speed makes the transfer last long enough to be caught, and end before the source gives up.
	speed = "500mbit"
	// settled is how long a guest is watched after all is over: two copies that run then, run for ever.
	settled = 10 * time.Second
	limit   = 3 * time.Minute
)

// inLab makes a lab and takes it away.
func inLab(ctx context.Context, o lab.Options, f func(*lab.Lab) (try, error)) (t try, err error) {
	o.Hosts, o.Guests, o.GuestsOn, o.ShortKeepalive = 2, 1, source, true
	l, err := lab.Up(ctx, o)
	if err != nil {
		return try{}, err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	return f(l)
}

// lostFinish lets a mover move the guest, stops the target's libvirtd while the
// memory is on its way, and lets it go on when the source has given up.
func lostFinish(ctx context.Context, l *lab.Lab, move func() error) (said error, err error) {
	if err := l.Shape(ctx, source, target, speed); err != nil {
		return nil, err
	}
	time.Sleep(2 * time.Second) // beats of before
	if err := l.Heartbeats().Forget(ctx); err != nil {
		return nil, err
	}
	moved := make(chan error, 1)
	go func() { moved <- move() }()
	if err := until(ctx, "the memory is on its way", func() bool {
		job, err := l.Virsh(ctx, source, "domjobinfo", guest)
		return err == nil && copied.MatchString(job)
	}); err != nil {
		return nil, err
	}
	if err := l.Signal(ctx, target, "libvirtd", unix.SIGSTOP); err != nil {
		return nil, err
	}
	if err := until(ctx, "the source gives up", func() bool {
		job, err := l.Virsh(ctx, source, "domjobinfo", guest)
		return err != nil || !strings.Contains(job, "Unbounded")
	}); err != nil {
		return nil, err
	}
	if err := l.Heal(ctx); err != nil {
		return nil, err
	}
	return <-moved, nil
}

var copied = regexp.MustCompile(`Memory processed:\s+[1-9]`)

// after watches what there is when all is over.
func after(ctx context.Context, l *lab.Lab, t try) (try, error) {
	time.Sleep(settled)
	g, err := l.Heartbeats().Guest(ctx, guest)
	if err != nil {
		return t, err
	}
	states := make([]string, 0, 2)
	running := 0
	for _, host := range []string{source, target} {
		out, err := l.Virsh(ctx, host, "domstate", "--reason", guest)
		if err != nil {
			out = "not there"
		}
		if strings.HasPrefix(out, "running") {
			running++
		}
		states = append(states, host+": "+strings.TrimSpace(out))
	}
	// libvirt's word and what is heard: both, or it is not called a double run.
	t.doubled = t.doubled || running > 1 && g.DoubleSeconds > 2
	t.lost = t.lost || g.Restarts > 0 || running == 0
	t.downtime = max(t.downtime, time.Duration(g.LargestGapMS*float64(time.Millisecond)))
	t.note += strings.Join(states, ", ")
	return t, nil
}

func tryVirsh(ctx context.Context) (try, error) {
	return inLab(ctx, lab.Options{NoVireo: true}, func(l *lab.Lab) (try, error) {
		_, err := lostFinish(ctx, l, func() error {
			_, err := l.Virsh(ctx, source, "migrate", "--live", "--p2p", "--persistent", "--undefinesource", guest, "qemu+tcp://"+target+"/system")
			return err
		})
		if err != nil {
			return try{}, err
		}
		return after(ctx, l, try{})
	})
}

func tryVireo(ctx context.Context) (try, error) {
	return inLab(ctx, lab.Options{}, func(l *lab.Lab) (try, error) {
		api, err := l.API()
		if err != nil {
			return try{}, err
		}
		var id string
		_, err = lostFinish(ctx, l, func() error {
			m, err := api.MoveClaim(ctx, connect.NewRequest(&managerv1.MoveClaimRequest{Domain: lab.GuestUUID(1), Target: target, Reason: "to lose an answer"}))
			if err == nil {
				id = m.Msg.GetMigration().GetId()
			}
			return err
		})
		if err != nil {
			return try{}, err
		}
		var row *managerv1.Migration
		if err := until(ctx, "the move ends", func() bool {
			res, err := api.GetMigration(ctx, connect.NewRequest(&managerv1.GetMigrationRequest{Id: id}))
			if err == nil {
				row = res.Msg.GetMigration()
			}
			return row.GetEnded() != nil
		}); err != nil {
			return try{}, err
		}
		return after(ctx, l, try{note: "the move ended " + row.GetState() + "; "})
	})
}

// virtualDomain is Pacemaker's resource agent, of Debian's package resource-agents.
const virtualDomain = "/usr/lib/ocf/resource.d/heartbeat/VirtualDomain"

func tryPacemaker(ctx context.Context) (try, error) {
	if _, err := os.Stat(virtualDomain); err != nil {
		return try{}, fmt.Errorf("%w; apt-get install --no-install-recommends resource-agents pacemaker", err)
	}
	return inLab(ctx, lab.Options{NoVireo: true}, func(l *lab.Lab) (try, error) {
		const config = "/var/lib/" + guest + ".xml"
		// agent runs one of its actions, as the cluster does on a host.
		agent := func(host, action string) error {
			_, err := l.Exec(ctx, host, "env", "OCF_ROOT=/usr/lib/ocf", "OCF_RESOURCE_INSTANCE="+guest, "OCF_RESKEY_config="+config,
				"OCF_RESKEY_hypervisor=qemu:///system", "OCF_RESKEY_migration_transport=tcp", "OCF_RESKEY_autoset_utilization_cpu=false",
				"OCF_RESKEY_autoset_utilization_hv_memory=false", "OCF_RESKEY_autoset_utilization_host_memory=false",
				"OCF_RESKEY_CRM_meta_timeout=20000",
				"OCF_RESKEY_CRM_meta_migrate_source="+source, "OCF_RESKEY_CRM_meta_migrate_target="+target, virtualDomain, action)
			return err
		}
		xml, err := l.Virsh(ctx, source, "dumpxml", "--inactive", guest)
		if err != nil {
			return try{}, err
		}
		for _, host := range []string{source, target} {
			if _, err := l.Exec(ctx, host, "sh", "-c", "cat >"+config+" <<'EOF'\n"+xml+"\nEOF"); err != nil {
				return try{}, err
			}
		}
		if err := errors.Join(agent(source, "stop"), agent(source, "start")); err != nil {
			return try{}, err
		}
		if err := until(ctx, "the guest is up again", func() bool {
			g, err := l.Heartbeats().Guest(ctx, guest)
			return err == nil && g.Restarts > 0 && g.SilentMS < 100
		}); err != nil {
			return try{}, err
		}
		said, err := lostFinish(ctx, l, func() error { return agent(source, "migrate_to") })
		if err != nil {
			return try{}, err
		}
		t := try{note: "migrate_to ended well; "}
		if said != nil {
			t.note = "migrate_to failed; "
		}
		if t, err = after(ctx, l, t); err != nil {
			return t, err
		}
		if agent(source, "monitor") == nil && agent(target, "monitor") == nil {
			// multiple-active = stop_start, Pacemaker's default.
			t.note += "; monitor: active on both; after stop_start: "
			if err := errors.Join(agent(source, "stop"), agent(target, "stop")); err != nil {
				return t, err
			}
			t.lost = true // its memory is nowhere any more
			if err := agent(source, "start"); err != nil {
				return t, err
			}
			return after(ctx, l, t)
		}
		return t, nil
	})
}

func until(ctx context.Context, what string, now func() bool) error {
	for deadline := time.Now().Add(limit); !now(); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %s in vain: %s", limit, what)
		}
	}
	return nil
}
