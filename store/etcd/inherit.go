package etcd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A process that was killed could not give its lease away, and for as long as
// that lasts nobody leads. The next process of the same manager ends it: the id
// lies beside Options.Memory.

// leaseFile is "" when nothing is remembered.
func (c *client) leaseFile() string {
	if c.o.Memory == "" {
		return ""
	}
	return c.o.Memory + ".lease"
}

// inherit ends the lease that the process before this one has left. What does
// not succeed costs time only: the lease ends by itself.
func (c *client) inherit(ctx context.Context) {
	file := c.leaseFile()
	if !c.o.Succeeds || file == "" {
		return
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	id, perr := strconv.ParseInt(strings.TrimSpace(string(text)), 16, 64)
	if err = errors.Join(err, perr); err != nil {
		c.o.Log.Warn("the lease of the process before is not known: it ends by itself", "file", file, "err", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	_, _ = c.etcd.Revoke(ctx, clientv3.LeaseID(id)) // it may have ended long ago
}

// bequeath leaves the id of the lease to the process after this one. It may be
// lost with the machine: until that is back the lease has ended.
func (c *client) bequeath(id clientv3.LeaseID) {
	file := c.leaseFile()
	if !c.o.Succeeds || file == "" {
		return
	}
	if err := os.WriteFile(file, []byte(strconv.FormatInt(int64(id), 16)+"\n"), 0o600); err != nil {
		c.o.Log.Warn("if this process is killed, its lease has to end by itself", "err", err)
	}
}
