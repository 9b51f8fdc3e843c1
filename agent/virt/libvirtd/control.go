package libvirtd

import (
	"context"

	"libvirt.org/go/libvirt"

	"github.com/vireo-kvm/vireo/agent/virt"
)

func (c *conn) Resume(ctx context.Context, uuid string) error {
	return c.order(ctx, "resume", uuid, func(d *libvirt.Domain) error {
		err := d.Resume()
		if invalid(err) {
			if s, _, e := d.GetState(); e == nil && s == libvirt.DOMAIN_RUNNING {
				return already("resume", uuid, err)
			}
		}
		return err
	})
}

func (c *conn) ResumeIf(ctx context.Context, uuid string, want virt.Expect) error {
	return c.order(ctx, "resume", uuid, func(d *libvirt.Domain) error {
		seen := virt.Domain{UUID: uuid, ID: virt.Inactive, Attempt: want.Attempt}
		if id, err := d.GetID(); err == nil { // else it was shut off when it was looked up
			seen.ID = int(id)
		}
		var err error
		if seen.Job, err = c.current(uuid); err != nil { // before the state, as in lookActive
			return err
		}
		s, reason, err := d.GetState()
		if err != nil {
			return err
		}
		seen.State, seen.Reason = state(s, reason)
		if err := want.Check(seen); err != nil {
			return err
		}
		return d.Resume()
	})
}

// already marks libvirt's "invalid" as what it means; libvirt has one number
// for both, and its text is not for programs.
func already(op, uuid string, err error) error {
	e := translate(op, uuid, err)
	e.Kind = virt.KindAlreadyRunning
	return e
}

func (c *conn) Suspend(ctx context.Context, uuid string) error {
	return c.order(ctx, "suspend", uuid, (*libvirt.Domain).Suspend)
}

func (c *conn) Destroy(ctx context.Context, uuid string, want virt.Expect) error {
	return c.order(ctx, "destroy", uuid, func(d *libvirt.Domain) error {
		seen, err := c.look(d)
		if err != nil {
			return err
		}
		if err := want.Check(seen); err != nil {
			return err
		}
		return d.DestroyFlags(libvirt.DOMAIN_DESTROY_DEFAULT)
	})
}

func (c *conn) Define(ctx context.Context, xml string) (string, error) {
	return ask(ctx, c, "define", "", func(lv *libvirt.Connect) (string, error) {
		d, err := lv.DomainDefineXML(xml)
		if err != nil {
			return "", err
		}
		defer free(d)
		return d.GetUUIDString()
	})
}

func (c *conn) Undefine(ctx context.Context, uuid string, opts virt.UndefineOpts) error {
	var flags libvirt.DomainUndefineFlagsValues
	for _, o := range []struct {
		set  bool
		flag libvirt.DomainUndefineFlagsValues
	}{
		{opts.KeepNVRAM, libvirt.DOMAIN_UNDEFINE_KEEP_NVRAM},
		{opts.RemoveNVRAM, libvirt.DOMAIN_UNDEFINE_NVRAM},
		{opts.ManagedSave, libvirt.DOMAIN_UNDEFINE_MANAGED_SAVE},
		{opts.Snapshots, libvirt.DOMAIN_UNDEFINE_SNAPSHOTS_METADATA},
		{opts.Checkpoints, libvirt.DOMAIN_UNDEFINE_CHECKPOINTS_METADATA},
	} {
		if o.set {
			flags |= o.flag
		}
	}
	return c.order(ctx, "undefine", uuid, func(d *libvirt.Domain) error { return d.UndefineFlags(flags) })
}

func (c *conn) SetAutostart(ctx context.Context, uuid string, on bool) error {
	return c.order(ctx, "autostart", uuid, func(d *libvirt.Domain) error { return d.SetAutostart(on) })
}

func (c *conn) Start(ctx context.Context, uuid string) error {
	return c.order(ctx, "start", uuid, func(d *libvirt.Domain) error {
		err := d.Create()
		if invalid(err) {
			if active, e := d.IsActive(); e == nil && active {
				return already("start", uuid, err)
			}
		}
		return err
	})
}

func (c *conn) StartXML(ctx context.Context, xml string, paused bool) (string, error) {
	flags := libvirt.DOMAIN_NONE
	if paused {
		flags = libvirt.DOMAIN_START_PAUSED
	}
	return ask(ctx, c, "start", "", func(lv *libvirt.Connect) (string, error) {
		d, err := lv.DomainCreateXML(xml, flags)
		if err != nil {
			return "", err
		}
		defer free(d)
		return d.GetUUIDString()
	})
}
