package virttest

import (
	"context"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// StartMigrate is Conn.Migrate without the waiting, for drivers that have one
// thread: done is called when the call would return. A refusal at once is
// returned, and done is not called. When libvirtd dies during the call, done is
// never called: its connections say so.
func (h *Host) StartMigrate(p virt.MigrateParams, done func(error)) error {
	h.f.mu.Lock()
	err := h.f.begin(h, p, done)
	h.f.mu.Unlock()
	h.f.flush()
	return err
}

func (c *conn) Migrate(ctx context.Context, p virt.MigrateParams) error {
	result := make(chan error, 1)
	if err := c.ask(ctx, "migrate", p.UUID, func() error {
		return c.f.begin(c.h, p, func(err error) { result <- err })
	}); err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-c.ended:
		select { // the answer may have come before the end
		case err := <-result:
			return err
		default:
			return c.gone("migrate", p.UUID)
		}
	case <-ctx.Done():
		return &virt.Error{Op: "migrate", On: p.UUID, Kind: virt.KindTimeout, Message: "nobody waits any more", Err: ctx.Err()}
	}
}

// moving runs a call about the migration that leaves here.
func (c *conn) moving(ctx context.Context, op, uuid, otherwise string, do func(*move) error) error {
	return c.active(ctx, op, uuid, func(d *domain) error {
		if m := c.f.outgoing(d); m != nil {
			return do(m)
		}
		return invalid(op, uuid, otherwise)
	})
}

func (c *conn) AbortJob(ctx context.Context, uuid string) error {
	return c.moving(ctx, "abort", uuid, "no job is active on the domain", (*move).abort)
}

func (c *conn) StartPostCopy(ctx context.Context, uuid string) error {
	return c.moving(ctx, "postcopy", uuid, "post-copy can only be started while outgoing migration is in progress", (*move).postCopy)
}

func (c *conn) SetMaxDowntime(ctx context.Context, uuid string, milliseconds uint64) error {
	if milliseconds == 0 {
		return refused("downtime", uuid, 8, "invalid argument: downtime must not be zero")
	}
	return c.active(ctx, "downtime", uuid, func(d *domain) error {
		if m := c.f.outgoing(d); m != nil {
			m.downtimeLimit = time.Duration(milliseconds) * time.Millisecond
		}
		return nil
	})
}

func (c *conn) SetBandwidth(ctx context.Context, uuid string, mibPerSecond uint64) error {
	if mibPerSecond == 0 {
		return refused("bandwidth", uuid, 8, "invalid argument: bandwidth must not be zero")
	}
	return c.active(ctx, "bandwidth", uuid, func(d *domain) error {
		if m := c.f.outgoing(d); m != nil {
			m.bandwidth = mibPerSecond << 20
		}
		return nil
	})
}
