package libvirtd

import (
	"context"

	"libvirt.org/go/libvirt"

	"github.com/vireo-kvm/vireo/agent/virt"
)

func (c *conn) Migrate(ctx context.Context, p virt.MigrateParams) error {
	if err := p.Validate(); err != nil {
		return err
	}
	_, err := askLong(ctx, c, "migrate", p.UUID, func(*libvirt.Connect) (struct{}, error) {
		lv, err := dial(c.uri, c.opts)
		if err != nil {
			return struct{}{}, err
		}
		defer hangUp(lv)
		_, err = withDomain(lv, p.UUID, func(d *libvirt.Domain) (struct{}, error) {
			return struct{}{}, d.MigrateToURI3(p.DestURI, migrateParams(p), migrateFlags(p))
		})
		if err != nil {
			err = explain(lv, "migrate", p.UUID, err)
		}
		return struct{}{}, err
	})
	return err
}

func migrateFlags(p virt.MigrateParams) libvirt.DomainMigrateFlags {
	flags := libvirt.MIGRATE_LIVE | libvirt.MIGRATE_PEER2PEER
	for _, o := range []struct {
		set  bool
		flag libvirt.DomainMigrateFlags
	}{
		{p.Guarded, libvirt.MIGRATE_PAUSED},
		{p.Persist, libvirt.MIGRATE_PERSIST_DEST | libvirt.MIGRATE_UNDEFINE_SOURCE},
		{len(p.CopyDisks) > 0, libvirt.MIGRATE_NON_SHARED_DISK},
		{p.AutoConverge, libvirt.MIGRATE_AUTO_CONVERGE},
		{p.PostCopy, libvirt.MIGRATE_POSTCOPY},
		{p.Parallel > 1, libvirt.MIGRATE_PARALLEL},
		{p.TLS, libvirt.MIGRATE_TLS},
		{p.XBZRLE, libvirt.MIGRATE_COMPRESSED},
		{p.Unsafe, libvirt.MIGRATE_UNSAFE},
	} {
		if o.set {
			flags |= o.flag
		}
	}
	return flags
}

func migrateParams(p virt.MigrateParams) *libvirt.DomainMigrateParameters {
	out := &libvirt.DomainMigrateParameters{
		URISet: p.MigrateURI != "", URI: p.MigrateURI,
		ListenAddressSet: p.ListenAddress != "", ListenAddress: p.ListenAddress,
		DestXMLSet: p.DestXML != "", DestXML: p.DestXML,
		PersistXMLSet: p.PersistXML != "", PersistXML: p.PersistXML,
		MigrateDisksSet: len(p.CopyDisks) > 0, MigrateDisks: p.CopyDisks,
		DisksPortSet: p.DisksPort > 0, DisksPort: p.DisksPort,
		AutoConvergeInitialSet: p.AutoConvergeInitial > 0, AutoConvergeInitial: p.AutoConvergeInitial,
		AutoConvergeIncrementSet: p.AutoConvergeIncrement > 0, AutoConvergeIncrement: p.AutoConvergeIncrement,
		ParallelConnectionsSet: p.Parallel > 1, ParallelConnections: p.Parallel,
		BandwidthSet: p.BandwidthMiBs > 0, Bandwidth: p.BandwidthMiBs,
	}
	if p.XBZRLE {
		out.CompressionSet, out.Compression = true, "xbzrle"
	}
	return out
}

func (c *conn) AbortJob(ctx context.Context, uuid string) error {
	return c.order(ctx, "abort", uuid, (*libvirt.Domain).AbortJob)
}

func (c *conn) SetMaxDowntime(ctx context.Context, uuid string, milliseconds uint64) error {
	if milliseconds == 0 { // libvirt takes it, and the move never ends
		return &virt.Error{Op: "downtime", On: uuid, Kind: virt.KindRefused, Message: "downtime of 0 ms: want 1 and more"}
	}
	return tell(ctx, c, "downtime", uuid, func(*libvirt.Connect) error {
		l, err := c.borrow() // it waits for the guest's QEMU, as a question for its job does
		if err != nil {
			return err
		}
		defer c.giveBack(l)
		_, err = withDomain(l.lv, uuid, func(d *libvirt.Domain) (struct{}, error) {
			return struct{}{}, d.MigrateSetMaxDowntime(milliseconds, 0)
		})
		if err != nil && !alive(l.lv) {
			c.retire(l)
		}
		return err
	})
}

func (c *conn) SetBandwidth(ctx context.Context, uuid string, mibPerSecond uint64) error {
	return c.order(ctx, "bandwidth", uuid, func(d *libvirt.Domain) error {
		return d.MigrateSetMaxSpeed(mibPerSecond, 0)
	})
}

func (c *conn) StartPostCopy(ctx context.Context, uuid string) error {
	return c.order(ctx, "postcopy", uuid, func(d *libvirt.Domain) error { return d.MigrateStartPostCopy(0) })
}
