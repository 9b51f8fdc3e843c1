package libvirtd

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// logTail is how much of a domain's log is read; virtlogd begins a new one at 2 MiB.
const logTail = 2 << 20

func (c *conn) LoggedEnd(_ context.Context, name string) (virt.Reason, error) {
	if !c.local {
		return "", nil
	}
	tail, err := tailOf(filepath.Join(c.opts.LogRoot, "libvirt/qemu", name+".log"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", &virt.Error{Op: "log", On: name, Err: err}
	}
	return virt.LoggedEnd(tail), nil
}

func tailOf(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from := max(0, info.Size()-logTail)
	return io.ReadAll(io.NewSectionReader(f, from, logTail))
}
