package virttest

import (
	"context"

	"github.com/vireo-kvm/vireo/agent/virt"
)

func (c *conn) Resume(ctx context.Context, uuid string) error {
	return c.active(ctx, "resume", uuid, func(d *domain) error {
		switch {
		case d.proc.job.Active():
			return jobInTheWay("resume", uuid, d.proc.job)
		case d.proc.state == virt.StateRunning:
			return alreadyRunning("resume", uuid)
		case d.proc.state != virt.StatePaused:
			return invalid("resume", uuid, "domain is "+string(d.proc.state))
		}
		d.run(virt.ReasonUnpaused, virt.DetailUnpaused)
		return nil
	})
}

func (c *conn) ResumeIf(ctx context.Context, uuid string, want virt.Expect) error {
	return c.on(ctx, "resume", uuid, func(d *domain) error {
		v, err := d.view()
		if err != nil {
			return err
		}
		if err := want.Check(v); err != nil {
			return err
		}
		d.run(virt.ReasonUnpaused, virt.DetailUnpaused)
		return nil
	})
}

func (c *conn) Suspend(ctx context.Context, uuid string) error {
	return c.active(ctx, "suspend", uuid, func(d *domain) error {
		switch {
		case d.proc.state == virt.StatePaused:
			return nil
		case d.proc.job.Active() && !d.proc.job.Migration():
			return jobInTheWay("suspend", uuid, d.proc.job)
		}
		d.pause(virt.ReasonUser, virt.DetailPaused)
		return nil
	})
}

func (c *conn) Destroy(ctx context.Context, uuid string, want virt.Expect) error {
	return c.on(ctx, "destroy", uuid, func(d *domain) error {
		v, err := d.view()
		if err != nil {
			return err
		}
		if err := want.Check(v); err != nil {
			return err
		}
		if d.proc == nil {
			return invalid("destroy", uuid, "domain is not running")
		}
		if d.proc.state == virt.StateRunning {
			d.emit(virt.Shutdown, "On host request")
		}
		d.end(virt.DetailDestroyed, virt.ReasonDestroyed)
		return nil
	})
}

func (c *conn) Define(ctx context.Context, xml string) (uuid string, err error) {
	err = c.ask(ctx, "define", "", func() error {
		d, err := c.h.define(xml)
		if err == nil {
			uuid = d.uuid
		}
		return err
	})
	return uuid, err
}

func (c *conn) Undefine(ctx context.Context, uuid string, opts virt.UndefineOpts) error {
	return c.on(ctx, "undefine", uuid, func(d *domain) error {
		v, err := d.view()
		if err != nil {
			return err
		}
		switch {
		case d.def == "":
			return invalid("undefine", uuid, "cannot undefine transient domain")
		case v.NVRAM != "" && !opts.KeepNVRAM && !opts.RemoveNVRAM:
			return invalid("undefine", uuid, "cannot undefine domain with nvram")
		case d.managedSave && !opts.ManagedSave:
			return invalid("undefine", uuid, "Refusing to undefine while domain managed save image exists")
		}
		d.emit(virt.Undefined, "Removed")
		d.forgetDefinition()
		return nil
	})
}

func (d *domain) forgetDefinition() {
	d.def, d.autostart, d.managedSave = "", false, false
	if d.proc == nil {
		delete(d.h.domains, d.uuid)
	}
}

func (c *conn) SetAutostart(ctx context.Context, uuid string, on bool) error {
	return c.on(ctx, "autostart", uuid, func(d *domain) error {
		if d.def == "" {
			return invalid("autostart", uuid, "cannot set autostart for transient domain")
		}
		d.autostart = on
		return nil
	})
}

func (c *conn) Start(ctx context.Context, uuid string) error {
	return c.on(ctx, "start", uuid, func(d *domain) error {
		if d.proc != nil {
			return alreadyRunning("start", uuid)
		}
		return d.boot(d.def, virt.StateRunning)
	})
}

func (c *conn) StartXML(ctx context.Context, xml string, paused bool) (uuid string, err error) {
	err = c.ask(ctx, "start", "", func() error {
		v, err := virt.ParseDomain(xml)
		if err != nil {
			return refused("start", "", codeXML, err.Error())
		}
		if v.UUID == "" || v.Name == "" {
			return refused("start", "", codeXML, "XML error: missing domain name or uuid")
		}
		if err := c.h.collides("start", v.UUID, v.Name, true); err != nil {
			return err
		}
		d := c.h.domains[v.UUID]
		if d == nil {
			d = c.h.adopt(v)
		}
		state := virt.StateRunning
		if paused {
			state = virt.StatePaused
		}
		if err := d.boot(xml, state); err != nil {
			if d.def == "" {
				delete(c.h.domains, d.uuid)
			}
			return err
		}
		uuid = v.UUID
		return nil
	})
	return uuid, err
}

func alreadyRunning(op, uuid string) error {
	return &virt.Error{Op: op, On: uuid, Kind: virt.KindAlreadyRunning, Code: codeInvalid,
		Message: "Requested operation is not valid: domain is already running"}
}

// jobInTheWay is what libvirt says after 30 s of waiting for the job.
func jobInTheWay(op, uuid string, j virt.Job) error {
	return refused(op, uuid, codeTimeout,
		"Timed out during operation: cannot acquire state change lock (held by "+string(j.Operation)+")")
}
