package libvirtd

import (
	"context"
	"errors"

	"libvirt.org/go/libvirt"

	"github.com/vireo-kvm/vireo/agent/virt"
)

func (c *conn) Domains(ctx context.Context) ([]virt.Domain, error) {
	return ask(ctx, c, "domains", c.uri, func(lv *libvirt.Connect) ([]virt.Domain, error) {
		flags, err := readMarks(lv)
		if err != nil {
			return nil, err
		}
		list, err := lv.ListAllDomains(0)
		if err != nil {
			return nil, err
		}
		defer freeAll(list)
		out := make([]virt.Domain, 0, len(list))
		for i := range list {
			d, err := c.look(&list[i])
			if gone(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			d.Persistent, d.Autostart, d.ManagedSave = flags.persistent[d.UUID], flags.autostart[d.UUID], flags.managedSave[d.UUID]
			out = append(out, d)
		}
		virt.SortDomains(out)
		return out, nil
	})
}

// marks are what a list with a flag tells of all domains at once.
type marks struct{ persistent, autostart, managedSave map[string]bool }

func readMarks(lv *libvirt.Connect) (m marks, err error) {
	if m.persistent, err = uuids(lv, libvirt.CONNECT_LIST_DOMAINS_PERSISTENT); err != nil {
		return m, err
	}
	if m.autostart, err = uuids(lv, libvirt.CONNECT_LIST_DOMAINS_AUTOSTART); err != nil {
		return m, err
	}
	m.managedSave, err = uuids(lv, libvirt.CONNECT_LIST_DOMAINS_MANAGEDSAVE)
	return m, err
}

func uuids(lv *libvirt.Connect, flags libvirt.ConnectListAllDomainsFlags) (map[string]bool, error) {
	list, err := lv.ListAllDomains(flags)
	if err != nil {
		return nil, err
	}
	defer freeAll(list)
	set := make(map[string]bool, len(list))
	for i := range list {
		uuid, err := list[i].GetUUIDString()
		if err != nil {
			return nil, err
		}
		set[uuid] = true
	}
	return set, nil
}

func freeAll(list []libvirt.Domain) {
	for i := range list {
		free(&list[i])
	}
}

func gone(err error) bool {
	var e libvirt.Error
	return errors.As(err, &e) && e.Code == libvirt.ERR_NO_DOMAIN
}

func invalid(err error) bool {
	var e libvirt.Error
	return errors.As(err, &e) && e.Code == libvirt.ERR_OPERATION_INVALID
}

func (c *conn) Domain(ctx context.Context, uuid string) (virt.Domain, error) {
	return ask(ctx, c, "domain", uuid, func(lv *libvirt.Connect) (virt.Domain, error) {
		return withDomain(lv, uuid, c.whole)
	})
}

// whole is look with the three facts that Domains gets for all at once.
func (c *conn) whole(d *libvirt.Domain) (virt.Domain, error) {
	out, err := c.look(d)
	if err != nil {
		return out, err
	}
	if out.Persistent, err = d.IsPersistent(); err != nil {
		return out, err
	}
	if out.Autostart, err = d.GetAutostart(); err != nil && !invalid(err) { // a transient domain has none
		return out, err
	}
	out.ManagedSave, err = d.HasManagedSaveImage(0)
	if invalid(err) {
		err = nil
	}
	return out, err
}

// look asks one domain: job first and state last. In between a move may end;
// in this order that shows as a job that is over already, which makes a reader
// wait, and never as a resting state that was none.
func (c *conn) look(d *libvirt.Domain) (virt.Domain, error) {
	j, err := current(d)
	if err != nil {
		return virt.Domain{}, err
	}
	xml, err := d.GetXMLDesc(0)
	if err != nil {
		return virt.Domain{}, err
	}
	out, err := virt.ParseDomain(xml)
	if err != nil {
		return virt.Domain{}, err
	}
	out.Job = j
	info, err := d.GetInfo()
	if err != nil {
		return virt.Domain{}, err
	}
	out.CPUTimeNS = info.CpuTime
	s, reason, err := d.GetState()
	if err != nil {
		return virt.Domain{}, err
	}
	out.State, out.Reason = state(s, reason)
	if out.State == virt.StateShutOff {
		// A definition's attempt is a leftover, no process's.
		out.ID, out.Job, out.Attempt, out.CPUTimeNS = virt.Inactive, virt.Job{Type: virt.JobNone}, "", 0
		return out, nil
	}
	if out.ID == virt.Inactive {
		// It was started between two of these calls.
		if out, err = c.lookAgain(d, out); err != nil {
			return virt.Domain{}, err
		}
	}
	out.Process = c.process(out.Name, out.UUID)
	return out, nil
}

// lookAgain reads the live XML of a domain that was shut off a moment ago.
func (c *conn) lookAgain(d *libvirt.Domain, seen virt.Domain) (virt.Domain, error) {
	xml, err := d.GetXMLDesc(0)
	if err != nil {
		return virt.Domain{}, err
	}
	out, err := virt.ParseDomain(xml)
	if err != nil {
		return virt.Domain{}, err
	}
	out.State, out.Reason, out.Job, out.CPUTimeNS = seen.State, seen.Reason, seen.Job, seen.CPUTimeNS
	return out, nil
}

func (c *conn) Find(ctx context.Context, name string) (string, error) {
	return ask(ctx, c, "find", name, func(lv *libvirt.Connect) (string, error) {
		d, err := lv.LookupDomainByName(name)
		if err != nil {
			return "", err
		}
		defer free(d)
		return d.GetUUIDString()
	})
}

func (c *conn) XML(ctx context.Context, uuid string, flags virt.XMLFlags) (string, error) {
	var f libvirt.DomainXMLFlags
	if flags.Inactive {
		f |= libvirt.DOMAIN_XML_INACTIVE
	}
	if flags.Migratable {
		f |= libvirt.DOMAIN_XML_MIGRATABLE
	}
	if flags.Secure {
		f |= libvirt.DOMAIN_XML_SECURE
	}
	return ask(ctx, c, "xml", uuid, func(lv *libvirt.Connect) (string, error) {
		return withDomain(lv, uuid, func(d *libvirt.Domain) (string, error) { return d.GetXMLDesc(f) })
	})
}

func (c *conn) Job(ctx context.Context, uuid string) (virt.Job, error) {
	return ask(ctx, c, "job", uuid, func(lv *libvirt.Connect) (virt.Job, error) {
		return withDomain(lv, uuid, current)
	})
}

func (c *conn) LastJob(ctx context.Context, uuid string) (virt.Job, error) {
	return ask(ctx, c, "last job", uuid, func(lv *libvirt.Connect) (virt.Job, error) {
		return withDomain(lv, uuid, func(d *libvirt.Domain) (virt.Job, error) {
			const keep = libvirt.DOMAIN_JOB_STATS_COMPLETED | libvirt.DOMAIN_JOB_STATS_KEEP_COMPLETED
			i, err := d.GetJobStats(keep)
			if invalid(err) {
				return virt.Job{Type: virt.JobNone}, nil
			}
			if err != nil {
				return virt.Job{}, err
			}
			return job(i), nil
		})
	})
}

// current is the job that the domain has now.
func current(d *libvirt.Domain) (virt.Job, error) {
	i, err := d.GetJobStats(0)
	if err == nil {
		return job(i), nil
	}
	var e libvirt.Error
	switch {
	case invalid(err): // the domain is shut off
		return virt.Job{Type: virt.JobNone}, nil
	case errors.As(err, &e) && e.Code == libvirt.ERR_OPERATION_UNSUPPORTED:
		// "migration statistics are available only on the source host": how it
		// stands is not known here, but that it is under way is.
		return virt.Job{Type: virt.JobUnbounded, Operation: virt.OpMigrateIn}, nil
	}
	return virt.Job{}, err
}

func (c *conn) Process(ctx context.Context, uuid string) (virt.Process, error) {
	return ask(ctx, c, "process", uuid, func(lv *libvirt.Connect) (virt.Process, error) {
		return withDomain(lv, uuid, func(d *libvirt.Domain) (virt.Process, error) {
			active, err := d.IsActive()
			if err != nil || !active {
				return virt.Process{}, err
			}
			name, err := d.GetName()
			if err != nil {
				return virt.Process{}, err
			}
			return c.process(name, uuid), nil
		})
	})
}
