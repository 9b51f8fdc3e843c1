package libvirtd

import (
	"errors"
	"time"

	"libvirt.org/go/libvirt"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// current is the job that the domain has now, or, when libvirtd does not say so
// in time, one of which nothing is known but that it is in the way.
//
// libvirtd makes the question wait for up to 30 s while another client's call
// to the same QEMU hangs (its storage is away, say). One guest in that state
// must not keep a report of all others, nor take one of the few calls that
// libvirtd answers at a time with every report: while one question is stuck, no
// other is asked.
func (c *conn) current(uuid string) (virt.Job, error) {
	blocked := virt.Job{Type: virt.JobUnbounded, Operation: virt.OpUnknown}
	c.mu.Lock()
	stuck := c.stuck[uuid]
	if !stuck {
		c.waiting++ // keeps the connection until the question has come back
	}
	c.mu.Unlock()
	if stuck {
		return blocked, nil
	}
	l, err := c.borrow()
	if err != nil {
		c.leave()
		return virt.Job{}, err
	}
	type result struct {
		job virt.Job
		err error
	}
	done := make(chan result, 1)
	go func() {
		j, err := withDomain(l.lv, uuid, readJob)
		if err != nil && !alive(l.lv) {
			c.retire(l)
		}
		c.mu.Lock()
		delete(c.stuck, uuid)
		done <- result{j, err} // under the lock, so that nobody marks it stuck after this
		c.mu.Unlock()
		c.giveBack(l)
		c.leave()
	}()
	patience := time.NewTimer(c.opts.JobTimeout)
	defer patience.Stop()
	select {
	case r := <-done:
		return r.job, r.err
	case <-patience.C:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case r := <-done: // it came just now
		return r.job, r.err
	default:
		c.stuck[uuid] = true
		c.retire(l)
		return blocked, nil
	}
}

func alive(lv *libvirt.Connect) bool {
	ok, err := lv.IsAlive()
	return err == nil && ok
}

func readJob(d *libvirt.Domain) (virt.Job, error) {
	i, err := d.GetJobStats(0)
	if err == nil {
		return job(i), nil
	}
	var e libvirt.Error
	if !errors.As(err, &e) {
		return virt.Job{}, err
	}
	switch e.Code {
	case libvirt.ERR_OPERATION_INVALID: // the domain is shut off
		return virt.Job{Type: virt.JobNone}, nil
	case libvirt.ERR_OPERATION_UNSUPPORTED:
		// "migration statistics are available only on the source host": how it
		// stands is not known here, but that it is under way is.
		return virt.Job{Type: virt.JobUnbounded, Operation: virt.OpMigrateIn}, nil
	case libvirt.ERR_OPERATION_TIMEOUT: // another job was in the way all the time
		return virt.Job{Type: virt.JobUnbounded, Operation: virt.OpUnknown}, nil
	}
	return virt.Job{}, err
}
