package libvirtd

import (
	"context"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"

	"libvirt.org/go/libvirt"

	"github.com/vireo-kvm/vireo/agent/virt"
)

func (c *conn) Networks(ctx context.Context) ([]virt.Network, error) {
	return ask(ctx, c, "networks", c.uri, func(lv *libvirt.Connect) ([]virt.Network, error) {
		list, err := lv.ListAllNetworks(0)
		if err != nil {
			return nil, err
		}
		out := make([]virt.Network, 0, len(list))
		for i := range list {
			n, e := network(&list[i])
			_ = list[i].Free() // as in free
			if e != nil {
				err = errors.Join(err, e)
			}
			out = append(out, n)
		}
		return out, err
	})
}

func network(n *libvirt.Network) (out virt.Network, err error) {
	if out.Name, err = n.GetName(); err != nil {
		return out, err
	}
	if out.UUID, err = n.GetUUIDString(); err != nil {
		return out, err
	}
	if out.Active, err = n.IsActive(); err != nil {
		return out, err
	}
	text, err := n.GetXMLDesc(0)
	if err != nil {
		return out, err
	}
	var doc struct {
		Bridge struct {
			Name string `xml:"name,attr"`
		} `xml:"bridge"`
	}
	if err := xml.Unmarshal([]byte(text), &doc); err != nil {
		return out, err
	}
	out.Bridge = doc.Bridge.Name
	return out, nil
}

func (c *conn) Pools(ctx context.Context) ([]virt.Pool, error) {
	return ask(ctx, c, "pools", c.uri, func(lv *libvirt.Connect) ([]virt.Pool, error) {
		list, err := lv.ListAllStoragePools(0)
		if err != nil {
			return nil, err
		}
		out := make([]virt.Pool, 0, len(list))
		for i := range list {
			p, e := pool(&list[i])
			_ = list[i].Free() // as in free
			if e != nil {
				err = errors.Join(err, e)
			}
			out = append(out, p)
		}
		return out, err
	})
}

func pool(p *libvirt.StoragePool) (out virt.Pool, err error) {
	if out.Name, err = p.GetName(); err != nil {
		return out, err
	}
	if out.UUID, err = p.GetUUIDString(); err != nil {
		return out, err
	}
	if out.Active, err = p.IsActive(); err != nil {
		return out, err
	}
	text, err := p.GetXMLDesc(0)
	if err != nil {
		return out, err
	}
	var doc struct {
		Type   string `xml:"type,attr"`
		Target struct {
			Path string `xml:"path"`
		} `xml:"target"`
	}
	if err := xml.Unmarshal([]byte(text), &doc); err != nil {
		return out, err
	}
	out.Type, out.Path = doc.Type, doc.Target.Path
	return out, nil
}

func (c *conn) HasBridge(_ context.Context, name string) (bool, error) {
	if !c.local {
		return false, &virt.Error{Op: "bridge", On: name, Kind: virt.KindUnsupported, Message: "the connection is to another machine"}
	}
	if name == "" || filepath.Base(name) != name {
		return false, nil
	}
	dir := filepath.Join(c.opts.SysRoot, "class/net", name)
	for _, mark := range []string{"bridge", "upper_ovs-system"} {
		_, err := os.Lstat(filepath.Join(dir, mark))
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

func (c *conn) CompareCPU(ctx context.Context, domainXML string) (bool, string, error) {
	d, err := virt.ParseDomain(domainXML)
	if err != nil {
		return false, "", &virt.Error{Op: "compare-cpu", Kind: virt.KindRefused, Message: err.Error(), Err: err}
	}
	cpu, err := virt.CPUElement(domainXML)
	if err != nil {
		return false, "", &virt.Error{Op: "compare-cpu", On: d.UUID, Kind: virt.KindRefused, Message: err.Error(), Err: err}
	}
	if cpu == "" || d.CPUMode != "custom" {
		return true, "", nil
	}
	reason, err := ask(ctx, c, "compare-cpu", d.UUID, func(lv *libvirt.Connect) (string, error) {
		_, err := lv.CompareHypervisorCPU("", d.Arch, d.Machine, d.Type, cpu, libvirt.CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE)
		var e libvirt.Error
		if errors.As(err, &e) && e.Code == libvirt.ERR_CPU_INCOMPATIBLE {
			return e.Message, nil
		}
		return "", err
	})
	return err == nil && reason == "", reason, err
}
