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

// look asks one domain. A domain that is shut off takes two calls, any other
// four: some 0.2 ms each on a busy machine.
func (c *conn) look(d *libvirt.Domain) (virt.Domain, error) {
	if _, err := d.GetID(); err != nil { // the handle's own knowledge: it was shut off when it was looked up
		out, err := c.lookShutOff(d)
		if err != nil || !out.Present() {
			return out, err
		}
	}
	return c.lookActive(d)
}

// lookShutOff gives a domain that is Present when it was started meanwhile: it
// has to be looked at again.
func (c *conn) lookShutOff(d *libvirt.Domain) (virt.Domain, error) {
	out, err := describe(d)
	if err != nil || out.Present() {
		return out, err
	}
	s, reason, err := d.GetState()
	if err != nil {
		return virt.Domain{}, err
	}
	if out.State, out.Reason = state(s, reason); out.State != virt.StateShutOff {
		out.ID = unsettled
		return out, nil
	}
	return shutOff(out), nil
}

// unsettled is the id of a domain that is active and whose XML we have from
// before that.
const unsettled = 0

// lookActive reads job first and state last. In between a move may end; in this
// order that shows as a job that is over already, which makes a reader wait, and
// never as a resting state that was none.
func (c *conn) lookActive(d *libvirt.Domain) (virt.Domain, error) {
	uuid, err := d.GetUUIDString()
	if err != nil {
		return virt.Domain{}, err
	}
	j, err := c.current(uuid)
	if err != nil {
		return virt.Domain{}, err
	}
	out, err := describe(d)
	if err != nil {
		return virt.Domain{}, err
	}
	info, err := d.GetInfo()
	if err != nil {
		return virt.Domain{}, err
	}
	s, reason, err := d.GetState()
	if err != nil {
		return virt.Domain{}, err
	}
	if out.State, out.Reason = state(s, reason); out.State == virt.StateShutOff {
		return shutOff(out), nil
	}
	out.Job, out.CPUTimeNS = j, info.CpuTime
	out.Process = c.process(out.Name, out.UUID)
	return out, nil
}

// describe reads the live XML of an active domain, the definition of any other.
func describe(d *libvirt.Domain) (virt.Domain, error) {
	xml, err := d.GetXMLDesc(0)
	if err != nil {
		return virt.Domain{}, err
	}
	return virt.ParseDomain(xml)
}

// shutOff takes away what only a process has. An attempt that a definition
// carries is a leftover.
func shutOff(d virt.Domain) virt.Domain {
	d.ID, d.Job, d.Attempt, d.CPUTimeNS, d.Process = virt.Inactive, virt.Job{Type: virt.JobNone}, "", 0, virt.Process{}
	return d
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
	return ask(ctx, c, "job", uuid, func(*libvirt.Connect) (virt.Job, error) {
		return c.current(uuid)
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
