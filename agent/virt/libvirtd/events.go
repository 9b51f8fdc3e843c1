package libvirtd

import (
	"context"

	"libvirt.org/go/libvirt"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// register asks for every event that virt knows.
func (c *conn) register() error {
	if c.sink == nil {
		return nil
	}
	for _, ask := range []func() (int, error){
		func() (int, error) { return c.c.DomainEventLifecycleRegister(nil, c.onLifecycle) },
		func() (int, error) { return c.c.DomainEventJobCompletedRegister(nil, c.onJobCompleted) },
		func() (int, error) { return c.c.DomainEventMigrationIterationRegister(nil, c.onIteration) },
	} {
		id, err := ask()
		if err != nil {
			return err
		}
		c.callbacks = append(c.callbacks, id)
	}
	return nil
}

func (c *conn) emit(e virt.Event) {
	c.sinkMu.Lock()
	defer c.sinkMu.Unlock()
	if c.sink != nil {
		c.sink(e)
	}
}

func (c *conn) onLifecycle(_ *libvirt.Connect, d *libvirt.Domain, e *libvirt.DomainEventLifecycle) {
	out := about(d, virt.EventLifecycle)
	out.Event, out.Detail = lifecycle(int(e.Event), e.Detail)
	c.emit(out)
}

func (c *conn) onJobCompleted(_ *libvirt.Connect, d *libvirt.Domain, e *libvirt.DomainEventJobCompleted) {
	out := about(d, virt.EventJobDone)
	out.Job = job(&e.Info)
	c.emit(out)
}

func (c *conn) onIteration(_ *libvirt.Connect, d *libvirt.Domain, e *libvirt.DomainEventMigrationIteration) {
	out := about(d, virt.EventIteration)
	out.Iteration = e.Iteration
	c.emit(out)
}

// about reads what the handle itself holds: it asks libvirtd nothing. The
// handle is libvirt's, and is not freed here.
func about(d *libvirt.Domain, kind virt.EventKind) virt.Event {
	e := virt.Event{Kind: kind}
	e.UUID, _ = d.GetUUIDString() // both can only fail for a handle that is none
	e.Name, _ = d.GetName()
	return e
}

// Barrier makes two round trips to libvirtd and one through our own event loop.
//
// An event and the answer to a request leave libvirtd from different threads:
// the event from its main loop, which also reads requests. So the first answer
// may overtake an event that was queued before it, the second can't: its
// request was read by a loop that had sent the event. Here an event that has
// been read waits for the event loop, and so does our timer, behind it.
func (c *conn) Barrier(ctx context.Context) error {
	ctx, cancel := bound(ctx, c.opts.CallTimeout)
	defer cancel()
	for range 2 {
		if err := tell(ctx, c, "barrier", c.uri, func(lv *libvirt.Connect) error {
			_, err := lv.GetLibVersion() // the cheapest call that libvirt's library does not answer itself
			return err
		}); err != nil {
			return err
		}
	}
	passed := make(chan struct{})
	if _, err := libvirt.EventAddTimeout(0, func(timer int) {
		_ = libvirt.EventRemoveTimeout(timer)
		close(passed)
	}); err != nil {
		return translate("barrier", c.uri, err)
	}
	select {
	case <-passed:
		return nil
	case <-ctx.Done():
		return timeout("barrier", c.uri, ctx.Err())
	}
}
